//! What a node is asked directly, past the SDK: each question has a time limit, because the node may be frozen or dead.

use std::time::Duration;

use bytes::Bytes;
use flotilla_proto::limits::MESSAGE_BYTES_MAX;
use flotilla_proto::v1::cluster_client::ClusterClient;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::{self, get_response, put_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// A node that runs and is not overrun answers within this.
const ANSWER: Duration = Duration::from_secs(2);

/// A connection of its own to a client address.
pub async fn connect(address: &str) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    tokio::time::timeout(ANSWER, endpoint.connect()).await.ok()?.ok()
}

/// The key-value service on a connection.
pub fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// What a node says of itself and its replicas, if it answers.
pub async fn status(address: &str) -> Option<v1::StatusResponse> {
    let mut cluster = ClusterClient::new(connect(address).await?);
    let answer = tokio::time::timeout(ANSWER, cluster.status(v1::StatusRequest {})).await.ok()?;
    Some(answer.ok()?.into_inner())
}

/// What `/metrics` of an HTTP address says, or nothing.
pub async fn metrics(address: &str) -> Option<String> {
    page(address, "/metrics").await.filter(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Why a node is not ready, by its own word; nothing: it is, or does not answer.
pub async fn unready(address: &str) -> Option<String> {
    page(address, "/readyz").await.filter(|answer| answer.starts_with("HTTP/1.1 503"))
}

/// A page of an HTTP address, with its head.
async fn page(address: &str, path: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    tokio::time::timeout(ANSWER, ask).await.ok()?.ok()
}

/// A read of the newest value.
pub fn get(key: &str, route_mode: v1::RouteMode) -> v1::GetRequest {
    let key = Bytes::copy_from_slice(key.as_bytes());
    v1::GetRequest { key, route_mode: route_mode.into(), ..v1::GetRequest::default() }
}

/// A write without a request id.
pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> v1::PutRequest {
    v1::PutRequest { key: key.into(), value: value.into(), ..v1::PutRequest::default() }
}

/// What came of a read that was sent to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// This is the value; `None`: there is no such key.
    Value(Option<String>),
    /// Another node leads.
    Redirected(v1::Redirect),
    /// It was refused, or failed.
    Failed(tonic::Code),
}

impl From<Result<tonic::Response<v1::GetResponse>, tonic::Status>> for Read {
    fn from(answer: Result<tonic::Response<v1::GetResponse>, tonic::Status>) -> Self {
        match answer.map(|answer| answer.into_inner().outcome) {
            Ok(Some(get_response::Outcome::Result(result))) => {
                let text = |record: v1::Record| String::from_utf8(record.value.to_vec()).unwrap();
                Self::Value(result.record.map(text))
            }
            Ok(Some(get_response::Outcome::Redirect(redirect))) => Self::Redirected(redirect),
            Ok(None) => panic!("an answer without an outcome"),
            Err(status) => Self::Failed(status.code()),
        }
    }
}

/// The result of a write that was sent to one node.
pub fn written(answer: Result<tonic::Response<v1::PutResponse>, tonic::Status>) -> v1::PutResult {
    match answer.unwrap().into_inner().outcome {
        Some(put_response::Outcome::Result(result)) => result,
        other => panic!("not written: {other:?}"),
    }
}
