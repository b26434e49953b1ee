//! How a fleet speaks to clients: who answers, who sends on, who forwards; scans in order; health and reflection.

use std::time::Duration;

use bytes::Bytes;
use flotilla_client::{Client, ScanRange};
use flotilla_proto::v1::RouteMode;
use futures_util::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServiceResponse};

use crate::questions::{self, Read, get, put, written};
use crate::stage::{Fleet, Plan};

const KEYS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_speaks_as_it_promised() {
    // Who leads shall not change meanwhile, not even where processes starve: a bare call that meets an election is truthfully
    // answered UNKNOWN, and that is another story.
    let plan = Plan::new(3).flag("--election-timeout-min-ms", "3000");
    let fleet = plan.flag("--election-timeout-max-ms", "5000").start().await;
    let client = fleet.client(Duration::from_secs(20)).await;
    let writes = (0..KEYS).map(|number| client.put(key(number), value(number)));
    futures_util::stream::iter(writes)
        .buffer_unordered(32)
        .for_each(async |done| {
            done.unwrap();
        })
        .await;
    for number in 0..20 {
        only_the_leader_answers_and_the_others_name_it(&fleet, number).await;
    }
    scans_are_in_order(&fleet, &client).await;
    for id in fleet.ids() {
        health_and_reflection(&fleet.address(id)).await;
    }
}

fn key(number: usize) -> String {
    format!("key-{number:04}")
}

fn value(number: usize) -> String {
    format!("value {number}")
}

async fn only_the_leader_answers_and_the_others_name_it(fleet: &Fleet, number: usize) {
    let (mut leaders, mut named) = (Vec::new(), Vec::new());
    for id in fleet.ids() {
        let mut kv = questions::kv(questions::connect(&fleet.address(id)).await.unwrap());
        match Read::from(kv.get(get(&key(number), RouteMode::Redirect)).await) {
            Read::Value(found) => {
                assert_eq!(found, Some(value(number)));
                leaders.push(fleet.address(id));
            }
            Read::Redirected(redirect) => named.push(redirect.leader_addr),
            Read::Failed(code) => panic!("node {id}: {code:?}"),
        }
        // Whoever is asked to, forwards: reads and writes.
        let forwarded = Read::from(kv.get(get(&key(number), RouteMode::Proxy)).await);
        assert_eq!(forwarded, Read::Value(Some(value(number))), "node {id}");
        written(kv.put(put(key(number), value(number))).await);
    }
    assert_eq!(leaders.len(), 1, "{leaders:?} lead {}", key(number));
    assert!(named.len() == 2 && named.iter().all(|address| *address == leaders[0]), "{named:?}, {leaders:?}");
}

async fn scans_are_in_order(fleet: &Fleet, client: &Client) {
    let mut expected: Vec<(Bytes, Bytes)> =
        (0..KEYS).map(|number| (key(number).into(), value(number).into())).collect();
    for reverse in [false, true] {
        let range = ScanRange { reverse, ..ScanRange::default() };
        let records = client.scan(range).map(|record| record.unwrap());
        let records: Vec<_> = records.map(|record| (record.key, record.value.bytes)).collect().await;
        assert_eq!(records, expected, "reverse: {reverse}");
        let mut args = vec!["scan", "--keys"];
        args.extend(reverse.then_some("--reverse"));
        let printed = String::from_utf8(fleet.kvctl(&args).await.stdout).unwrap();
        assert!(
            printed.lines().eq(expected.iter().map(|(key, _)| str::from_utf8(key).unwrap())),
            "{printed}"
        );
        expected.reverse();
    }
    let part =
        ScanRange { from: key(10).into(), to: Some(key(20).into()), limit: Some(5), ..Default::default() };
    let records: Vec<_> = client.scan(part).map(|record| record.unwrap().key).collect().await;
    assert_eq!(records, (10..15).map(|number| Bytes::from(key(number))).collect::<Vec<_>>());
}

async fn health_and_reflection(address: &str) {
    let channel = questions::connect(address).await.unwrap();
    for service in ["", "flotilla.v1.Kv", "flotilla.v1.Cluster"] {
        let request = HealthCheckRequest { service: service.to_string() };
        let health = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(health.status(), ServingStatus::Serving, "{service:?}");
    }
    let wanted = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(wanted) };
    let asked = futures_util::stream::iter([request]);
    let answers = ServerReflectionClient::new(channel).server_reflection_info(asked).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
        panic!("not a list of services: {answer:?}");
    };
    let names: Vec<String> = services.service.into_iter().map(|ServiceResponse { name }| name).collect();
    for name in ["flotilla.v1.Kv", "flotilla.v1.Cluster", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|listed| listed == name), "{name} is not among {names:?}");
    }
    assert!(!names.iter().any(|name| name == "flotilla.v1.Raft"), "not served here: {names:?}");
}
