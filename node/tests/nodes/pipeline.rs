//! Pipelines over real gRPC: thousands of operations under way on one stream, each with exactly one result; streams that
//! break, that nobody reads, and that meet a shutdown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flotilla_proto::limits::PIPELINE_OPERATIONS_MAX;
use flotilla_proto::status;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_proto::v1::{
    self, PipelineOperation, PipelineRequest, PipelineResponse, PipelineResult, RouteMode,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::fleet::{Fleet, PATIENCE};

/// One stream: what goes out and what comes back.
struct Pipe {
    out: mpsc::Sender<PipelineRequest>,
    back: Streaming<PipelineResponse>,
}

impl Pipe {
    async fn open(fleet: &Fleet, number: usize) -> Self {
        let (out, requests) = mpsc::channel(1);
        let mut node = fleet.kv(number).await;
        let back = node.pipeline(ReceiverStream::new(requests)).await.unwrap().into_inner();
        Self { out, back }
    }

    async fn send(&self, operations: Vec<PipelineOperation>) {
        self.out.send(PipelineRequest { operations }).await.unwrap();
    }

    /// The next results; `None`: the stream ended well.
    async fn next(&mut self) -> Result<Option<Vec<PipelineResult>>, Status> {
        let response = timeout(PATIENCE, self.back.message()).await.expect("results come");
        Ok(response?.map(|response| response.results))
    }

    /// The results of so many operations, by id.
    async fn results(&mut self, count: usize) -> BTreeMap<u64, Outcome> {
        let mut results = BTreeMap::new();
        while results.len() < count {
            for result in self.next().await.unwrap().expect("the stream goes on") {
                let outcome = result.outcome.expect("a result has an outcome");
                let twice = results.insert(result.id, outcome);
                assert!(twice.is_none(), "{} has two results", result.id);
            }
        }
        assert_eq!(results.len(), count);
        results
    }

    /// No more operations: the stream must end, well and without further results.
    async fn finish(self) {
        let Self { out, back: mut rest } = self;
        drop(out);
        let end = timeout(PATIENCE, rest.message()).await.expect("the stream ends").unwrap();
        assert_eq!(end, None, "somebody got a second result");
    }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("key-{number:05}"))
}

fn operation(id: u64, operation: Operation) -> PipelineOperation {
    PipelineOperation { id, timeout_ms: 0, operation: Some(operation) }
}

fn put(id: u64, key: Bytes, value: Bytes, route_mode: RouteMode) -> PipelineOperation {
    let request = v1::PutRequest { key, value, route_mode: route_mode.into(), ..v1::PutRequest::default() };
    operation(id, Operation::Put(request))
}

fn get(id: u64, key: Bytes, route_mode: RouteMode) -> PipelineOperation {
    let request = v1::GetRequest { key, route_mode: route_mode.into(), ..v1::GetRequest::default() };
    operation(id, Operation::Get(request))
}

/// Reads a key if it is there.
fn transaction(number: u64) -> v1::TxnRequest {
    let condition = Some(v1::compare::Condition::Exists(true));
    let get = v1::txn_operation::Operation::Get(v1::TxnGet { key: key(number) });
    v1::TxnRequest {
        compares: vec![v1::Compare { key: key(number), condition }],
        then: vec![v1::TxnOperation { operation: Some(get) }],
        ..v1::TxnRequest::default()
    }
}

fn value_of(outcome: &Outcome) -> Option<Bytes> {
    let Outcome::Get(v1::GetResponse { outcome: Some(v1::get_response::Outcome::Result(result)) }) = outcome
    else {
        panic!("a read was answered by {outcome:?}");
    };
    result.record.as_ref().map(|record| record.value.clone())
}

fn written(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Put(v1::PutResponse { outcome: Some(v1::put_response::Outcome::Result(result)) }) => {
            Some(result.version)
        }
        _ => None,
    }
}

fn failure(outcome: &Outcome) -> Option<(Code, bool, String)> {
    let Outcome::Failure(failure) = outcome else { return None };
    let detail = failure.detail.clone().unwrap_or_default();
    Some((Code::from_i32(failure.code), detail.definite, detail.field))
}

const COUNT: u64 = 3000;

/// Every wait ends. Perhaps not at once: what the node itself asks of its shards counts too.
async fn nobody_waits(fleet: &Fleet) {
    let mut node = fleet.kv(1).await;
    // Each look is a call over the network: others get their time.
    let settled = timeout(PATIENCE, async {
        while fleet.nodes.iter().any(|node| node.waiting() > 0) {
            node.get(v1::GetRequest { key: key(0), ..Default::default() }).await.unwrap();
        }
    });
    settled.await.expect("waits are left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_mixed_operations_on_one_stream_each_have_one_result() {
    let fleet = Fleet::found().await;
    let mut pipe = Pipe::open(&fleet, 0).await;
    let value = |number: u64| Bytes::from(format!("value of {number}"));
    // Some messages are large, some hold one operation.
    let puts: Vec<_> = (0..COUNT).map(|id| put(id, key(id), value(id), RouteMode::Proxy)).collect();
    pipe.send(puts[..1].to_vec()).await;
    pipe.send(puts[1..].to_vec()).await;
    let results = pipe.results(COUNT as usize).await;
    assert!(results.values().all(|outcome| written(outcome).is_some()), "{results:?}");

    let mixed = (0..COUNT).map(|number| match number % 4 {
        3 => operation(number, Operation::Txn(transaction(number))),
        0 => get(number, key(number), RouteMode::Proxy),
        1 => operation(
            number,
            Operation::Delete(v1::DeleteRequest { key: key(number), ..v1::DeleteRequest::default() }),
        ),
        _ => operation(
            number,
            Operation::CompareAndSwap(v1::CompareAndSwapRequest {
                key: key(number),
                expected_version: 0,
                ..v1::CompareAndSwapRequest::default()
            }),
        ),
    });
    pipe.send(mixed.collect()).await;
    for (number, outcome) in pipe.results(COUNT as usize).await {
        match (number % 4, outcome) {
            (3, Outcome::Txn(v1::TxnResponse { outcome: Some(outcome) })) => {
                let v1::txn_response::Outcome::Result(result) = outcome else { panic!("{outcome:?}") };
                assert!(result.succeeded);
                let Some(v1::txn_operation_result::Result::Get(got)) = &result.results[0].result else {
                    panic!("{result:?}")
                };
                assert_eq!(got.record.as_ref().map(|record| &record.value), Some(&value(number)));
            }
            (0, outcome) => assert_eq!(value_of(&outcome), Some(value(number))),
            (1, Outcome::Delete(v1::DeleteResponse { outcome: Some(outcome) })) => {
                let v1::delete_response::Outcome::Result(result) = outcome else { panic!("{outcome:?}") };
                assert!(result.existed);
            }
            (_, Outcome::CompareAndSwap(v1::CompareAndSwapResponse { outcome: Some(outcome) })) => {
                let v1::compare_and_swap_response::Outcome::Result(result) = outcome else {
                    panic!("{outcome:?}")
                };
                assert!(!result.swapped);
                assert_eq!(result.current.map(|current| current.value), Some(value(number)));
            }
            (_, outcome) => panic!("operation {number} was answered by {outcome:?}"),
        }
    }
    pipe.finish().await;
    nobody_waits(&fleet).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_names_the_node_that_serves_the_operation() {
    let fleet = Fleet::found().await;
    let mut left: BTreeSet<u64> = (0..COUNT).collect();
    let mut named: BTreeMap<u64, u64> = BTreeMap::new();
    for number in 0..3 {
        let mut pipe = Pipe::open(&fleet, number).await;
        let asked = left.clone();
        pipe.send(asked.iter().map(|id| put(*id, key(*id), key(*id), RouteMode::Redirect)).collect()).await;
        for (id, outcome) in pipe.results(asked.len()).await {
            match outcome {
                Outcome::Put(v1::PutResponse {
                    outcome: Some(v1::put_response::Outcome::Redirect(redirect)),
                }) => {
                    named.insert(id, redirect.leader_node);
                }
                outcome => {
                    assert!(written(&outcome).is_some(), "{outcome:?}");
                    assert!(named.get(&id).is_none_or(|named| *named == number as u64 + 1));
                    left.remove(&id);
                }
            }
        }
        pipe.finish().await;
    }
    assert!(left.is_empty(), "nobody leads the shards of {left:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_of_one_operation() {
    let fleet = Fleet::found().await;
    let mut pipe = Pipe::open(&fleet, 0).await;
    let fine = |id| put(id, key(id), key(id), RouteMode::Proxy);
    let long = Bytes::from(vec![0; (1 << 20) + 1]);
    pipe.send(vec![
        fine(0),
        put(1, Bytes::new(), key(1), RouteMode::Proxy),
        put(2, key(2), long, RouteMode::Proxy),
        PipelineOperation { id: 3, timeout_ms: 0, operation: None },
        operation(4, Operation::Get(v1::GetRequest { key: key(4), consistency: 9, ..Default::default() })),
        fine(5),
    ])
    .await;
    let results = pipe.results(6).await;
    assert!(written(&results[&0]).is_some() && written(&results[&5]).is_some(), "{results:?}");
    let refused = [
        (1, Code::InvalidArgument, "key"),
        (2, Code::InvalidArgument, "value"),
        (3, Code::Unimplemented, "operation"),
        (4, Code::InvalidArgument, "consistency"),
    ];
    for (id, code, field) in refused {
        assert_eq!(failure(&results[&id]), Some((code, true, field.to_string())));
    }

    // Twice one id: the first is served, the second refused, in whichever order they are told.
    pipe.send(vec![fine(7), fine(7)]).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(pipe.next().await.unwrap().expect("the stream goes on"));
    }
    let outcomes: Vec<Outcome> = told.into_iter().map(|result| result.outcome.unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| written(outcome).is_some()).count(), 1, "{outcomes:?}");
    let refusal = outcomes.iter().find_map(failure);
    assert_eq!(refusal, Some((Code::InvalidArgument, true, "id".to_string())));
    // Answered: the id is free again.
    pipe.send(vec![fine(7)]).await;
    assert!(written(&pipe.results(1).await[&7]).is_some());

    // Too many in one message: nothing of it is done, and what came before it is answered.
    pipe.send(vec![fine(8)]).await;
    pipe.send((100..=100 + PIPELINE_OPERATIONS_MAX as u64).map(fine).collect()).await;
    assert!(written(&pipe.results(1).await[&8]).is_some());
    let refusal = pipe.next().await.unwrap_err();
    assert_eq!((refusal.code(), status::definite(&refusal)), (Code::InvalidArgument, true));
    assert!(refusal.message().contains("4096"), "{refusal:?}");

    // Too long to be read: tonic refuses it, and nothing of it is done either.
    let mut pipe = Pipe::open(&fleet, 0).await;
    pipe.send(vec![fine(9)]).await;
    let long = Bytes::from(vec![b'v'; 1 << 20]);
    pipe.send((200..206).map(|id| put(id, key(id), long.clone(), RouteMode::Proxy)).collect()).await;
    assert!(written(&pipe.results(1).await[&9]).is_some());
    let refusal = pipe.next().await.unwrap_err();
    assert_eq!((refusal.code(), status::definite(&refusal)), (Code::InvalidArgument, true), "{refusal:?}");
    fleet.stop().await;
}

/// Nodes 2 and 3 cannot be told apart from here: whichever keys node 1 has no replica for are forwarded to a black hole.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_is_forwarded_ends_when_nobody_waits_for_it() {
    let mut fleet = Fleet::with_replicas(1).await;
    for number in [2, 1] {
        let node = fleet.nodes.remove(number);
        timeout(PATIENCE, tokio::spawn(node.stop())).await.expect("a node ends").unwrap();
    }
    let listen = |number: usize| tokio::net::TcpListener::bind(("127.0.0.1", fleet.ports[number][0]));
    // Connections are made and nothing is said on them.
    let _black_holes = [listen(1).await.unwrap(), listen(2).await.unwrap()];
    let mut pipe = Pipe::open(&fleet, 0).await;
    let operations = (0..100)
        .map(|id| PipelineOperation { timeout_ms: 300, ..put(id, key(id), key(id), RouteMode::Proxy) });
    pipe.send(operations.collect()).await;
    let results = pipe.results(100).await;
    let late: Vec<_> = results.values().filter(|outcome| written(outcome).is_none()).collect();
    assert!(!late.is_empty() && late.len() < 100, "{} are led elsewhere", late.len());
    assert!(late.iter().all(|late| failure(late).is_some_and(|(code, ..)| code == Code::DeadlineExceeded)));
    let definite = late.iter().all(|late| failure(late).is_some_and(|(_, definite, _)| definite));
    assert!(definite, "nothing leaves before the other node has agreed: {late:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_leaves_no_wait_behind_and_what_it_acknowledged_is_there() {
    let fleet = Fleet::found().await;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut pipe = Pipe::open(&fleet, 0).await;
        let ids = round * COUNT..(round + 1) * COUNT;
        pipe.send(ids.map(|id| put(id, key(id), key(id), RouteMode::Proxy)).collect()).await;
        let first = pipe.next().await.unwrap().expect("the stream goes on");
        let written = first.iter().filter(|result| written(result.outcome.as_ref().unwrap()).is_some());
        acknowledged.extend(written.map(|result| result.id));
        // The stream is dropped with most of its operations under way.
    }
    nobody_waits(&fleet).await;
    let mut pipe = Pipe::open(&fleet, 2).await;
    assert!(!acknowledged.is_empty());
    for ids in acknowledged.chunks(PIPELINE_OPERATIONS_MAX) {
        pipe.send(ids.iter().map(|id| get(*id, key(*id), RouteMode::Proxy)).collect()).await;
        let read = pipe.results(ids.len()).await;
        assert!(read.iter().all(|(id, outcome)| value_of(outcome) == Some(key(*id))));
    }
    fleet.stop().await;
}

/// How long a message must be stuck to be called so.
const STUCK: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_not_read_and_loses_nothing() {
    const VALUE_BYTES: usize = 100 << 10;
    let fleet = Fleet::found().await;
    let mut pipe = Pipe::open(&fleet, 0).await;
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    pipe.send(vec![put(0, key(0), value.clone(), RouteMode::Proxy)]).await;
    assert_eq!(pipe.results(1).await.len(), 1);
    // More results than any window holds, and then writes until nothing gets out any more.
    pipe.send((1..=200).map(|id| get(id, key(0), RouteMode::Proxy)).collect()).await;
    let mut sent = 200;
    loop {
        let message = PipelineRequest {
            operations: (0..10)
                .map(|at| put(sent + 1 + at, key(1), value.clone(), RouteMode::Proxy))
                .collect(),
        };
        if timeout(STUCK, pipe.out.send(message)).await.is_err() {
            break;
        }
        sent += 10;
        assert!(sent < 10_000, "{} MiB were taken from a client that reads nothing", sent * 100 / 1024);
    }
    let results = pipe.results(sent as usize).await;
    for (id, outcome) in &results {
        match id {
            1..=200 => assert_eq!(value_of(outcome).map(|value| value.len()), Some(VALUE_BYTES)),
            _ => assert!(written(outcome).is_some(), "{outcome:?}"),
        }
    }
    pipe.finish().await;
    fleet.stop().await;
}

/// Of the writer whose node ends.
const UNANSWERED_MAX: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_answers_what_it_took_and_refuses_the_rest() {
    let mut fleet = Fleet::found().await;
    let mut pipe = Pipe::open(&fleet, 0).await;
    let out = pipe.out.clone();
    // Writes without end, until the stream has ended; not more at a time than can be looked up again afterwards.
    let room = Arc::new(Semaphore::new(UNANSWERED_MAX));
    let roomy = Arc::clone(&room);
    let writer = tokio::spawn(async move {
        for round in 0.. {
            match roomy.acquire_many(10).await {
                Ok(taken) => taken.forget(),
                Err(_) => return round * 10,
            }
            let ids = round * 10..(round + 1) * 10;
            let operations = ids.map(|id| put(id, key(id), key(id), RouteMode::Proxy)).collect();
            if out.send(PipelineRequest { operations }).await.is_err() {
                return round * 10;
            }
        }
        unreachable!("the writer goes on until the stream has ended")
    });
    let mut next = pipe.next().await;
    let ending = tokio::spawn(fleet.nodes.remove(0).stop());
    let (mut acknowledged, mut unknown, mut answered) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let end = loop {
        match next {
            Ok(Some(results)) => {
                room.add_permits(results.len());
                for result in results {
                    let outcome = result.outcome.unwrap();
                    assert!(answered.insert(result.id), "{} has two results", result.id);
                    if written(&outcome).is_some() {
                        acknowledged.insert(result.id);
                    } else {
                        let (code, definite, _) = failure(&outcome).expect("no write was redirected");
                        assert!(definite || code == Code::Unknown, "{outcome:?}");
                        unknown.extend((!definite).then_some(result.id));
                    }
                }
            }
            Ok(None) => panic!("the stream ended well with operations unread"),
            Err(status) => break status,
        }
        next = pipe.next().await;
    };
    room.close();
    assert_eq!((end.code(), status::definite(&end)), (Code::Unavailable, true), "{end:?}");
    timeout(PATIENCE, ending).await.expect("the node ends").unwrap();
    let sent = writer.await.unwrap();

    let mut pipe = Pipe::open(&fleet, 1).await;
    for ids in (0..sent).collect::<Vec<_>>().chunks(PIPELINE_OPERATIONS_MAX) {
        pipe.send(ids.iter().map(|id| get(*id, key(*id), RouteMode::Proxy)).collect()).await;
        for (id, outcome) in pipe.results(ids.len()).await {
            let there = value_of(&outcome).is_some();
            assert!(there || !acknowledged.contains(&id), "{id} was acknowledged and is not there");
            let may_be = acknowledged.contains(&id) || unknown.contains(&id);
            assert!(!there || may_be, "{id} was surely not executed, and is there");
        }
    }
    fleet.stop().await;
}
