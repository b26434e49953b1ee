//! Stories of transactions: applied once whoever leads, loaded when only the base holds their keys, bounded in what they
//! load and answer.

use std::time::Duration;

use bytes::Bytes;
use flotilla_node::host::{Answer, Input, Options, Refusal};
use flotilla_store::{
    Action, Compare, Condition, Operation, Outcome, Txn, TxnOperation, TxnOutcome, TxnResult,
};
use flotilla_topology::NodeId;

use crate::fleet::{Fleet, SHARD};
use crate::{small, write};

const FROM: &str = "{bank}from";
const TO: &str = "{bank}to";

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> TxnOperation {
    TxnOperation::Put { key: bytes(key), value: bytes(value), ttl_ms: None }
}

fn get(key: impl AsRef<str>) -> TxnOperation {
    TxnOperation::Get { key: bytes(key.as_ref()) }
}

/// The operation under a request id of its own.
fn operation(fleet: &mut Fleet, txn: Txn) -> Operation {
    let Operation { request, .. } = fleet.operation("", "");
    Operation { request, action: Action::Txn(txn) }
}

/// Moves all of ten coins, if they are there.
fn transfer() -> Txn {
    Txn {
        compares: vec![Compare { key: bytes(FROM), condition: Condition::Value(bytes("10")) }],
        then: vec![put(FROM, "0"), put(TO, "10"), get(FROM)],
        otherwise: vec![get(FROM), get(TO)],
    }
}

#[track_caller]
fn done(answer: Option<Answer>) -> TxnOutcome {
    match answer {
        Some(Answer::Written(_, Outcome::Txn(outcome))) => outcome,
        other => panic!("expected the outcome of a transaction, got {other:?}"),
    }
}

fn others(fleet: &Fleet, node: NodeId) -> Vec<NodeId> {
    fleet.nodes().into_iter().filter(|other| *other != node).collect()
}

#[test]
fn a_transaction_that_is_asked_again_of_the_next_leader_is_applied_once() {
    let mut fleet = Fleet::new(31, 3, 1, small());
    fleet.put(FROM, "10");
    fleet.put(TO, "0");
    let asked = operation(&mut fleet, transfer());
    let old = fleet.elect(SHARD);
    let first = done(write(&mut fleet, old, asked.clone()));
    assert!(first.succeeded);
    // If it were executed again, it would move these coins too.
    fleet.put(FROM, "10");
    fleet.crash(old);
    let leader = fleet.elect(SHARD);
    // A new leader applies what it inherited when an entry of its own commits.
    fleet.put("other", "x");
    let again = done(write(&mut fleet, leader, asked.clone()));
    assert_eq!(again, first);
    assert_eq!((fleet.get(FROM).as_deref(), fleet.get(TO).as_deref()), (Some("10"), Some("10")));
    fleet.start(old);
    fleet.converge(SHARD);
    for node in fleet.nodes() {
        fleet.crash(node);
        fleet.start(node);
    }
    let leader = fleet.elect(SHARD);
    fleet.put("other", "y");
    assert_eq!(done(write(&mut fleet, leader, asked)), first, "also after all of them started anew");
    assert_eq!(fleet.get(FROM).as_deref(), Some("10"));
    fleet.converge(SHARD);
}

#[test]
fn a_transaction_of_a_leader_that_was_cut_off_takes_place_once_or_not_at_all() {
    let mut fleet = Fleet::new(32, 3, 1, Options::default());
    fleet.put(FROM, "10");
    fleet.put(TO, "0");
    let asked = operation(&mut fleet, transfer());
    let old = fleet.elect(SHARD);
    fleet.isolate(old);
    let sent = asked.clone();
    let token = fleet.ask(old, |token| Input::Write { shard: SHARD, token, operation: sent });
    let rest = others(&fleet, old);
    fleet.until("the others elect", Duration::from_secs(5), |fleet| {
        let status = fleet.status(SHARD);
        rest.iter().any(|node| status[node].leads()) && !status[&old].leads()
    });
    assert!(matches!(fleet.answer(token), Some(Answer::Refused(Refusal::Unknown { .. }))));
    let leader = fleet.elect(SHARD);
    let outcome = done(write(&mut fleet, leader, asked.clone()));
    assert!(outcome.succeeded, "the first attempt is lost");
    fleet.heal();
    fleet.converge(SHARD);
    let leader = fleet.elect(SHARD);
    assert_eq!(done(write(&mut fleet, leader, asked)), outcome);
    assert_eq!((fleet.get(FROM).as_deref(), fleet.get(TO).as_deref()), (Some("0"), Some("10")));
}

#[test]
fn a_transaction_waits_for_the_keys_that_only_the_base_holds() {
    let mut fleet = Fleet::new(33, 3, 1, small());
    fleet.put(FROM, "10");
    fleet.put(TO, "0");
    for number in 0..200 {
        fleet.put(&format!("filler{number}"), &"x".repeat(100));
    }
    for node in fleet.nodes() {
        fleet.crash(node);
        fleet.start(node);
    }
    let leader = fleet.elect(SHARD);
    fleet.run(Duration::from_secs(1));
    let asked = operation(&mut fleet, transfer());
    assert!(done(write(&mut fleet, leader, asked)).succeeded);
    let failing = operation(&mut fleet, transfer());
    let failed = done(write(&mut fleet, leader, failing));
    assert!(!failed.succeeded);
    let values: Vec<_> = failed
        .results
        .iter()
        .map(|result| match result {
            TxnResult::Got(Some(record)) => &record.value[..],
            other => panic!("expected a balance, got {other:?}"),
        })
        .collect();
    assert_eq!(values, [&b"0"[..], b"10"]);
    fleet.converge(SHARD);
}

/// Gets of so many keys, each twice.
fn gets(name: &str, count: usize) -> Operation {
    let key = |number: usize| get(format!("{{bank}}{name}{}", number % count));
    let txn = Txn { then: (0..2 * count).map(key).collect(), ..Txn::default() };
    Operation { request: None, action: Action::Txn(txn) }
}

#[test]
fn transactions_of_one_turn_are_split_so_that_no_entry_loads_much() {
    let mut fleet = Fleet::new(34, 3, 1, Options::default());
    fleet.put("k", "v");
    let leader = fleet.elect(SHARD);
    let entries = |fleet: &mut Fleet, operations: Vec<Operation>| {
        let before = fleet.status(SHARD)[&leader].last.0;
        let tokens = fleet.ask_together(leader, operations);
        fleet.run(Duration::from_millis(100));
        for token in tokens {
            assert!(done(fleet.answer(token)).succeeded);
        }
        fleet.status(SHARD)[&leader].last.0 - before
    };
    assert_eq!(entries(&mut fleet, vec![gets("a", 32), gets("b", 32)]), 1, "a key counts once");
    assert_eq!(entries(&mut fleet, vec![gets("a", 32), gets("b", 33)]), 2);
    assert_eq!(entries(&mut fleet, vec![gets("a", 1), gets("b", 65), gets("c", 1)]), 3, "one of its own");
    fleet.converge(SHARD);
}

#[test]
fn an_answer_holds_no_more_values_than_an_entry() {
    let options = Options { entry_bytes_max: 1 << 10, ..Options::default() };
    let mut fleet = Fleet::new(35, 3, 1, options);
    let keys = ["{bank}a", "{bank}b"];
    for key in keys {
        fleet.put(key, &"v".repeat(600));
    }
    let leader = fleet.elect(SHARD);
    let reading = |count: usize| {
        let then = keys.iter().take(count).map(get).chain([put("{bank}written", "yes")]).collect();
        Operation { request: None, action: Action::Txn(Txn { then, ..Txn::default() }) }
    };
    assert!(!done(write(&mut fleet, leader, reading(1))).values_forgotten);
    let large = done(write(&mut fleet, leader, reading(2)));
    assert!(large.values_forgotten, "and yet it took place");
    let Some(TxnResult::Got(Some(record))) = large.results.first() else { panic!("{large:?}") };
    assert_eq!((record.value.len(), record.version), (0, 1));
    assert_eq!(fleet.get("{bank}written").as_deref(), Some("yes"));
    let oversized = Txn { then: vec![put("{bank}a", "v"); 60], ..Txn::default() };
    let refused = write(&mut fleet, leader, Operation { request: None, action: Action::Txn(oversized) });
    assert!(matches!(refused, Some(Answer::Refused(Refusal::TooLarge { .. }))), "{refused:?}");
}
