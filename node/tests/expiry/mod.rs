//! Stories of values with a time to live: shard time ends them, by an entry that the leader commits, and nothing brings
//! them back.

use std::time::Duration;

use bytes::Bytes;
use flotilla_node::host::{Answer, Options};
use flotilla_store::{Action, Operation, Outcome, Txn, TxnOperation};

use crate::fleet::{Fleet, SHARD};
use crate::write;

const TTL_MS: u64 = 1000;

/// Each way to write a value that ends, with the key that it writes.
fn writes() -> Vec<(&'static str, Action)> {
    let (value, ttl_ms) = (Bytes::from_static(b"short"), Some(TTL_MS));
    let key = |key: &'static str| Bytes::from_static(key.as_bytes());
    let part = TxnOperation::Put { key: key("txn"), value: value.clone(), ttl_ms };
    vec![
        ("put", Action::Put { key: key("put"), value: value.clone(), ttl_ms }),
        ("cas", Action::CompareAndSwap { key: key("cas"), expected: 0, value, ttl_ms }),
        ("txn", Action::Txn(Txn { then: vec![part], ..Txn::default() })),
    ]
}

fn fill(fleet: &mut Fleet) {
    let leader = fleet.elect(SHARD);
    for (key, action) in writes() {
        match write(fleet, leader, Operation { request: None, action }) {
            Some(Answer::Written(..)) => {}
            other => panic!("expected that {key} is written, got {other:?}"),
        }
        assert_eq!(fleet.get(key).as_deref(), Some("short"));
    }
}

fn check_gone(fleet: &mut Fleet, when: &str) {
    for (key, _) in writes() {
        assert_eq!(fleet.get(key), None, "{key} {when}");
    }
}

#[test]
fn what_expired_stays_gone_when_a_leader_with_a_late_clock_takes_over() {
    let mut fleet = Fleet::new(41, 3, 1, Options::default());
    let old = fleet.elect(SHARD);
    for node in fleet.nodes().into_iter().filter(|node| *node != old) {
        // By their clocks the values would live for another minute.
        fleet.late_ms.insert(node, 60_000);
    }
    fill(&mut fleet);
    fleet.run(Duration::from_millis(TTL_MS + 500));
    check_gone(&mut fleet, "at the leader whose clock says so");
    fleet.crash(old);
    let leader = fleet.elect(SHARD);
    assert_ne!(leader, old);
    check_gone(&mut fleet, "at its successor");
    for (key, action) in writes() {
        let absent = match action {
            Action::CompareAndSwap { .. } => action,
            _ => continue,
        };
        match write(&mut fleet, leader, Operation { request: None, action: absent }) {
            Some(Answer::Written(_, Outcome::Swapped { .. })) => {}
            other => panic!("{key} does not exist, and yet {other:?}"),
        }
    }
    fleet.start(old);
    fleet.converge(SHARD);
}

#[test]
fn a_value_outlives_its_leader_and_ends_at_its_time_by_the_next_ones_clock() {
    let mut fleet = Fleet::new(42, 3, 1, Options::default());
    fill(&mut fleet);
    let old = fleet.elect(SHARD);
    fleet.crash(old);
    fleet.elect(SHARD);
    assert_eq!(fleet.get("put").as_deref(), Some("short"));
    fleet.run(Duration::from_millis(TTL_MS + 500));
    check_gone(&mut fleet, "at the next leader");
    fleet.start(old);
    fleet.converge(SHARD);
}

#[test]
fn a_ttl_beyond_the_end_of_time_is_for_ever() {
    let mut fleet = Fleet::new(43, 3, 1, Options::default());
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"stays"));
    let leader = fleet.elect(SHARD);
    let operation = Operation { request: None, action: Action::Put { key, value, ttl_ms: Some(u64::MAX) } };
    write(&mut fleet, leader, operation);
    fleet.run(Duration::from_secs(60));
    assert_eq!(fleet.get("k").as_deref(), Some("stays"));
    fleet.converge(SHARD);
    for node in fleet.nodes() {
        fleet.crash(node);
        fleet.start(node);
    }
    assert_eq!(fleet.get("k").as_deref(), Some("stays"), "and after a restart from the base");
}

/// A leader without followers sends no heartbeats, so nothing made it look at its clock: what had expired was still read, for as
/// long as nobody wrote.
#[test]
fn a_value_of_a_shard_with_one_replica_ends_although_nothing_else_happens() {
    let mut fleet = Fleet::new(44, 1, 1, Options::default());
    fill(&mut fleet);
    // Before the flush, which would look at the clock too.
    fleet.run(Duration::from_millis(TTL_MS + 500));
    check_gone(&mut fleet, "on the only replica");
    fleet.run(Duration::from_secs(20));
    let status = fleet.status(SHARD).into_values().next().expect("one replica");
    fleet.run(Duration::from_secs(20));
    let later = fleet.status(SHARD).into_values().next().expect("one replica");
    assert_eq!(status.last, later.last, "when nothing waits for time, no entries are made for it");
}
