//! What a node forwards to another, over real gRPC: many calls in few messages, and the truth about each when the other node
//! dies, falls silent, or never answers.
//!
//! One node is real. The others founded the fleet with it and have ended; in their places stand nodes that do as they are told.

use std::collections::BTreeSet;

use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_proto::v1::{self, PipelineOperation, PipelineRequest, RouteMode};
use flotilla_proto::{status, v1::PutRequest};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fake::{Does, Fake};
use crate::fleet::{Fleet, PATIENCE};

/// So many keys that each shard has some.
const KEYS: usize = 600;

/// One real node and fake ones in the places of the others.
struct Stage {
    fleet: Fleet,
    fakes: [Fake; 2],
}

impl Stage {
    /// Each shard has one replica, so that the real node has none of those that it must forward to.
    async fn set(does: Does) -> Self {
        let mut fleet = Fleet::with_replicas(1).await;
        for number in [2, 1] {
            let node = fleet.nodes.remove(number);
            timeout(PATIENCE, tokio::spawn(node.stop())).await.expect("a node ends").unwrap();
        }
        let fakes = [Fake::start(fleet.ports[1][0], does).await, Fake::start(fleet.ports[2][0], does).await];
        Self { fleet, fakes }
    }

    /// The keys that came to the fakes.
    fn asked(&self) -> BTreeSet<String> {
        self.fakes.iter().flat_map(Fake::keys).collect()
    }

    async fn end(self) {
        self.fleet.stop().await;
    }
}

fn request(number: usize) -> PutRequest {
    let route_mode = RouteMode::Proxy.into();
    let key = format!("key-{number}").into();
    PutRequest { key, value: "value".into(), route_mode, ..PutRequest::default() }
}

/// A put of each key at the same time, over one connection; how each ended.
async fn puts(node: &KvClient<Channel>) -> Vec<Result<v1::PutResponse, Status>> {
    let put = |number| {
        let mut node = node.clone();
        tokio::spawn(async move { node.put(request(number)).await.map(tonic::Response::into_inner) })
    };
    let calls: Vec<_> = (0..KEYS).map(put).collect();
    let mut ends = Vec::new();
    for call in calls {
        ends.push(timeout(PATIENCE, call).await.expect("each call ends").unwrap());
    }
    ends
}

fn told(end: &Result<v1::PutResponse, Status>) -> Option<(Code, bool)> {
    end.as_ref().err().map(|status| (status.code(), status::definite(status)))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_forwarded_at_the_same_time_share_few_messages() {
    let stage = Stage::set(Does::AnswerWhenLetIn).await;
    let node = stage.fleet.kv(0).await;
    let calls = tokio::spawn({
        let node = node.clone();
        async move { puts(&node).await }
    });
    // Until a fake lets the stream in, calls gather. What the real node serves itself is answered meanwhile.
    for fake in &stage.fakes {
        timeout(PATIENCE, fake.knocked()).await.expect("the node opens a pipeline to each");
    }
    // Requests of one connection are read in order, so by the time this one is answered the others have been read.
    let status = stage.fleet.cluster(0).await.status(v1::StatusRequest {}).await;
    assert!(status.is_ok(), "{status:?}");
    stage.fakes.iter().for_each(Fake::let_in);
    let ends = calls.await.unwrap();
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    let forwarded = stage.asked().len();
    let messages: usize = stage.fakes.iter().map(Fake::messages).sum();
    assert!(forwarded > KEYS / 4, "{forwarded} of {KEYS} were for other nodes");
    assert!(messages * 4 < forwarded, "{forwarded} operations came in {messages} messages");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_left_for_a_leader_that_dies_is_unknown() {
    let mut stage = Stage::set(Does::Nothing).await;
    let node = stage.fleet.kv(0).await;
    let calls = tokio::spawn(async move { puts(&node).await });
    for fake in &mut stage.fakes {
        timeout(PATIENCE, fake.asked()).await.expect("something is forwarded to each");
        fake.die();
    }
    let ends = calls.await.unwrap();
    let asked = stage.asked();
    assert!(asked.len() > 1, "{asked:?}");
    for (number, end) in ends.iter().enumerate() {
        if asked.contains(&format!("key-{number}")) {
            assert_eq!(told(end), Some((Code::Unknown, false)), "key-{number}");
        } else if let Some((code, definite)) = told(end) {
            // What was on its way when the fake died is unknown too.
            assert_eq!(code == Code::Unknown, !definite, "key-{number}: {end:?}");
        }
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_left_when_nobody_waits_any_more_is_ambiguous() {
    let stage = Stage::set(Does::Nothing).await;
    let mut node = stage.fleet.kv(0).await;
    let operation = |number| PipelineOperation {
        id: number as u64,
        timeout_ms: 500,
        operation: Some(Operation::Put(request(number))),
    };
    let message = PipelineRequest { operations: (0..KEYS).map(operation).collect() };
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(message), tokio_stream::pending());
    let mut results = node.pipeline(requests).await.unwrap().into_inner();
    let mut late = 0;
    let mut answered = 0;
    while answered < KEYS {
        let message = timeout(PATIENCE, results.message()).await.expect("results come").unwrap();
        for result in message.expect("the stream goes on").results {
            answered += 1;
            let Some(Outcome::Failure(failure)) = result.outcome else { continue };
            late += 1;
            assert_eq!(Code::from_i32(failure.code), Code::DeadlineExceeded, "{failure:?}");
            let left = stage.asked().contains(&format!("key-{}", result.id));
            let definite = failure.detail.unwrap().definite;
            assert!(!(left && definite), "key-{} had left and is said to be surely not executed", result.id);
        }
    }
    assert!(late > KEYS / 4, "{late} of {KEYS} were for other nodes");
    assert!(!stage.asked().is_empty());
    stage.end().await;
}
