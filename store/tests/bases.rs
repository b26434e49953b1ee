//! What every base owes: order, atomic batches, views that stand still, survival of what was synced.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

use bytes::Bytes;
use flotilla_store::disk::{Disk, Options};
use flotilla_store::memory::Memory;
use flotilla_store::{Base, BaseError, View, WriteBatch};
use harness::*;

over_both_bases! {
    a_batch_is_seen_at_once_and_its_last_change_wins
    a_view_stands_still
    ranges_go_both_ways_and_end_where_they_should
    what_was_synced_survives
}

fn batch(changes: &[(&str, Option<&str>)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(b(key), b(value)),
            None => batch.delete(b(key)),
        }
    }
    batch
}

fn all(view: &impl View, from: &str, to: &str, reverse: bool) -> Vec<String> {
    let entries = view.range(from.as_bytes(), to.as_bytes(), reverse);
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    entries.map(|entry| entry.map(|(key, value)| text(key) + "=" + &text(value)).unwrap()).collect()
}

fn a_batch_is_seen_at_once_and_its_last_change_wins<B: TestBase>() {
    let base = B::fresh();
    base.commit(batch(&[("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None)])).unwrap();
    assert_eq!(all(&base.view(), "", "z", false), ["a=2"]);
    assert_eq!(base.view().get(b"b").unwrap(), None);
    base.commit(batch(&[("a", None), ("a", Some("3"))])).unwrap();
    assert_eq!(base.view().get(b"a").unwrap(), Some(b("3")));
}

fn a_view_stands_still<B: TestBase>() {
    let base = B::fresh();
    base.commit(batch(&[("a", Some("1")), ("b", Some("1"))])).unwrap();
    let view = base.view();
    let other = view.clone();
    drop(view);
    base.commit(batch(&[("a", Some("2")), ("b", None), ("c", Some("2"))])).unwrap();
    base.sync().unwrap();
    assert_eq!(all(&other, "", "z", false), ["a=1", "b=1"]);
    assert_eq!(all(&base.view(), "", "z", false), ["a=2", "c=2"]);
    drop(other);
    base.commit(batch(&[("a", Some("3"))])).unwrap();
    base.sync().unwrap();
    assert_eq!(all(&base.view(), "", "z", false), ["a=3", "c=2"]);
}

fn ranges_go_both_ways_and_end_where_they_should<B: TestBase>() {
    let base = B::fresh();
    let names: Vec<_> = (0..300).map(|n| format!("{n:03}")).collect();
    base.commit(batch(&names.iter().map(|name| (&name[..], Some("v"))).collect::<Vec<_>>())).unwrap();
    base.commit(batch(&names.iter().step_by(2).map(|name| (&name[..], None)).collect::<Vec<_>>())).unwrap();
    let view = base.view();
    let expected: Vec<_> = (11..289).filter(|n| n % 2 == 1).map(|n| format!("{n:03}=v")).collect();
    assert_eq!(all(&view, "011", "289", false), expected, "the end is excluded, the beginning is not");
    assert_eq!(all(&view, "011", "289", true), expected.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(all(&view, "5", "4", false), [""; 0]);
    assert_eq!(all(&view, "5", "5", true), [""; 0]);
}

fn what_was_synced_survives<B: TestBase>() {
    for seed in 0..5 {
        let base = B::fresh();
        base.commit(batch(&[("a", Some("1"))])).unwrap();
        base.sync().unwrap();
        base.crash(seed);
        assert_eq!(all(&base.view(), "", "z", false), ["a=1"]);
        base.commit(batch(&[("b", Some("1"))])).unwrap();
        base.sync().unwrap();
        base.crash(seed);
        assert_eq!(all(&base.view(), "", "z", false), ["a=1", "b=1"]);
    }
}

#[test]
fn a_crash_falls_back_to_any_batch_since_the_sync() {
    let mut seen = [0; 4];
    for seed in 0..200 {
        let base = Memory::new();
        base.commit(batch(&[("n", Some("0")), ("x", Some("0"))])).unwrap();
        base.sync().unwrap();
        for n in ["1", "2", "3"] {
            base.commit(batch(&[("n", Some(n)), ("x", None), (n, Some(n))])).unwrap();
        }
        let lost = base.crash(seed);
        let number: usize =
            std::str::from_utf8(&base.view().get(b"n").unwrap().unwrap()).unwrap().parse().unwrap();
        seen[number] += 1;
        assert_eq!(lost as usize, 3 - number);
        let others = all(&base.view(), "1", "9", false).len();
        assert_eq!(others, number, "batches are whole and in order");
        assert_eq!(base.view().get(b"x").unwrap().is_some(), number == 0);
    }
    assert!(seen.iter().all(|&count| count > 20), "{seen:?}");
}

#[test]
fn values_nobody_can_reach_are_dropped() {
    let base = Memory::new();
    for n in 0..1000 {
        base.commit(batch(&[("a", Some("0123456789")), ("b", if n % 2 == 0 { Some("x") } else { None })]))
            .unwrap();
        base.sync().unwrap();
    }
    assert_eq!(base.bytes(), 11);
}

#[test]
fn a_failed_write_poisons_until_the_base_is_reopened() {
    let base = Memory::new();
    base.commit(batch(&[("a", Some("1"))])).unwrap();
    base.set_failing(true);
    assert!(matches!(base.sync(), Err(BaseError::Unsynced(_))));
    assert!(base.reopen().is_err());
    base.set_failing(false);
    assert!(matches!(base.sync(), Err(BaseError::Poisoned)));
    base.reopen().unwrap();
    base.sync().unwrap();
    assert_eq!(all(&base.view(), "", "z", false), ["a=1"]);
}

#[test]
fn a_store_is_opened_by_one_at_a_time_and_reopened_when_its_views_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::open(directory.path(), Options::default()).unwrap();
    disk.commit(batch(&[("a", Some("1"))])).unwrap();
    disk.sync().unwrap();
    assert!(matches!(Disk::open(directory.path(), Options::default()), Err(BaseError::Locked)));
    let view = disk.view();
    assert!(matches!(disk.reopen(), Err(BaseError::Locked)), "a view keeps the old store");
    assert!(matches!(disk.commit(batch(&[("b", Some("1"))])), Err(BaseError::Poisoned)), "closed until then");
    assert!(matches!(disk.view().get(b"a"), Err(BaseError::Poisoned)));
    assert!(disk.view().range(b"a", b"z", false).next().unwrap().is_err());
    drop(view);
    disk.reopen().unwrap();
    assert_eq!(all(&disk.view(), "", "z", false), ["a=1"]);
    assert!(disk.disk_bytes().unwrap() > 0);
}
