//! Stories of three hosts under virtual time: the production worker, log and state machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod expiry;
mod fleet;
mod handover;
mod members;
mod pressure;
mod quarantine;
mod remembering;
mod sleep;
mod transactions;

use std::time::Duration;

use bytes::Bytes;
use fleet::{Fleet, SHARD, Weather, put_action};
use flotilla_node::host::{Answer, Consistency, Input, Options, Refusal, Token};
use flotilla_raft::{Index, LogId};
use flotilla_store::{Action, Operation, Outcome};
use flotilla_topology::{NodeId, ShardId};

/// Limits so small that a short test flushes, compacts and sends snapshots.
fn small() -> Options {
    Options {
        flush_bytes: 4 << 10,
        flush_interval: Duration::from_millis(500),
        log_retain_bytes: 2 << 10,
        ..Options::default()
    }
}

fn write(fleet: &mut Fleet, node: NodeId, operation: Operation) -> Option<Answer> {
    let token = fleet.ask(node, |token| Input::Write { shard: SHARD, token, operation });
    fleet.run(Duration::from_millis(20));
    fleet.answer(token)
}

/// What each of these writes was answered with.
fn versions(fleet: &mut Fleet, tokens: Vec<Token>) -> Vec<u64> {
    let version = |token| match fleet.answer(token) {
        Some(Answer::Written(_, Outcome::Written { version })) => version,
        other => panic!("expected a version, got {other:?}"),
    };
    tokens.into_iter().map(version).collect()
}

#[test]
fn three_hosts_elect_write_and_read() {
    let mut fleet = Fleet::new(1, 3, 1, Options::default());
    let first = fleet.put("k", "one");
    let second = fleet.put("k", "two");
    assert_eq!((first, second), (1, 2), "each write is one step of the version counter");
    assert_eq!(fleet.get("k").as_deref(), Some("two"));
    assert_eq!(fleet.get("nothing"), None);
    fleet.converge(SHARD);
}

#[test]
fn what_was_acknowledged_survives_a_crash_of_all() {
    let mut fleet = Fleet::new(2, 3, 1, small());
    for number in 0..100 {
        fleet.put(&format!("k{number}"), &format!("v{number}"));
    }
    for node in fleet.nodes() {
        fleet.crash(node);
    }
    for node in fleet.nodes() {
        fleet.start(node);
    }
    for number in 0..100 {
        assert_eq!(fleet.get(&format!("k{number}")), Some(format!("v{number}")));
    }
    fleet.converge(SHARD);
}

#[test]
fn the_survivors_elect_when_the_leader_dies_and_it_comes_back_equal() {
    let mut fleet = Fleet::new(3, 3, 1, small());
    fleet.put("k", "before");
    let old = fleet.elect(SHARD);
    fleet.crash(old);
    fleet.put("k", "after");
    assert_ne!(fleet.elect(SHARD), old);
    fleet.start(old);
    assert_eq!(fleet.get("k").as_deref(), Some("after"));
    fleet.converge(SHARD);
}

#[test]
fn an_old_leader_behind_a_partition_serves_no_linearizable_read() {
    let mut fleet = Fleet::new(4, 3, 1, Options::default());
    fleet.put("k", "old");
    let old = fleet.elect(SHARD);
    fleet.isolate(old);
    let key = Bytes::from_static(b"k");
    let asked = fleet.ask(old, |token| Input::Get {
        shard: SHARD,
        token,
        key,
        consistency: Consistency::Linearizable,
    });
    let others: Vec<NodeId> = fleet.nodes().into_iter().filter(|node| *node != old).collect();
    fleet.until("the others elect", Duration::from_secs(5), |fleet| {
        let status = fleet.status(SHARD);
        others.iter().any(|node| status[node].leads())
    });
    fleet
        .until("the old leader gives up", Duration::from_secs(5), |fleet| !fleet.status(SHARD)[&old].leads());
    match fleet.answer(asked) {
        Some(Answer::Refused(Refusal::ReadLost { .. })) => {}
        other => panic!("expected that the read is refused, got {other:?}"),
    }
    fleet.heal();
    fleet.converge(SHARD);
}

/// Who is cut off knows of no commits that it lacks: it must at least say for how long it has heard nothing.
#[test]
fn a_stale_read_says_for_how_long_its_replica_heard_nothing() {
    let mut fleet = Fleet::new(12, 3, 1, Options::default());
    fleet.put("k", "old");
    let leader = fleet.elect(SHARD);
    let follower = fleet.nodes().into_iter().find(|node| *node != leader).expect("a follower");
    fleet.run(Duration::from_secs(1));
    let silence = |fleet: &mut Fleet, node: NodeId| {
        let key = Bytes::from_static(b"k");
        let consistency = Consistency::Stale;
        let asked = fleet.ask(node, |token| Input::Get { shard: SHARD, token, key, consistency });
        fleet.run(Duration::from_millis(20));
        match fleet.answer(asked) {
            Some(Answer::Got(served, Some(record))) => {
                assert_eq!((&record.value[..], served.lag_entries), (&b"old"[..], Some(0)));
                Duration::from_millis(served.silence_ms)
            }
            other => panic!("expected the old value, got {other:?}"),
        }
    };
    assert_eq!(silence(&mut fleet, leader), Duration::ZERO, "a leader needs to hear nobody");
    assert!(silence(&mut fleet, follower) < Duration::from_millis(200), "heartbeats come every 50 ms");
    fleet.isolate(follower);
    fleet.put("k", "new");
    fleet.run(Duration::from_secs(10));
    let heard_nothing = silence(&mut fleet, follower);
    assert!(heard_nothing > Duration::from_millis(9_500), "it says {heard_nothing:?}");
    fleet.heal();
    fleet.converge(SHARD);
}

#[test]
fn a_write_that_an_isolated_leader_proposed_is_unknown_never_refused() {
    let mut fleet = Fleet::new(5, 3, 1, Options::default());
    fleet.put("k", "old");
    let old = fleet.elect(SHARD);
    fleet.isolate(old);
    let operation = fleet.operation("k", "lost");
    let asked = fleet.ask(old, |token| Input::Write { shard: SHARD, token, operation });
    fleet
        .until("the old leader gives up", Duration::from_secs(5), |fleet| !fleet.status(SHARD)[&old].leads());
    match fleet.answer(asked) {
        Some(Answer::Refused(refusal @ Refusal::Unknown { .. })) => assert!(!refusal.definite()),
        other => panic!("expected UNKNOWN, got {other:?}"),
    }
    fleet.heal();
    fleet.put("k", "new");
    fleet.converge(SHARD);
    assert_eq!(fleet.get("k").as_deref(), Some("new"));
}

#[test]
fn a_retry_under_the_same_request_id_is_executed_once() {
    let mut fleet = Fleet::new(6, 3, 1, Options::default());
    fleet.put("other", "x");
    let operation = fleet.operation("k", "once");
    let leader = fleet.elect(SHARD);
    let first = write(&mut fleet, leader, operation.clone());
    fleet.put("k", "meanwhile");
    fleet.crash(leader);
    let leader = fleet.elect(SHARD);
    fleet.put("other", "y");
    let again = write(&mut fleet, leader, operation);
    let version = |answer: Option<Answer>| match answer {
        Some(Answer::Written(_, Outcome::Written { version })) => version,
        other => panic!("expected a version, got {other:?}"),
    };
    assert_eq!(version(first), version(again), "the second attempt returns what the first one did");
    assert_eq!(fleet.get("k").as_deref(), Some("meanwhile"), "and does nothing");
}

#[test]
fn writes_of_one_turn_share_an_entry_and_each_gets_its_own_version() {
    let mut fleet = Fleet::new(7, 3, 1, Options::default());
    fleet.put("k", "zero");
    let leader = fleet.elect(SHARD);
    let before = fleet.status(SHARD)[&leader].last;
    let operations =
        (0..10).map(|number| Operation { request: None, action: put_action("k", &number.to_string()) });
    let tokens = fleet.ask_together(leader, operations.collect());
    fleet.run(Duration::from_millis(50));
    let versions = versions(&mut fleet, tokens);
    assert_eq!(versions, (2..=11).collect::<Vec<_>>());
    assert_eq!(fleet.status(SHARD)[&leader].last, before.next(), "ten writes, one entry");
}

#[test]
fn writes_that_come_while_the_log_is_busy_share_the_next_entry() {
    let mut fleet = Fleet::new(71, 3, 1, Options::default());
    fleet.put("k", "zero");
    let leader = fleet.elect(SHARD);
    let before = fleet.status(SHARD)[&leader].last;
    let tokens: Vec<_> = (0..10)
        .map(|number| {
            let operation = Operation { request: None, action: put_action("k", &number.to_string()) };
            // A turn of its own for each.
            fleet.ask(leader, |token| Input::Write { shard: SHARD, token, operation })
        })
        .collect();
    fleet.run(Duration::from_millis(50));
    let versions = versions(&mut fleet, tokens);
    assert_eq!(versions, (2..=11).collect::<Vec<_>>(), "in the order in which they came");
    let after = fleet.status(SHARD)[&leader].last;
    assert_eq!(after, before.next().next(), "the first found the log idle, nine waited and share an entry");
}

#[test]
fn writes_wait_for_the_round_that_is_under_way_but_not_for_long() {
    let mut fleet = Fleet::new(73, 3, 1, Options::default());
    fleet.put("k", "zero");
    let leader = fleet.elect(SHARD);
    let followers: Vec<_> = fleet.nodes().into_iter().filter(|node| *node != leader).collect();
    followers.into_iter().for_each(|node| fleet.crash(node));
    let before = fleet.status(SHARD)[&leader].last;
    let ask = |fleet: &mut Fleet, value: &str| {
        let operation = Operation { request: None, action: put_action("k", value) };
        fleet.ask(leader, |token| Input::Write { shard: SHARD, token, operation });
    };
    ask(&mut fleet, "one");
    let stable = |fleet: &mut Fleet| fleet.status(SHARD)[&leader].persisted == before.next();
    fleet.until("the leader's log has it", Duration::from_millis(1), stable);
    ask(&mut fleet, "two");
    ask(&mut fleet, "three");
    assert_eq!(
        fleet.status(SHARD)[&leader].last,
        before.next(),
        "the log is idle, but nobody has acknowledged the first"
    );
    fleet.run(Duration::from_millis(3));
    let after = fleet.status(SHARD)[&leader].last;
    assert_eq!(
        after,
        before.next().next(),
        "nobody ever will: the others go on without it, and share an entry"
    );
}

#[test]
fn a_write_that_was_held_by_a_leader_that_lost_office_is_refused_for_sure() {
    let mut fleet = Fleet::new(72, 3, 1, Options::default());
    fleet.put("k", "old");
    let old = fleet.elect(SHARD);
    let ask = |fleet: &mut Fleet, value: &str| {
        let operation = Operation { request: None, action: put_action("k", value) };
        fleet.ask(old, |token| Input::Write { shard: SHARD, token, operation })
    };
    let proposed = ask(&mut fleet, "proposed");
    let held = ask(&mut fleet, "held");
    fleet.depose(SHARD, old);
    fleet.run(Duration::from_micros(1));
    match fleet.answer(held) {
        Some(Answer::Refused(refusal @ Refusal::NotLeader { .. })) => assert!(refusal.definite()),
        other => panic!("expected a definite refusal, got {other:?}"),
    }
    assert!(matches!(fleet.answer(proposed), Some(Answer::Refused(Refusal::Unknown { .. }))));
}

#[test]
fn a_follower_behind_compaction_comes_back_by_snapshot() {
    let mut fleet = Fleet::new(8, 3, 1, small());
    fleet.put("k", "first");
    let leader = fleet.elect(SHARD);
    let follower = fleet.nodes().into_iter().find(|node| *node != leader).expect("a follower");
    fleet.crash(follower);
    for number in 0..200 {
        fleet.put(&format!("k{number}"), &"x".repeat(100));
    }
    fleet.run(Duration::from_secs(2));
    assert_eq!(fleet.snapshots_staged, 0);
    fleet.start(follower);
    fleet.converge(SHARD);
    assert!(fleet.snapshots_staged > 0, "the log was compacted, so a snapshot was needed");
    fleet.put("k", "then from the log");
    fleet.converge(SHARD);
}

#[test]
fn compare_and_swap_and_delete_of_keys_that_only_the_base_holds() {
    let mut fleet = Fleet::new(9, 3, 1, small());
    let version = fleet.put("k", "in the base");
    for number in 0..200 {
        fleet.put(&format!("filler{number}"), &"x".repeat(100));
    }
    for node in fleet.nodes() {
        fleet.crash(node);
        fleet.start(node);
    }
    let leader = fleet.elect(SHARD);
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"swapped"));
    let swap = Action::CompareAndSwap { key: key.clone(), expected: version, value, ttl_ms: None };
    fleet.run(Duration::from_secs(1));
    match write(&mut fleet, leader, Operation { request: None, action: swap.clone() }) {
        Some(Answer::Written(_, Outcome::Swapped { .. })) => {}
        other => panic!("expected a swap, got {other:?}"),
    }
    match write(&mut fleet, leader, Operation { request: None, action: swap }) {
        Some(Answer::Written(_, Outcome::Conflict { current: Some(record) })) => {
            assert_eq!(record.value, "swapped");
        }
        other => panic!("expected a conflict, got {other:?}"),
    }
    match write(&mut fleet, leader, Operation { request: None, action: Action::Delete { key } }) {
        Some(Answer::Written(_, Outcome::Deleted { existed: true, .. })) => {}
        other => panic!("expected a delete, got {other:?}"),
    }
    assert_eq!(fleet.get("k"), None);
    fleet.converge(SHARD);
}

/// A stream whose sender dies between the offer and the first chunk never reports. It must not keep the replica from every
/// later snapshot.
#[test]
fn a_snapshot_stream_that_never_reports_makes_room_for_the_next() {
    let mut fleet = Fleet::new(14, 3, 1, Options::default());
    fleet.put("k", "v");
    let leader = fleet.elect(SHARD);
    let follower = fleet.nodes().into_iter().find(|node| *node != leader).expect("a follower");
    let status = fleet.status(SHARD)[&follower].clone();
    let last = LogId::new(Index(status.last.0 + 100), status.term);
    let mut stage = || {
        let (to, term) = (status.replica, status.term);
        let token = fleet.ask(follower, |token| Input::Stage { shard: SHARD, token, to, term, last });
        fleet.run(Duration::from_millis(1));
        match fleet.answer(token) {
            Some(Answer::Stage { generation }) => generation,
            other => panic!("expected a generation, got {other:?}"),
        }
    };
    let (abandoned, next) = (stage(), stage());
    assert!(abandoned < next, "each stream writes under a generation of its own");
    fleet.converge(SHARD);
}

/// One entry of thousands of deletes would load thousands of values at once, on every replica, at every restart.
#[test]
fn deletes_of_one_turn_are_split_so_that_no_entry_loads_much() {
    let mut fleet = Fleet::new(15, 3, 1, Options::default());
    fleet.put("k", "v");
    let leader = fleet.elect(SHARD);
    let before = fleet.status(SHARD)[&leader].last;
    let delete = |number: u32| Action::Delete { key: Bytes::from(format!("k{number}")) };
    let operations = (0..200).map(|number| Operation { request: None, action: delete(number) });
    let tokens = fleet.ask_together(leader, operations.collect());
    fleet.run(Duration::from_millis(100));
    for token in tokens {
        match fleet.answer(token) {
            Some(Answer::Written(_, Outcome::Deleted { existed: false, .. })) => {}
            other => panic!("expected that there was nothing to delete, got {other:?}"),
        }
    }
    assert_eq!(fleet.status(SHARD)[&leader].last.0, before.0 + 4, "64 at most in one entry");
    fleet.converge(SHARD);
}

#[test]
fn leadership_moves_on_request() {
    let mut fleet = Fleet::new(10, 3, 1, Options::default());
    fleet.put("k", "v");
    let old = fleet.elect(SHARD);
    let to = fleet.nodes().into_iter().find(|node| *node != old).expect("a follower");
    let token = fleet.ask(old, |token| Input::Transfer { shard: SHARD, token, to: Some(to) });
    fleet.until("the new leader leads", Duration::from_secs(1), |fleet| fleet.status(SHARD)[&to].leads());
    assert!(matches!(fleet.answer(token), Some(Answer::Transfer)));
    fleet.put("k", "w");
    fleet.converge(SHARD);
}

#[test]
fn a_shard_that_has_no_replica_here_is_refused_and_so_is_a_key_of_another_shard() {
    let mut fleet = Fleet::new(11, 3, 2, Options::default());
    let leader = fleet.elect(SHARD);
    let operation = Operation { request: None, action: put_action("k", "v") };
    let token = fleet.ask(leader, |token| Input::Write { shard: ShardId(9), token, operation });
    fleet.run(Duration::from_millis(1));
    assert!(matches!(fleet.answer(token), Some(Answer::Refused(Refusal::NotHosted { shard: ShardId(9) }))));
    // "foo" is slot 12182, which the second of two shards owns.
    let operation = Operation { request: None, action: put_action("foo", "v") };
    match write(&mut fleet, leader, operation) {
        Some(Answer::Written(_, Outcome::WrongSlot { slot })) => assert_eq!(slot.number(), 12182),
        other => panic!("expected that the slot is refused, got {other:?}"),
    }
}

#[test]
fn keys_expire_in_shard_time_by_an_entry_of_the_leader() {
    let mut fleet = Fleet::new(12, 3, 1, Options::default());
    let leader = fleet.elect(SHARD);
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"short"));
    let operation = Operation { request: None, action: Action::Put { key, value, ttl_ms: Some(1000) } };
    write(&mut fleet, leader, operation);
    assert_eq!(fleet.get("k").as_deref(), Some("short"));
    fleet.run(Duration::from_millis(1500));
    assert_eq!(fleet.get("k"), None, "nobody wrote, and yet shard time passed");
    fleet.converge(SHARD);
}

#[test]
fn a_deadline_too_far_ahead_and_an_overlarge_operation_are_refused() {
    let options = Options { entry_bytes_max: 1 << 10, ..Options::default() };
    let mut fleet = Fleet::new(13, 3, 1, options);
    let leader = fleet.elect(SHARD);
    let mut late = fleet.operation("k", "v");
    late.request.as_mut().expect("it has one").deadline_ms += 1_000_000;
    assert!(matches!(
        write(&mut fleet, leader, late),
        Some(Answer::Refused(Refusal::DeadlineTooFar { deadline_max_ms: 60_000, .. }))
    ));
    let large = fleet.operation("k", &"x".repeat(2000));
    assert!(matches!(write(&mut fleet, leader, large), Some(Answer::Refused(Refusal::TooLarge { .. }))));
}

/// Crashes, restarts, cuts and foul weather, while a client writes its own keys; at the end everything acknowledged is
/// there, and the replicas are equal.
///
/// `STORM_SEEDS=1000..5000 cargo test -p flotilla-node --test host foul_weather` tries others.
#[test]
fn nothing_acknowledged_is_lost_in_foul_weather() {
    let asked = std::env::var("STORM_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| text.split_once(".."));
    let bound = |text: &str| text.parse().expect("STORM_SEEDS is FROM..TO");
    for seed in range.map_or(100..160, |(from, to)| bound(from)..bound(to)) {
        storm(seed);
    }
}

fn storm(seed: u64) {
    // Overlays that are full when a flusher stalls for a moment: writes are refused, and nothing else may happen.
    let mut fleet = Fleet::new(seed, 3, 2, Options { overlay_bytes_max: 8 << 10, ..small() });
    fleet.weather = Weather::FOUL;
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..25 {
        disturb(&mut fleet);
        for number in 0..4 {
            let (key, value) =
                (format!("k{}", fleet.draw(20)), format!("{seed}-{round}-{number}-{}", "x".repeat(200)));
            fleet.put_to_owner(&key, &value);
            acknowledged.retain(|(known, _)| *known != key);
            acknowledged.push((key, value));
        }
    }
    fleet.heal();
    fleet.weather = Weather::FAIR;
    for node in fleet.nodes() {
        if !fleet.alive(node) {
            fleet.start(node);
        }
    }
    for (key, value) in &acknowledged {
        assert_eq!(fleet.get_from_owner(key).as_ref(), Some(value), "seed {seed}, key {key}");
    }
    fleet.converge(ShardId(1));
    fleet.converge(ShardId(2));
}

/// One thing goes wrong, after what went wrong before may have ended; never so much that no quorum is left.
fn disturb(fleet: &mut Fleet) {
    if fleet.draw(2) == 0 || fleet.nodes().into_iter().any(|node| !fleet.alive(node)) {
        fleet.heal();
        for node in fleet.nodes() {
            if !fleet.alive(node) {
                fleet.start(node);
            }
        }
    }
    let (node, other) = (NodeId(1 + fleet.draw(3)), NodeId(1 + fleet.draw(3)));
    fleet.heal();
    match fleet.draw(6) {
        0 => fleet.crash(node),
        1 => fleet.isolate(node),
        2 => fleet.cut(node, other),
        3 => fleet.stall(node),
        4 => fleet.fail_disk(node),
        _ => {}
    }
    let held_up = 100 + fleet.draw(1000);
    fleet.resume_after(node, Duration::from_millis(held_up));
    let while_it_lasts = 20 + fleet.draw(400);
    fleet.run(Duration::from_millis(while_it_lasts));
}
