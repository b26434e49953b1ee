//! A stream of `Kv.Pipeline` through a router to real nodes: writes of all shards and transactions, and operations that ask
//! for the way instead.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_proto::v1::{get_response, put_response, txn_operation, txn_operation_result, txn_response};
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::patience::{PATIENCE, until};
use crate::questions::{self, get, put};
use crate::router::Router;
use crate::stage::{Fleet, Plan};

/// Keys of all shards.
const KEYS: u64 = 32;

/// The transaction's id, past those of the keys.
const TXN: u64 = 100;

/// Its keys share a slot.
const NAME: &str = "{ship}:name";
const CREW: &str = "{ship}:crew";

/// One stream, both ways.
pub struct Pipeline {
    asked: mpsc::Sender<v1::PipelineRequest>,
    answered: Streaming<v1::PipelineResponse>,
}

impl Pipeline {
    async fn open(address: &str) -> Self {
        Self::try_open(address).await.expect("a pipeline")
    }

    /// Nothing where nobody takes a pipeline.
    pub async fn try_open(address: &str) -> Option<Self> {
        let (asked, requests) = mpsc::channel(1);
        let requests = futures_util::stream::unfold(requests, async |mut requests| {
            requests.recv().await.map(|request: v1::PipelineRequest| (request, requests))
        });
        let mut kv = questions::kv(questions::connect(address).await?);
        // The first batch may have to come before the answer's head does.
        let answered = kv.pipeline(Box::pin(requests)).await.ok()?.into_inner();
        Some(Self { asked, answered })
    }

    /// Sends one batch and waits until each of its operations is answered.
    async fn ask(&mut self, batch: Vec<(u64, Operation)>) -> BTreeMap<u64, Outcome> {
        let count = batch.len();
        let outcomes = self.try_ask(batch).await;
        assert_eq!(outcomes.len(), count, "the stream ended before all was answered");
        outcomes
    }

    /// Sends one batch and waits until each of its operations is answered, or the stream ends.
    pub async fn try_ask(&mut self, batch: Vec<(u64, Operation)>) -> BTreeMap<u64, Outcome> {
        let (count, mut outcomes) = (batch.len(), BTreeMap::new());
        let operation =
            |(id, operation)| v1::PipelineOperation { id, timeout_ms: 0, operation: Some(operation) };
        let operations = batch.into_iter().map(operation).collect();
        // An error says that the stream has ended, which is seen below.
        drop(self.asked.send(v1::PipelineRequest { operations }).await);
        while outcomes.len() < count {
            let next = tokio::time::timeout(PATIENCE, self.answered.message()).await;
            let Ok(Some(response)) = next.expect("no answer in time") else { break };
            for result in response.results {
                let before = outcomes.insert(result.id, result.outcome.unwrap());
                assert!(before.is_none(), "{} was answered twice", result.id);
            }
        }
        outcomes
    }

    /// Says that nothing more will come: the stream ends well.
    async fn close(mut self) {
        drop(self.asked);
        let end = tokio::time::timeout(PATIENCE, self.answered.message()).await;
        assert!(end.expect("the stream did not end").unwrap().is_none(), "an answer to nothing");
    }
}

/// Names the ship if it has no name, else says how it is called.
fn naming(name: &str, route_mode: v1::RouteMode) -> Operation {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let step = |operation| v1::TxnOperation { operation: Some(operation) };
    let write = |key: &str| {
        step(txn_operation::Operation::Put(v1::TxnPut { key: bytes(key), value: bytes(name), ttl_ms: None }))
    };
    let read = || step(txn_operation::Operation::Get(v1::TxnGet { key: bytes(NAME) }));
    let condition = Some(v1::compare::Condition::Exists(false));
    Operation::Txn(v1::TxnRequest {
        compares: vec![v1::Compare { key: bytes(NAME), condition }],
        then: vec![write(NAME), write(CREW), read()],
        otherwise: vec![read()],
        route_mode: route_mode.into(),
        request: None,
    })
}

fn txn_result(outcome: &Outcome) -> &v1::TxnResult {
    match outcome {
        Outcome::Txn(v1::TxnResponse { outcome: Some(txn_response::Outcome::Result(result)) }) => result,
        other => panic!("no transaction's result: {other:?}"),
    }
}

/// The value and version of what a transaction read.
fn read(result: &v1::TxnOperationResult) -> (&[u8], u64) {
    match &result.result {
        Some(txn_operation_result::Result::Get(v1::TxnGetResult { record: Some(record) })) => {
            (&record.value, record.version)
        }
        other => panic!("nothing was read: {other:?}"),
    }
}

fn redirect(outcome: &Outcome) -> Option<&v1::Redirect> {
    match outcome {
        Outcome::Get(v1::GetResponse { outcome: Some(get_response::Outcome::Redirect(it)) })
        | Outcome::Put(v1::PutResponse { outcome: Some(put_response::Outcome::Redirect(it)) })
        | Outcome::Txn(v1::TxnResponse { outcome: Some(txn_response::Outcome::Redirect(it)) }) => Some(it),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_carries_a_pipeline_to_all_leaders() {
    let fleet = Plan::new(3).start().await;
    let router = Router::start(&fleet).await;
    let mut pipeline = Pipeline::open(&router.address()).await;
    let key = |id: u64| format!("key-{id}");

    let writes = (0..KEYS).map(|id| (id, Operation::Put(put(key(id), key(id)))));
    let naming_it = (TXN, naming("Argo", v1::RouteMode::Proxy));
    let outcomes = pipeline.ask(writes.chain([naming_it]).collect()).await;
    for id in 0..KEYS {
        let Outcome::Put(v1::PutResponse { outcome: Some(put_response::Outcome::Result(_)) }) =
            &outcomes[&id]
        else {
            panic!("{id} was not written: {:?}", outcomes[&id]);
        };
    }
    let named = txn_result(&outcomes[&TXN]);
    let version = named.stamp.as_ref().unwrap().version;
    assert!(named.succeeded && named.results.len() == 3, "{named:?}");
    let written = txn_operation_result::Result::Put(v1::TxnPutResult { version });
    assert!(named.results[..2].iter().all(|it| it.result.as_ref() == Some(&written)), "{named:?}");
    assert_eq!(read(&named.results[2]), (b"Argo".as_slice(), version));

    who_asks_for_the_way_is_told_it(&fleet, &mut pipeline).await;

    // What was answered with a redirect was not executed.
    let reads = (0..KEYS).map(|id| (id, Operation::Get(get(&key(id), v1::RouteMode::Proxy))));
    let naming_it = (TXN, naming("Fram", v1::RouteMode::Proxy));
    let outcomes = pipeline.ask(reads.chain([naming_it]).collect()).await;
    for id in 0..KEYS {
        let Outcome::Get(v1::GetResponse { outcome: Some(get_response::Outcome::Result(found)) }) =
            &outcomes[&id]
        else {
            panic!("{id} was not read: {:?}", outcomes[&id]);
        };
        assert_eq!(found.record.as_ref().unwrap().value, key(id));
    }
    let refused = txn_result(&outcomes[&TXN]);
    assert!(!refused.succeeded && refused.results.len() == 1, "{refused:?}");
    assert_eq!(read(&refused.results[0]), (b"Argo".as_slice(), version));
    pipeline.close().await;
}

/// A router leads nothing: it names the leader, who then answers a pipeline of its own.
async fn who_asks_for_the_way_is_told_it(fleet: &Fleet, router: &mut Pipeline) {
    let redirecting = v1::RouteMode::Redirect;
    let batch = || {
        let write = v1::PutRequest { route_mode: redirecting.into(), ..put(NAME, "Fram") };
        let read = Operation::Get(get(NAME, redirecting));
        vec![(1, read), (2, Operation::Put(write)), (3, naming("Fram", redirecting))]
    };
    let told = async || {
        let outcomes = router.ask(batch()).await;
        let told: Vec<&v1::Redirect> = outcomes
            .values()
            .map(|it| redirect(it).unwrap_or_else(|| panic!("no redirect: {it:?}")))
            .collect();
        let slot = u32::from(flotilla_topology::Slot::of(NAME.as_bytes()).number());
        assert!(told.iter().all(|it| it.slot == slot && it.shard > 0 && it.epoch > 0), "{told:?}");
        // It may be unknown or have moved since, so the way is asked for again until the one who is named answers.
        let leader = told[0].leader_node;
        if leader == 0 {
            return None;
        }
        assert_eq!(told[0].leader_addr, fleet.address(leader), "{told:?}");
        let mut node = Pipeline::open(&told[0].leader_addr).await;
        let outcome = node.ask(vec![(1, naming("Fram", redirecting))]).await.remove(&1).unwrap();
        node.close().await;
        redirect(&outcome).is_none().then_some(outcome)
    };
    let answered = until("the leader that the router names answers", told).await;
    assert!(!txn_result(&answered).succeeded, "{answered:?}");
}
