//! Transactions: compares, then one of two lists, all of it as one operation. Each story runs over both bases.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

use flotilla_store::{
    Condition, META_PREFIX, Outcome, Record, Refusal, ScanRange, Scope, SlotSpan, TXN_VALUES_BYTES_MAX,
    TxnOutcome, TxnResult,
};
use flotilla_topology::Slot;
use harness::*;

over_both_bases! {
    the_compares_choose_the_list
    every_condition_holds_when_it_should
    a_later_operation_sees_what_an_earlier_one_did
    all_writes_carry_one_version_and_every_transaction_takes_one_step
    what_only_the_base_holds_is_loaded_for_both_lists
    an_expired_key_is_absent
    a_ttl_counts_from_the_shard_time_of_the_apply
    a_retry_gets_the_first_answer_and_changes_nothing
    a_retry_after_a_restart_gets_the_first_answer
    a_retry_at_a_replica_that_installed_a_snapshot_gets_the_first_answer
    big_values_are_remembered_as_versions_only
    a_failed_transaction_is_remembered_too
    what_is_acknowledged_or_late_is_refused
    keys_of_several_slots_are_refused_and_leave_no_trace
    a_slot_of_another_shard_is_refused_and_leaves_no_trace
    the_meta_shard_takes_any_of_its_keys
    a_request_id_used_for_two_kinds_of_writes_gets_the_first_answer
}

const CLIENT: u128 = 42;

fn done(outcome: Outcome) -> TxnOutcome {
    match outcome {
        Outcome::Txn(txn) => txn,
        other => panic!("expected the outcome of a transaction, got {other:?}"),
    }
}

fn got(value: &str, version: u64) -> TxnResult {
    TxnResult::Got(Some(Record { value: b(value), version, expires_ms: None }))
}

fn deleted(existed: bool) -> TxnResult {
    TxnResult::Deleted { existed }
}

fn the_compares_choose_the_list<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.one(1, put("{t}a", "1"));
    let attempt = |expected| {
        let compares = [when("{t}a", Condition::Version(expected)), when("{t}b", Condition::Absent)];
        txn(compares, [tput("{t}a", "then"), tget("{t}c")], [tget("{t}a")])
    };
    let failed = done(replica.one(1, attempt(9)));
    assert_eq!((failed.succeeded, failed.results), (false, vec![got("1", 1)]));
    assert_eq!(replica.value("{t}a").unwrap(), "1", "nothing of the other list was done");
    let held = done(replica.one(1, attempt(1)));
    assert_eq!((held.succeeded, held.results), (true, vec![TxnResult::Put, TxnResult::Got(None)]));
    assert_eq!(replica.value("{t}a").unwrap(), "then");
    assert!(done(replica.one(1, txn([], [], [tput("{t}b", "x")]))).succeeded, "no compares: they hold");
    assert_eq!(replica.value("{t}b"), None);
}

fn every_condition_holds_when_it_should<B: TestBase>() {
    for settled in [false, true] {
        let mut replica = Replica::<B>::new();
        replica.at(1, [put("{t}full", "v"), put("{t}empty", ""), put("{t}gone", "v"), delete("{t}gone")]);
        let expected = [
            ("{t}full", Condition::Version(1), true),
            ("{t}full", Condition::Version(2), false),
            ("{t}full", Condition::Version(0), false),
            ("{t}gone", Condition::Version(0), true),
            ("{t}gone", Condition::Version(3), false),
            ("{t}full", Condition::Value(b("v")), true),
            ("{t}full", Condition::Value(b("w")), false),
            ("{t}empty", Condition::Value(b("")), true),
            ("{t}gone", Condition::Value(b("")), false),
            ("{t}full", Condition::Exists, true),
            ("{t}gone", Condition::Exists, false),
            ("{t}full", Condition::Absent, false),
            ("{t}gone", Condition::Absent, true),
        ];
        for (key, condition, holds) in expected {
            if settled {
                replica.settle();
            }
            let found = done(replica.one(1, txn([when(key, condition.clone())], [], []))).succeeded;
            assert_eq!(found, holds, "{key} {condition:?}");
            let second = [when("{t}full", Condition::Exists), when(key, condition.clone())];
            assert_eq!(done(replica.one(1, txn(second, [], []))).succeeded, holds, "all must hold");
        }
    }
}

fn a_later_operation_sees_what_an_earlier_one_did<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.one(1, put("{t}a", "old"));
    replica.settle();
    let operations = [
        tget("{t}a"),
        tput("{t}a", "new"),
        tget("{t}a"),
        tdelete("{t}a"),
        tget("{t}a"),
        tdelete("{t}a"),
        tput("{t}a", "last"),
        tput("{t}a", "very last"),
    ];
    let outcome = done(replica.one(1, txn([when("{t}a", Condition::Value(b("old")))], operations, [])));
    let expected = [
        got("old", 1),
        TxnResult::Put,
        got("new", 2),
        deleted(true),
        TxnResult::Got(None),
        deleted(false),
        TxnResult::Put,
        TxnResult::Put,
    ];
    assert_eq!(outcome.results, expected);
    assert_eq!(replica.value("{t}a").unwrap(), "very last");
    replica.settle();
    assert_eq!(replica.value("{t}a").unwrap(), "very last");
    assert_eq!(replica.stats().keys.keys, 1, "the tally counts the key once");
}

fn all_writes_carry_one_version_and_every_transaction_takes_one_step<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let transactions = [
        txn([], [tput("{t}a", "1"), tput("{t}b", "2"), tdelete("{t}c")], []),
        txn([], [tget("{t}a")], []),
        txn([], [], []),
        txn([when("{t}a", Condition::Absent)], [], [tdelete("{t}nothing")]),
        txn([], [tdelete("{t}a"), tput("{t}b", "3")], []),
    ];
    let outcomes = replica.at(1, transactions);
    let versions: Vec<_> = outcomes.into_iter().map(|outcome| done(outcome).version).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5], "one each, whether or not it wrote");
    assert_eq!(replica.get("{t}b").unwrap().version, 5);
    assert_eq!(replica.one(1, put("{t}a", "x")), Outcome::Written { version: 6 });
    replica.settle();
    replica.restart();
    assert_eq!(replica.machine.version(), 6);
}

fn what_only_the_base_holds_is_loaded_for_both_lists<B: TestBase>() {
    for holds in [true, false] {
        let mut replica = Replica::<B>::new();
        replica.at(1, ["{t}a", "{t}b", "{t}c", "{t}d"].map(|key| put(key, key)));
        replica.settle();
        let condition = if holds { Condition::Exists } else { Condition::Absent };
        let compares = [when("{t}a", condition)];
        let attempt = txn(compares, [tget("{t}b"), tdelete("{t}c")], [tget("{t}c"), tdelete("{t}b")]);
        let outcome = done(replica.one(1, attempt));
        let (read, version) = if holds { ("{t}b", 2) } else { ("{t}c", 3) };
        assert_eq!(outcome.results, [got(read, version), deleted(true)]);
        let left = if holds { ["{t}a", "{t}b", "{t}d"] } else { ["{t}a", "{t}c", "{t}d"] };
        assert_eq!(replica.keys(&ScanRange::default(), WIDE), left);
        replica.settle();
        assert_eq!(replica.keys(&ScanRange::default(), WIDE), left);
        assert_eq!(replica.stats().keys.keys, 3);
    }
}

fn an_expired_key_is_absent<B: TestBase>() {
    for settle in [false, true] {
        let mut replica = Replica::<B>::new();
        replica.at(100, [put_ttl("{t}a", "old", 10), put_ttl("{t}b", "old", 10)]);
        if settle {
            replica.settle();
        }
        let attempt = || {
            let there = [when("{t}a", Condition::Exists), when("{t}a", Condition::Value(b("old")))];
            txn(there, [], [tget("{t}a"), tdelete("{t}b"), tput("{t}a", "new")])
        };
        assert!(done(replica.one(109, attempt())).succeeded);
        let outcome = done(replica.one(110, attempt()));
        assert!(!outcome.succeeded, "the entry that brings the time sees it expired");
        assert_eq!(outcome.results, [TxnResult::Got(None), deleted(false), TxnResult::Put]);
        let gone = [when("{t}b", Condition::Version(0)), when("{t}b", Condition::Absent)];
        assert!(done(replica.one(110, txn(gone, [], []))).succeeded);
        assert_eq!(replica.stats().keys.keys, 1);
        assert_eq!(replica.value("{t}a").unwrap(), "new");
    }
}

fn a_ttl_counts_from_the_shard_time_of_the_apply<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(100, []);
    replica.one(50, txn([], [tput_ttl("{t}a", "1", 10), tput_ttl("{t}b", "1", u64::MAX)], []));
    assert_eq!(replica.get("{t}a").unwrap().expires_ms, Some(110), "shard time was 100 already");
    assert!(replica.machine.due(110));
    replica.settle();
    replica.at(110, []);
    assert_eq!(replica.value("{t}a"), None);
    replica.settle();
    assert_eq!(replica.value("{t}b").unwrap(), "1", "a ttl beyond the end of time is for ever");
    assert!(!replica.machine.due(u64::MAX - 1));
}

/// Moves an amount, if both balances are as expected.
fn transfer() -> flotilla_store::Operation {
    let balances = [when("{t}from", Condition::Value(b("10"))), when("{t}to", Condition::Version(2))];
    txn(balances, [tput("{t}from", "7"), tput("{t}to", "3"), tget("{t}from")], [tget("{t}from")])
}

fn a_retry_gets_the_first_answer_and_changes_nothing<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(1, [put("{t}from", "10"), put("{t}to", "0")]);
    let attempt = by(CLIENT, 1, 0, 1000, transfer());
    let outcomes = replica.at(1, [attempt.clone(), attempt.clone()]);
    assert_eq!(outcomes[0], outcomes[1], "in the same entry");
    let first = done(outcomes[0].clone());
    assert_eq!(first.results, [TxnResult::Put, TxnResult::Put, got("7", 3)]);
    replica.at(1, [put("{t}from", "10"), put("{t}to", "2")]);
    assert_eq!(done(replica.one(1, attempt)), first, "although the compares would fail now");
    assert_eq!(replica.value("{t}to").unwrap(), "2", "and nothing is written again");
    assert_eq!(replica.machine.version(), 5, "nor a step taken");
}

fn a_retry_after_a_restart_gets_the_first_answer<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(1, [put("{t}from", "10"), put("{t}to", "0")]);
    let attempt = by(CLIENT, 1, 0, 1000, transfer());
    let first = replica.one(1, attempt.clone());
    replica.settle();
    replica.restart();
    assert_eq!(replica.machine.results(), 1);
    assert_eq!(replica.one(1, attempt.clone()), first);
    replica.replay();
    assert_eq!(replica.one(1, attempt), first);
    assert_eq!(replica.machine.version(), 3);
}

fn a_retry_at_a_replica_that_installed_a_snapshot_gets_the_first_answer<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(1, [put("{t}from", "10"), put("{t}to", "0")]);
    let attempt = by(CLIENT, 1, 0, 1000, transfer());
    let first = replica.one(1, attempt.clone());
    let stats = replica.stats();
    let mut other = Replica::<B>::new();
    install(&replica.base, &other.base, other.machine.generation(), 64);
    other.restart();
    assert_eq!(other.stats(), stats);
    assert_eq!(other.one(1, attempt), first);
}

fn big_values_are_remembered_as_versions_only<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let half = "v".repeat(TXN_VALUES_BYTES_MAX / 2);
    replica.at(1, [put("{t}a", &half), put("{t}b", &half), put("{t}c", "v")]);
    let fits = by(CLIENT, 1, 0, 1000, txn([], [tget("{t}a"), tget("{t}b")], []));
    let first = replica.one(1, fits.clone());
    let over = by(CLIENT, 2, 0, 1000, txn([], [tget("{t}a"), tget("{t}b"), tget("{t}c"), tget("{t}d")], []));
    let whole = done(replica.one(1, over.clone()));
    assert!(!whole.values_forgotten);
    assert_eq!(whole.results[2], got("v", 3));
    let expected = vec![got("", 1), got("", 2), got("", 3), TxnResult::Got(None)];
    for restart in [false, true] {
        if restart {
            replica.settle();
            replica.restart();
        }
        assert_eq!(replica.one(1, fits.clone()), first, "together they are not too big");
        let again = done(replica.one(1, over.clone()));
        assert!(again.values_forgotten);
        assert_eq!((again.succeeded, again.version, &again.results), (true, whole.version, &expected));
    }
    assert!(replica.machine.remembered_bytes() < 4096, "{}", replica.machine.remembered_bytes());
}

fn a_failed_transaction_is_remembered_too<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let compares = [when("{t}a", Condition::Exists)];
    let attempt = by(CLIENT, 1, 0, 1000, txn(compares, [tput("{t}b", "then")], [tput("{t}b", "otherwise")]));
    let first = done(replica.one(1, attempt.clone()));
    assert!(!first.succeeded);
    replica.at(1, [put("{t}a", "1"), put("{t}b", "2")]);
    assert_eq!(done(replica.one(1, attempt)), first, "it would succeed now, and must not");
    assert_eq!(replica.value("{t}b").unwrap(), "2");
}

fn what_is_acknowledged_or_late_is_refused<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let attempt =
        |sequence, acknowledged| by(CLIENT, sequence, acknowledged, 100, txn([], [tput("{t}a", "1")], []));
    replica.one(1, attempt(1, 0));
    replica.one(1, attempt(2, 2));
    assert_eq!(replica.machine.results(), 1);
    assert_eq!(replica.one(1, attempt(1, 0)), Outcome::Refused(Refusal::Stale { floor: 2 }));
    assert_eq!(replica.one(100, attempt(3, 0)), Outcome::Refused(Refusal::Expired { time_ms: 100 }));
    assert_eq!(replica.machine.version(), 2);
    replica.flush();
    assert_eq!(replica.machine.remembered_bytes(), 0, "what is forgotten takes no memory");
}

fn keys_of_several_slots_are_refused_and_leave_no_trace<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let refused = Outcome::SeveralSlots { first: Slot::of(b"t"), other: Slot::of(b"b") };
    let attempts = [
        txn([when("{t}a", Condition::Absent)], [tput("b", "1")], []),
        txn([], [tput("{t}a", "1"), tput("{t}c", "1"), tput("b", "1")], []),
        txn([], [tget("{t}a")], [tget("b")]),
    ];
    for attempt in attempts {
        assert_eq!(replica.one(1, attempt.clone()), refused);
        assert_eq!(replica.one(1, by(CLIENT, 1, 0, 100, attempt)), refused);
    }
    assert_eq!((replica.machine.version(), replica.machine.results()), (0, 0));
    assert_eq!(replica.keys(&ScanRange::default(), WIDE), [""; 0]);
}

fn a_slot_of_another_shard_is_refused_and_leaves_no_trace<B: TestBase>() {
    let slot = Slot::of(b"t");
    let span = |first, last| SlotSpan { first: Slot::new(first).unwrap(), last: Slot::new(last).unwrap() };
    let others = vec![span(0, slot.number() - 1), span(slot.number() + 1, 16383)];
    let mut replica = Replica::<B>::of(genesis_of(Scope::Slots(others)));
    let attempt = txn([when("{t}a", Condition::Absent)], [tput("{t}b", "1")], [tget("{t}c")]);
    assert_eq!(replica.one(1, by(CLIENT, 1, 0, 100, attempt.clone())), Outcome::WrongSlot { slot });
    assert_eq!(replica.one(1, attempt), Outcome::WrongSlot { slot });
    assert_eq!((replica.machine.version(), replica.machine.results()), (0, 0));
}

fn the_meta_shard_takes_any_of_its_keys<B: TestBase>() {
    let mut replica = Replica::<B>::of(genesis_of(Scope::Meta));
    let meta = |name: &str| format!("{}{name}", std::str::from_utf8(META_PREFIX).unwrap());
    let outcome = replica.one(1, txn([], [tput(&meta("a"), "1"), tput(&meta("b"), "2")], []));
    assert!(done(outcome).succeeded, "they never move, so they stay together");
    let outside = replica.one(1, txn([], [tput(&meta("a"), "3"), tput("b", "3")], []));
    assert_eq!(outside, Outcome::WrongSlot { slot: Slot::of(b"b") });
    assert_eq!(replica.value(&meta("a")).unwrap(), "1");
}

fn a_request_id_used_for_two_kinds_of_writes_gets_the_first_answer<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let first = replica.one(1, by(CLIENT, 1, 0, 100, txn([], [tput("{t}a", "1")], [])));
    assert_eq!(replica.one(1, by(CLIENT, 1, 0, 100, put("{t}a", "2"))), first);
    let written = replica.one(1, by(CLIENT, 2, 0, 100, put("{t}b", "1")));
    assert_eq!(replica.one(1, by(CLIENT, 2, 0, 100, txn([], [tput("{t}a", "3")], []))), written);
    assert_eq!(replica.value("{t}a").unwrap(), "1");
}
