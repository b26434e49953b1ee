//! What the machine does with operations, time, slots and scans. Each story runs over both bases.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

use flotilla_raft::{Configuration, Index, ReplicaId};
use flotilla_store::{Limits, META_PREFIX, Machine, Outcome, ScanRange, Scope, SlotSpan};
use flotilla_topology::Slot;
use harness::*;

over_both_bases! {
    two_puts_of_one_key_in_one_entry_get_two_versions
    a_conflict_and_a_delete_of_nothing_take_no_step
    compare_and_swap_compares_with_what_only_the_base_knows
    a_swap_of_version_zero_creates_and_never_overwrites
    a_deleted_key_stays_deleted_through_flush_and_restart
    a_loaded_record_does_not_come_back_to_life
    configurations_and_noops_survive_a_restart
    what_was_not_flushed_comes_back_from_the_log
    a_key_of_a_foreign_slot_is_refused_at_apply_and_at_reads
    the_meta_shard_serves_reserved_keys_only
    shard_time_never_goes_back
    an_expired_key_does_not_exist_for_any_operation
    expiry_waits_for_an_applied_entry
    a_rewritten_key_lives_as_long_as_it_was_last_told
    a_shard_that_must_expire_something_says_so
    expired_keys_leave_the_base_in_bounded_steps
    scans_merge_overlay_and_base_in_both_directions
    a_page_shows_the_moment_of_its_slice_and_view
    small_pages_see_every_key_once
    a_page_holds_one_record_however_big
    a_frozen_layer_is_read_while_it_is_flushed
}

fn two_puts_of_one_key_in_one_entry_get_two_versions<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let outcomes = replica.at(1, [put("a", "1"), put("a", "2"), put("b", "3")]);
    let version = |version| Outcome::Written { version };
    assert_eq!(outcomes, [version(1), version(2), version(3)]);
    assert_eq!(replica.get("a").unwrap().version, 2);
    replica.settle();
    replica.restart();
    assert_eq!(replica.get("a").unwrap().version, 2);
    assert_eq!(replica.one(2, put("c", "4")), version(4), "the counter goes on after a restart");
}

fn a_conflict_and_a_delete_of_nothing_take_no_step<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let outcomes = replica.at(1, [put("a", "1"), cas("a", 9, "2"), delete("b"), delete("a"), put("c", "3")]);
    assert!(matches!(&outcomes[1], Outcome::Conflict { current: Some(record) } if record.version == 1));
    assert_eq!(outcomes[2], Outcome::Deleted { existed: false, version: 1 });
    assert_eq!(outcomes[3], Outcome::Deleted { existed: true, version: 2 });
    assert_eq!(outcomes[4], Outcome::Written { version: 3 });
}

fn compare_and_swap_compares_with_what_only_the_base_knows<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(1, [put("a", "1"), put("b", "2")]);
    replica.settle();
    let outcomes = replica.at(2, [cas("a", 1, "x"), cas("b", 1, "y"), delete("b")]);
    assert_eq!(outcomes[0], Outcome::Swapped { version: 3 });
    assert!(matches!(&outcomes[1], Outcome::Conflict { current: Some(record) } if record.value == b("2")));
    assert_eq!(outcomes[2], Outcome::Deleted { existed: true, version: 4 });
}

fn a_swap_of_version_zero_creates_and_never_overwrites<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    assert_eq!(replica.one(1, cas("a", 0, "1")), Outcome::Swapped { version: 1 });
    replica.settle();
    assert!(matches!(replica.one(1, cas("a", 0, "2")), Outcome::Conflict { current: Some(_) }));
    assert_eq!(replica.one(1, cas("b", 5, "2")), Outcome::Conflict { current: None });
}

fn a_deleted_key_stays_deleted_through_flush_and_restart<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(1, [put("a", "1"), put("b", "2")]);
    replica.settle();
    replica.one(1, delete("a"));
    assert_eq!(replica.value("a"), None, "in the overlay");
    replica.settle();
    assert_eq!(replica.value("a"), None, "in the base");
    replica.restart();
    assert_eq!(replica.value("a"), None, "after a restart");
    assert_eq!(replica.stats().keys.keys, 1);
}

fn a_loaded_record_does_not_come_back_to_life<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.one(1, put("a", "1"));
    replica.settle();
    assert!(matches!(replica.one(1, cas("a", 9, "x")), Outcome::Conflict { .. }), "loads the key");
    replica.one(1, put("a", "2"));
    replica.flush();
    replica.one(1, put("b", "1"));
    replica.flush(); // The layer with the new value is nobody's any more.
    assert_eq!(replica.value("a").unwrap(), "2");
    assert_eq!(replica.one(1, cas("a", 2, "3")), Outcome::Swapped { version: 4 });
}

fn configurations_and_noops_survive_a_restart<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.machine.apply_noop(id(1));
    let members = Configuration::of_voters([ReplicaId(1), ReplicaId(4)]);
    replica.machine.apply_configuration(id(2), &members);
    replica.machine.apply_noop(id(3));
    replica.flush();
    replica.restart();
    assert_eq!(replica.machine.applied(), id(3));
    assert_eq!(replica.machine.durable(), id(3));
    assert_eq!(*replica.machine.configuration(), members);
    assert_eq!(replica.machine.configuration_index(), Index(2));
}

fn what_was_not_flushed_comes_back_from_the_log<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.one(1, put("a", "1"));
    replica.flush();
    replica.one(1, put("a", "2"));
    assert_eq!(replica.machine.durable(), id(1), "the log may not compact beyond the flush");
    replica.replay();
    assert_eq!(replica.value("a").unwrap(), "2");
    assert_eq!(replica.get("a").unwrap().version, 2);
}

fn foreign(key: &str) -> Scope {
    let slot = Slot::of(key.as_bytes()).number();
    let span = |first, last| SlotSpan { first: Slot::new(first).unwrap(), last: Slot::new(last).unwrap() };
    Scope::Slots(vec![span(0, slot - 1), span(slot + 1, 16383)])
}

fn a_key_of_a_foreign_slot_is_refused_at_apply_and_at_reads<B: TestBase>() {
    let mut replica = Replica::<B>::of(genesis_of(foreign("a")));
    let slot = Slot::of(b"a");
    let refused = Outcome::WrongSlot { slot };
    assert_eq!(replica.one(1, put("a", "1")), refused);
    assert_eq!(replica.one(1, cas("a", 0, "1")), refused);
    assert_eq!(replica.one(1, by(1, 1, 0, 100, put("a", "1"))), refused);
    assert_eq!(replica.machine.results(), 0, "an operation that has no business here leaves no trace");
    assert!(matches!(replica.machine.get(b"a"), flotilla_store::Lookup::WrongSlot(found) if found == slot));
    assert_eq!(replica.one(1, put("b", "1")), Outcome::Written { version: 1 });
    replica.flush();
    replica.restart();
    assert_eq!(replica.one(1, put("a", "1")), refused, "ownership survives a restart");
    assert_eq!(replica.machine.slots().count(), 16383);
}

fn the_meta_shard_serves_reserved_keys_only<B: TestBase>() {
    let mut replica = Replica::<B>::of(genesis_of(Scope::Meta));
    assert!(matches!(replica.one(1, put("a", "1")), Outcome::WrongSlot { .. }));
    let map = format!("{}map", std::str::from_utf8(META_PREFIX).unwrap());
    assert_eq!(replica.one(1, cas(&map, 0, "1")), Outcome::Swapped { version: 1 });
    replica.settle();
    replica.restart();
    assert_eq!(replica.value(&map).unwrap(), "1");
    assert_eq!(replica.machine.slots().count(), 0);
}

fn shard_time_never_goes_back<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(50, []);
    replica.at(20, [put_ttl("a", "1", 10)]);
    assert_eq!(replica.machine.time_ms(), 50);
    assert_eq!(replica.get("a").unwrap().expires_ms, Some(60), "a ttl counts from shard time");
    replica.flush();
    replica.restart();
    replica.at(30, []);
    assert_eq!(replica.machine.time_ms(), 50);
}

fn an_expired_key_does_not_exist_for_any_operation<B: TestBase>() {
    for settle in [false, true] {
        let mut replica = Replica::<B>::new();
        let keys = ["a", "b", "c", "d"];
        replica.at(100, keys.map(|key| put_ttl(key, "old", 10)));
        if settle {
            replica.settle();
        }
        replica.at(110, []);
        assert_eq!(replica.value("a"), None);
        assert_eq!(replica.keys(&ScanRange::default(), WIDE), [""; 0]);
        let outcomes = replica.at(110, [cas("a", 1, "x"), cas("b", 0, "new"), delete("c"), cas("d", 9, "x")]);
        assert_eq!(outcomes[0], Outcome::Conflict { current: None }, "the old version is gone");
        assert_eq!(outcomes[1], Outcome::Swapped { version: 5 }, "it must not exist, and it does not");
        assert_eq!(outcomes[2], Outcome::Deleted { existed: false, version: 5 });
        assert_eq!(outcomes[3], Outcome::Conflict { current: None });
        assert_eq!(replica.stats().keys.keys, 1);
        assert_eq!(replica.value("b").unwrap(), "new");
    }
}

fn expiry_waits_for_an_applied_entry<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(100, [put_ttl("a", "1", 10)]);
    assert!(replica.value("a").is_some(), "no clock is read");
    replica.at(109, []);
    assert!(replica.value("a").is_some());
    replica.at(110, []);
    assert!(replica.value("a").is_none());
}

fn a_rewritten_key_lives_as_long_as_it_was_last_told<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(100, [put_ttl("a", "1", 10), put_ttl("b", "1", 10), put_ttl("c", "1", 10)]);
    replica.settle();
    replica.at(105, [put("a", "2"), put_ttl("b", "2", 100), put_ttl("c", "2", 1)]);
    replica.settle();
    replica.at(120, []);
    assert_eq!(replica.stats().keys.keys, 2);
    replica.machine.drop_clean();
    assert_eq!(
        [replica.value("a"), replica.value("b"), replica.value("c")].map(|v| v.is_some()),
        [true, true, false]
    );
    replica.at(300, []);
    assert_eq!(replica.stats().keys.keys, 1);
    assert_eq!(replica.machine.stored().keys, 1, "the expired are gone from the base");
}

fn a_shard_that_must_expire_something_says_so<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(100, [put_ttl("a", "1", 10), put_ttl("b", "1", 20)]);
    for _ in 0..2 {
        assert!(!replica.machine.due(109) && replica.machine.due(110) && replica.machine.due(500));
        replica.settle();
    }
    replica.at(110, []);
    replica.settle();
    assert!(!replica.machine.due(119) && replica.machine.due(120));
    replica.restart();
    assert!(!replica.machine.due(119) && replica.machine.due(120));
    replica.at(120, []);
    replica.flush();
    assert!(!replica.machine.due(u64::MAX), "an idle shard is idle");
}

fn expired_keys_leave_the_base_in_bounded_steps<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let count = flotilla_store::EXPIRED_PER_FLUSH + 10;
    replica.at(1, (0..count).map(|n| put_ttl(&format!("k{n}"), "v", 10)).collect::<Vec<_>>());
    replica.at(1, [put("stays", "v")]);
    replica.settle();
    replica.at(20, []);
    let flush = replica.machine.freeze().unwrap();
    replica.run(&flush);
    assert_eq!(replica.machine.stored().keys, 11, "one flush removes so many and no more");
    let seen = flotilla_store::stats(&replica.base.view(), SHARD).unwrap().unwrap();
    assert_eq!(seen.keys.keys, 1, "what is not removed yet does not count");
    assert!(replica.machine.needs_flush(), "there is more to do, without any new entry");
    assert_eq!(replica.stats(), seen, "the removal changes nothing that counts");
    assert_eq!(replica.machine.stored(), seen.keys);
}

fn numbered(replica: &mut Replica<impl TestBase>) {
    replica.at(1, (0..40).map(|n| put(&format!("{n:02}"), "base")).collect::<Vec<_>>());
    replica.settle();
    let overlay = (0..60).filter(|n| n % 3 == 0).map(|n| match n % 2 {
        0 => put(&format!("{n:02}"), "overlay"),
        _ => delete(&format!("{n:02}")),
    });
    replica.at(1, overlay.collect::<Vec<_>>());
}

fn expected_numbers() -> Vec<String> {
    let there = |n: &i32| if n % 3 == 0 { n % 2 == 0 } else { *n < 40 };
    (0..60).filter(there).map(|n| format!("{n:02}")).collect()
}

fn scans_merge_overlay_and_base_in_both_directions<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    numbered(&mut replica);
    let mut expected = expected_numbers();
    let mut range = ScanRange::default();
    assert_eq!(replica.keys(&range, WIDE), expected);
    range = ScanRange { from: b("07"), to: Some(b("31")), reverse: false };
    let part: Vec<_> = expected.iter().filter(|key| ("07".."31").contains(&key.as_str())).cloned().collect();
    assert_eq!(replica.keys(&range, WIDE), part, "the end is excluded");
    range.reverse = true;
    assert_eq!(replica.keys(&range, WIDE), part.into_iter().rev().collect::<Vec<_>>());
    expected.reverse();
    assert_eq!(replica.keys(&ScanRange { reverse: true, ..ScanRange::default() }, WIDE), expected);
    let backwards = ScanRange { from: b("31"), to: Some(b("07")), reverse: false };
    assert_eq!(replica.keys(&backwards, WIDE), [""; 0]);
    let records = replica.scan(&ScanRange::default(), WIDE);
    assert!(records.iter().all(|(key, record)| {
        let number: u32 = std::str::from_utf8(key).unwrap().parse().unwrap();
        record.value == if number.is_multiple_of(3) { "overlay" } else { "base" }
    }));
}

fn a_page_shows_the_moment_of_its_slice_and_view<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(1, [put("a", "1"), put("b", "1")]);
    replica.settle();
    replica.at(1, [put("b", "2")]);
    let slice = replica.machine.scan(&ScanRange::default(), WIDE);
    let view = replica.base.view();
    replica.at(1, [delete("a"), put("b", "3"), put("c", "3")]);
    replica.settle();
    let page = slice.run(&view).unwrap();
    drop(view);
    let seen: Vec<_> = page.records.iter().map(|(key, record)| (key.clone(), record.value.clone())).collect();
    assert_eq!(seen, [(b("a"), b("1")), (b("b"), b("2"))]);
    assert_eq!(page.next, None);
}

fn small_pages_see_every_key_once<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    numbered(&mut replica);
    let mut expected = expected_numbers();
    for reverse in [false, true] {
        let range = ScanRange { reverse, ..ScanRange::default() };
        for (records_max, bytes_max, examined_max) in [
            (1, 1 << 20, 100),
            (3, 1 << 20, 100),
            (7, 20, 100),
            (100, 1 << 20, 1),
            (100, 1 << 20, 2),
            (5, 1, 3),
            (5, 0, 3),
        ] {
            let limits = Limits { records_max, bytes_max, examined_max };
            assert_eq!(replica.keys(&range, limits), expected, "{limits:?} reverse {reverse}");
        }
        expected.reverse();
    }
}

fn a_page_holds_one_record_however_big<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    let big = "v".repeat(1000);
    replica.at(1, [put("a", &big), put("b", &big), put("c", &big)]);
    let limits = Limits { bytes_max: 10, ..WIDE };
    let page = replica.machine.scan(&ScanRange::default(), limits).run(&replica.base.view()).unwrap();
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.next, Some(b("a\0")));
    assert_eq!(replica.keys(&ScanRange::default(), limits), ["a", "b", "c"]);
}

fn a_frozen_layer_is_read_while_it_is_flushed<B: TestBase>() {
    let mut replica = Replica::<B>::new();
    replica.at(1, [put("a", "1"), put("b", "1")]);
    let flush = replica.machine.freeze().unwrap();
    assert!(replica.machine.freeze().is_none(), "one flush at a time");
    replica.at(1, [put("a", "2"), delete("b")]);
    assert_eq!(replica.value("a").unwrap(), "2");
    assert_eq!(replica.value("b"), None);
    let done = flush.run(&replica.base).unwrap();
    assert_eq!(replica.value("b"), None, "the base holds it, the overlay knows better");
    drop(replica.machine.flushed(done));
    assert_eq!(replica.machine.durable(), id(1));
    assert_eq!(replica.keys(&ScanRange::default(), WIDE), ["a"]);
    replica.replay();
    assert_eq!(replica.keys(&ScanRange::default(), WIDE), ["a"]);
}

#[test]
#[should_panic(expected = "applying 3@1 after 1@1")]
fn an_entry_that_skips_one_stops_the_node() {
    let mut machine = Machine::create(SHARD, 1, &genesis());
    machine.apply_noop(id(1));
    machine.apply_noop(id(3));
}
