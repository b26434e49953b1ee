//! Server reflection: what `grpcurl` sees of a node without our files.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::fleet::Fleet;

async fn ask(node: &mut ServerReflectionClient<Channel>, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers = node.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer: Option<ServerReflectionResponse> = answers.message().await.unwrap();
    answer.expect("each question has an answer").message_response.expect("an answer says something")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_its_services_and_what_their_methods_take() {
    let fleet = Fleet::found().await;
    let channel = Channel::from_shared(fleet.address(0)).unwrap().connect().await.unwrap();
    let mut node = ServerReflectionClient::new(channel);
    let listed = ask(&mut node, MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    let services: BTreeSet<String> = listed.service.into_iter().map(|service| service.name).collect();
    for service in ["flotilla.v1.Kv", "flotilla.v1.Cluster", "grpc.health.v1.Health"] {
        assert!(services.contains(service), "{service} is not among {services:?}");
    }
    assert!(!services.contains("flotilla.v1.Raft"), "nodes talk about that among themselves");

    let question = MessageRequest::FileContainingSymbol("flotilla.v1.Kv".to_string());
    let answer = ask(&mut node, question).await;
    let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
    let files: Vec<FileDescriptorProto> = files
        .file_descriptor_proto
        .iter()
        .map(|file| FileDescriptorProto::decode(file.as_slice()).expect("a descriptor can be read"))
        .collect();
    let kv = files.iter().flat_map(|file| &file.service).find(|service| service.name() == "Kv");
    let methods: Vec<_> = kv
        .expect("the file holds the service")
        .method
        .iter()
        .map(|method| (method.name(), method.client_streaming(), method.server_streaming()))
        .collect();
    assert!(methods.contains(&("Pipeline", true, true)), "{methods:?}");
    assert!(methods.contains(&("Txn", false, false)), "{methods:?}");
    fleet.stop().await;
}
