//! By the SDK: it retries by itself, and says what came of all attempts.

use flotilla_client::{Client, Error, Swap, Txn as Asked, TxnAnswer as Told, Value};
use flotilla_history::{
    Answer, Call, Compare, Condition, Done, Outcome, Seen, Txn, TxnAnswer, TxnStep, Version,
};

/// Asks, and says what came of it.
pub async fn execute(client: &Client, call: &Call) -> Outcome {
    let answer = match call {
        Call::Get { key } => client.get(key.clone()).await.map(|found| Answer::Got(found.map(seen))),
        Call::Put { key, value } => {
            client.put(key.clone(), value.clone()).await.map(|made| Answer::Written(Some(Version(made))))
        }
        Call::Delete { key } => {
            let deleted = client.delete(key.clone()).await;
            deleted.map(|existed| Answer::Deleted { existed, version: None })
        }
        Call::CompareAndSwap { key, expected, value } => {
            let swap = client.compare_and_swap(key.clone(), expected.0, value.clone()).await;
            swap.map(|swap| match swap {
                Swap::Swapped(made) => Answer::Written(Some(Version(made))),
                Swap::Conflict(found) => Answer::Conflict(found.map(seen)),
            })
        }
        Call::Txn(txn) => client.txn(asked(txn)).await.map(|result| Answer::Txn {
            succeeded: result.succeeded,
            version: Some(Version(result.version)),
            results: result.results.into_iter().map(told).collect(),
        }),
        Call::Scan { .. } => unreachable!("scans are asked page by page, by gRPC"),
    };
    match answer {
        Ok(answer) => Outcome::Done(Done::of(answer)),
        Err(Error::NotExecuted { .. }) => Outcome::NotExecuted,
        Err(Error::Unknown { .. }) => Outcome::Unknown,
        Err(error @ Error::Invalid { .. }) => panic!("{call}: {error}"),
    }
}

fn seen(value: Value) -> Seen {
    Seen { value: Some(value.bytes), version: Some(Version(value.version)) }
}

fn asked(txn: &Txn) -> Asked {
    let mut asked = Asked::new();
    for Compare { key, condition } in &txn.compares {
        let key = key.clone();
        asked = match condition {
            Condition::Version(version) => asked.when_version(key, version.0),
            Condition::Value(value) => asked.when_value(key, value.clone()),
            Condition::Exists(true) => asked.when_exists(key),
            Condition::Exists(false) => asked.when_absent(key),
        };
    }
    for step in &txn.then {
        asked = match step.clone() {
            TxnStep::Get(key) => asked.get(key),
            TxnStep::Put(key, value) => asked.put(key, value),
            TxnStep::Delete(key) => asked.delete(key),
        };
    }
    for step in &txn.otherwise {
        asked = match step.clone() {
            TxnStep::Get(key) => asked.otherwise_get(key),
            TxnStep::Put(key, value) => asked.otherwise_put(key, value),
            TxnStep::Delete(key) => asked.otherwise_delete(key),
        };
    }
    asked
}

fn told(answer: Told) -> TxnAnswer {
    match answer {
        Told::Got(found) => TxnAnswer::Got(found.map(seen)),
        Told::Put(_) => TxnAnswer::Put,
        Told::Deleted(existed) => TxnAnswer::Deleted(existed),
    }
}
