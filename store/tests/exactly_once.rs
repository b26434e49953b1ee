//! Exactly-once writes: remembered results, floors, deadlines. Each story runs over both bases.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

use flotilla_store::{CONFLICT_VALUE_BYTES_MAX, Machine, Outcome, Refusal};
use harness::*;

over_both_bases! {
    a_retry_gets_the_first_answer_and_changes_nothing
    a_retry_in_the_same_entry_gets_the_first_answer
    conflicts_and_deletes_of_nothing_are_remembered
    a_big_conflict_is_remembered_without_its_value
    a_retry_after_a_restart_gets_the_first_answer
    what_is_acknowledged_is_forgotten_and_refused
    acknowledgements_are_seen_on_retries_too
    a_passed_deadline_is_refused
    an_answer_is_given_until_the_deadline_and_not_at_it
    a_floor_stands_until_the_latest_deadline_has_passed
    a_floor_survives_flush_and_restart
    a_remembered_result_goes_before_a_floor_and_a_deadline
    operations_without_request_run_every_time
    results_that_fall_due_together_are_removed_in_bounded_steps
    a_restart_in_the_middle_of_a_removal_changes_nothing
    results_of_an_entry_are_removed_from_the_base_when_none_is_left
}

const CLIENT: u128 = 42;

fn written(version: u64) -> Outcome {
    Outcome::Written { version }
}

fn stale(floor: u64) -> Outcome {
    Outcome::Refused(Refusal::Stale { floor })
}

fn expired(time_ms: u64) -> Outcome {
    Outcome::Refused(Refusal::Expired { time_ms })
}

fn a_retry_gets_the_first_answer_and_changes_nothing<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let attempt = by(CLIENT, 1, 0, 1000, put("a", "1"));
    assert_eq!(replica.one(1, attempt.clone()), written(1));
    assert_eq!(replica.one(1, put("a", "2")), written(2));
    assert_eq!(replica.one(1, attempt), written(1));
    assert_eq!(replica.value("a").unwrap(), "2", "the retry did not write");
    assert_eq!(replica.machine.version(), 2);
}

fn a_retry_in_the_same_entry_gets_the_first_answer<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let attempt = by(CLIENT, 1, 0, 1000, cas("a", 0, "1"));
    let swapped = Outcome::Swapped { version: 1 };
    assert_eq!(replica.at(1, [attempt.clone(), attempt]), [swapped.clone(), swapped]);
}

fn conflicts_and_deletes_of_nothing_are_remembered<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.one(1, put("a", "1"));
    let conflict = by(CLIENT, 1, 0, 1000, cas("a", 9, "x"));
    let nothing = by(CLIENT, 2, 0, 1000, delete("b"));
    let absent = by(CLIENT, 3, 0, 1000, cas("c", 9, "x"));
    let attempts = [conflict, nothing, absent];
    let first = replica.at(1, attempts.clone());
    assert!(matches!(&first[0], Outcome::Conflict { current: Some(record) } if record.value == "1"));
    assert_eq!(first[1], Outcome::Deleted { existed: false, version: 1 });
    assert_eq!(first[2], Outcome::Conflict { current: None });
    replica.at(1, [put("a", "2"), put("b", "2"), put("c", "2")]);
    assert_eq!(replica.at(1, attempts.clone()), first);
    replica.settle();
    replica.restart();
    assert_eq!(replica.at(1, attempts), first);
    assert_eq!(replica.value("b").unwrap(), "2", "a late retry deletes nothing");
}

fn a_big_conflict_is_remembered_without_its_value<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let big = "v".repeat(CONFLICT_VALUE_BYTES_MAX + 1);
    replica.one(1, put("a", &big));
    let attempt = by(CLIENT, 1, 0, 1000, cas("a", 9, "x"));
    let first = replica.one(1, attempt.clone());
    assert!(matches!(&first, Outcome::Conflict { current: Some(_) }));
    replica.settle();
    replica.restart();
    assert_eq!(replica.one(1, attempt.clone()), first, "the key still holds what it met");
    replica.one(1, put("a", "2"));
    assert_eq!(replica.one(1, attempt), Outcome::ConflictForgotten { version: 1 });
}

fn a_retry_after_a_restart_gets_the_first_answer<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let attempt = by(CLIENT, 1, 0, 1000, put("a", "1"));
    replica.one(1, attempt.clone());
    replica.one(1, put("a", "2"));
    replica.flush();
    replica.restart();
    assert_eq!(replica.machine.results(), 1);
    assert_eq!(replica.one(1, attempt), written(1));
    assert_eq!(replica.value("a").unwrap(), "2");
}

fn what_is_acknowledged_is_forgotten_and_refused<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let attempt = |sequence, acknowledged| by(CLIENT, sequence, acknowledged, 1000, put("a", "1"));
    replica.at(1, [attempt(1, 0), attempt(2, 0), attempt(3, 0)]);
    let each = replica.machine.remembered_bytes_of(CLIENT) / 3;
    assert_eq!(replica.one(1, attempt(4, 3)), written(4));
    assert_eq!(replica.machine.remembered_bytes_of(CLIENT), 2 * each);
    assert_eq!(replica.machine.results(), 2, "those of 3 and 4: what lies below the acknowledged is dropped");
    assert_eq!(replica.one(1, attempt(2, 0)), stale(3), "it ran; it must not run again");
    assert_eq!(replica.one(1, attempt(3, 0)), written(3));
    assert_eq!(replica.machine.version(), 4);
}

fn acknowledgements_are_seen_on_retries_too<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let attempt = |sequence, acknowledged| by(CLIENT, sequence, acknowledged, 1000, put("a", "1"));
    replica.at(1, [attempt(1, 0), attempt(2, 0)]);
    assert_eq!(replica.one(1, attempt(2, 2)), written(2));
    assert_eq!(replica.one(1, attempt(1, 0)), stale(2));
}

fn a_passed_deadline_is_refused<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let attempt = by(CLIENT, 1, 0, 100, put("a", "1"));
    replica.at(100, []);
    assert_eq!(replica.one(100, attempt.clone()), expired(100));
    assert_eq!(replica.one(100, attempt), expired(100));
    assert_eq!(replica.value("a"), None);
    assert_eq!(replica.machine.results(), 0, "a refusal is not remembered");
}

fn an_answer_is_given_until_the_deadline_and_not_at_it<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let attempt = by(CLIENT, 1, 0, 100, put("a", "1"));
    replica.one(1, attempt.clone());
    assert_eq!(replica.one(99, attempt.clone()), written(1));
    assert_eq!(replica.one(100, attempt), expired(100));
    assert_eq!(replica.machine.results(), 0);
    assert_eq!(replica.machine.version(), 1);
}

fn a_floor_stands_until_the_latest_deadline_has_passed<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    // Sequence 1 has the longest deadline, and is acknowledged long before.
    replica.one(1, by(CLIENT, 1, 0, 1000, put("a", "1")));
    replica.one(1, by(CLIENT, 2, 2, 100, put("a", "2")));
    assert_eq!(replica.machine.results(), 1);
    for time_ms in [150, 500, 999] {
        replica.at(time_ms, []);
        let late = by(CLIENT, 1, 0, 1000, put("a", "1"));
        assert_eq!(
            replica.one(time_ms, late),
            stale(2),
            "at {time_ms} the first attempt's twin may still come"
        );
    }
    assert_eq!(replica.one(1000, by(CLIENT, 1, 0, 1000, put("a", "1"))), expired(1000));
    assert_eq!(replica.value("a").unwrap(), "2");
    replica.flush();
    assert!(!replica.machine.due(u64::MAX), "nothing is left of the client");
}

fn a_floor_survives_flush_and_restart<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.one(1, by(CLIENT, 1, 0, 1000, put("a", "1")));
    replica.flush();
    replica.one(1, by(CLIENT, 2, 2, 100, put("a", "2")));
    replica.flush();
    replica.restart();
    assert_eq!(replica.one(500, by(CLIENT, 1, 0, 1000, put("a", "1"))), stale(2));
    replica.at(1000, []);
    replica.flush();
    replica.restart();
    assert_eq!(replica.machine.results(), 0);
    assert!(!replica.machine.due(u64::MAX));
}

fn a_remembered_result_goes_before_a_floor_and_a_deadline<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.one(1, by(CLIENT, 5, 0, 1000, put("a", "1")));
    // The same sequence, with a deadline that has passed: a client never does that, and gets its answer all
    // the same.
    assert_eq!(replica.one(50, by(CLIENT, 5, 0, 20, put("a", "1"))), written(1));
    assert_eq!(replica.one(50, by(CLIENT, 4, 0, 20, put("a", "1"))), expired(50));
    assert_eq!(replica.one(50, by(CLIENT, 6, 6, 1000, put("a", "1"))), written(2));
    assert_eq!(replica.one(50, by(CLIENT, 4, 0, 20, put("a", "1"))), stale(6), "the floor is asked first");
}

fn operations_without_request_run_every_time<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    assert_eq!(replica.one(1, put("a", "1")), written(1));
    assert_eq!(replica.one(1, put("a", "1")), written(2));
    assert_eq!(replica.machine.results(), 0);
}

/// Many entries of many clients, all due at 100.
fn crowd(replica: &mut Replica<impl TestBase>) {
    for entry in 0..20 {
        let one = |n: u64| by(u128::from(n), entry, 0, 100, put("a", "1"));
        replica.at(1, (0..100).map(one).collect::<Vec<_>>());
    }
    assert_eq!(replica.machine.results(), 2000);
}

fn results_that_fall_due_together_are_removed_in_bounded_steps<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    crowd(&mut replica);
    let late = |sequence| by(5, sequence, 0, 100, put("a", "late"));
    assert_eq!(replica.one(100, late(7)), expired(100), "what is not removed yet does not count");
    let left = replica.machine.results();
    assert!((1..2000).contains(&left), "one apply removes some, not all: {left} left");
    let mut entries = 0;
    while replica.machine.due(100) {
        replica.at(100, []);
        entries += 1;
    }
    assert_eq!(replica.machine.results(), 0);
    assert!(entries < 20, "{entries} entries");
    assert_eq!(replica.one(100, late(19)), expired(100));
}

fn a_restart_in_the_middle_of_a_removal_changes_nothing<B: TestBase>() {
    let mut calm = Replica::<B>::new();
    let mut restless = Replica::<B>::new();
    crowd(&mut calm);
    crowd(&mut restless);
    // Acknowledgements make holes in the entries, which a restart closes.
    let hole = |client: u64| [50, 51].map(|sequence| by(client.into(), sequence, 20, 150, delete("b")));
    let holes: Vec<_> = (0..60).flat_map(hole).collect();
    for time_ms in 99..110 {
        let operations = if time_ms == 99 { holes.clone() } else { vec![] };
        for replica in [&mut calm, &mut restless] {
            replica.at(time_ms, operations.clone());
        }
        restless.flush();
        restless.restart();
        assert_eq!(calm.machine.results(), restless.machine.results(), "at {time_ms}");
    }
    assert_eq!(calm.stats(), restless.stats());
}

fn results_of_an_entry_are_removed_from_the_base_when_none_is_left<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let mut empty = Replica::<B>::new();
    empty.at(1, []);
    replica.at(
        1,
        [by(1, 1, 0, 50, put("a", "1")), by(2, 1, 0, 60, put("a", "2")), by(2, 2, 0, 60, delete("a"))],
    );
    replica.flush();
    replica.one(2, by(2, 3, 3, 60, delete("a")));
    replica.flush();
    assert_eq!(replica.machine.results(), 2);
    replica.at(70, []);
    replica.flush();
    replica.restart();
    assert_eq!(replica.machine.results(), 0);
    let held = |base: &B| {
        let mut reader = flotilla_store::snapshot::Reader::new(flotilla_store::Base::view(base), SHARD);
        reader.as_mut().unwrap().as_mut().unwrap().next_chunk(1 << 20).unwrap().unwrap().len()
    };
    empty.at(70, []);
    empty.flush();
    assert_eq!(held(&replica.base), held(&empty.base), "nothing is left of results and floors");
}

/// The deadline of the machine's own bookkeeping never makes a fresh shard busy.
#[test]
fn a_new_shard_is_idle() {
    let mut machine = Machine::create(SHARD, 1, &genesis());
    assert!(!machine.due(u64::MAX));
    assert!(!machine.needs_flush());
    assert!(machine.freeze().is_none());
}
