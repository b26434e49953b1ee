//! Snapshots out and in, generations, purging. Each story runs over both bases.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

use bytes::Bytes;
use flotilla_store::snapshot::{self, Reader, SnapshotError, Writer};
use flotilla_store::{Base, Error, Machine, Outcome, Refusal, stats};
use flotilla_topology::ShardId;
use harness::*;

over_both_bases! {
    a_snapshot_carries_everything
    a_snapshot_does_not_carry_what_has_expired
    chunks_keep_to_their_size
    a_source_goes_on_while_it_is_read
    a_damaged_or_missing_chunk_is_refused
    a_repeated_chunk_does_no_harm
    an_unfinished_stage_never_becomes_current
    a_stage_never_meets_an_unflushed_machine
    a_flush_of_an_old_generation_is_refused
    leftovers_are_found_and_purged_in_steps
    a_removed_shard_leaves_nothing_and_its_neighbours_everything
    rot_in_the_source_does_not_become_current
}

fn filled<B: TestBase>() -> Replica<B> {
    let mut replica = Replica::<B>::new();
    replica.at(1, (0..200).map(|n| put(&format!("k{n:03}"), &"v".repeat(n))).collect::<Vec<_>>());
    replica.at(5, [put_ttl("short", "1", 10), put_ttl("long", "1", 1000)]);
    replica.at(6, (1..9).map(|n| by(n, 7, 0, 500, cas("k001", 9, "x"))).collect::<Vec<_>>());
    replica.at(6, [by(1, 8, 8, 900, delete("k000"))]);
    replica.flush();
    replica
}

fn chunks<B: Base>(base: &B, bytes_max: usize) -> Vec<Bytes> {
    let mut reader = Reader::new(base.view(), SHARD).unwrap().unwrap();
    std::iter::from_fn(|| reader.next_chunk(bytes_max).unwrap()).collect()
}

fn a_snapshot_carries_everything<B: TestBase>() {
    let mut source = filled::<B>();
    let mut target = Replica::<B>::new();
    target.at(1, [put("old", "1")]);
    target.flush();
    let generation = install(&source.base, &target.base, target.machine.generation(), 500);
    target.machine = Machine::open(SHARD, &target.base.view(), &target.genesis).unwrap();
    assert_eq!(target.machine.generation(), generation);
    assert_eq!(target.machine.applied(), source.machine.applied());
    assert_eq!(target.value("old"), None);
    assert_eq!(target.stats(), source.stats());
    let late = [by(2, 7, 0, 500, cas("k001", 9, "x")), by(1, 7, 0, 500, put("k001", "x")), put("new", "1")];
    let outcomes = target.at(7, late.clone());
    assert_eq!(outcomes, source.at(7, late));
    assert!(matches!(&outcomes[0], Outcome::Conflict { current: Some(_) }), "a result travelled");
    assert_eq!(outcomes[1], Outcome::Refused(Refusal::Stale { floor: 8 }), "a floor travelled");
    assert_eq!(outcomes[2], Outcome::Written { version: 204 }, "the counter travelled");
    for replica in [&mut source, &mut target] {
        replica.at(2000, []);
    }
    assert_eq!(target.stats(), source.stats(), "expiry goes on where it was");
    assert_eq!(target.value("long"), None);
}

fn a_snapshot_does_not_carry_what_has_expired<B: TestBase>() {
    let mut source = Replica::<B>::new();
    let count = flotilla_store::EXPIRED_PER_FLUSH + 5;
    source.at(1, (0..count).map(|n| put_ttl(&format!("k{n}"), "v", 10)).collect::<Vec<_>>());
    source.flush();
    source.at(20, [put("stays", "1")]);
    let flush = source.machine.freeze().unwrap();
    source.run(&flush);
    assert_eq!(source.machine.stored().keys, 6, "some expired records are still in the base");
    let target = Replica::<B>::new();
    install(&source.base, &target.base, 1, 1 << 16);
    let machine = Machine::open(SHARD, &target.base.view(), &target.genesis).unwrap();
    assert_eq!(machine.stored().keys, 1);
    assert!(!machine.needs_flush());
    assert_eq!(stats(&target.base.view(), SHARD).unwrap().unwrap(), source.stats());
}

fn chunks_keep_to_their_size<B: TestBase>() {
    let source = filled::<B>();
    let parts = chunks(&source.base, 600);
    assert!(parts.len() > 30, "{} chunks", parts.len());
    assert!(parts.iter().all(|chunk| chunk.len() <= 600));
    let single = chunks(&source.base, 1);
    assert!(single.len() > 200, "an item that does not fit travels alone: {} chunks", single.len());
}

fn a_source_goes_on_while_it_is_read<B: TestBase>() {
    let mut source = filled::<B>();
    let before = source.stats();
    let mut reader = Reader::new(source.base.view(), SHARD).unwrap().unwrap();
    let target = B::fresh();
    let mut writer = Writer::new(SHARD, 1);
    let mut n = 0;
    while let Some(chunk) = reader.next_chunk(900).unwrap() {
        target.commit(writer.chunk(chunk).unwrap()).unwrap();
        source.at(10 + n, [put(&format!("k{:03}", 199 - n), "new"), put(&format!("x{n}"), "new")]);
        source.flush();
        n += 1;
    }
    drop(reader);
    target.commit(writer.finish().unwrap().0).unwrap();
    snapshot::activate(&target, SHARD, 1).unwrap();
    assert_eq!(stats(&target.view(), SHARD).unwrap().unwrap(), before);
}

fn a_damaged_or_missing_chunk_is_refused<B: TestBase>() {
    let source = filled::<B>();
    let parts = chunks(&source.base, 2000);
    for (place, bit) in [(0, 0), (10, 3), (parts[1].len() - 1, 7)] {
        let mut writer = Writer::new(SHARD, 1);
        writer.chunk(parts[0].clone()).unwrap();
        let mut damaged = parts[1].to_vec();
        damaged[place] ^= 1 << bit;
        let error = writer.chunk(damaged.into()).unwrap_err();
        assert!(matches!(error, SnapshotError::Checksum { .. }), "{error}");
    }
    let mut writer = Writer::new(SHARD, 1);
    writer.chunk(parts[0].clone()).unwrap();
    let error = writer.chunk(parts[2].clone()).unwrap_err();
    assert_eq!(error, SnapshotError::Gap { shard: SHARD, expected: 1, found: 2 });
    let error = writer.finish().unwrap_err();
    assert_eq!(error, SnapshotError::Incomplete { shard: SHARD });
    let error = Writer::new(ShardId(8), 1).chunk(parts[0].clone()).unwrap_err();
    assert_eq!(error, SnapshotError::Shard { shard: ShardId(8), found: SHARD });
}

fn a_repeated_chunk_does_no_harm<B: TestBase>() {
    let mut source = filled::<B>();
    let target = B::fresh();
    let mut writer = Writer::new(SHARD, 1);
    for chunk in chunks(&source.base, 2000) {
        target.commit(writer.chunk(chunk.clone()).unwrap()).unwrap();
        assert!(writer.chunk(chunk).unwrap().is_empty());
    }
    target.commit(writer.finish().unwrap().0).unwrap();
    snapshot::activate(&target, SHARD, 1).unwrap();
    assert_eq!(stats(&target.view(), SHARD).unwrap().unwrap(), source.stats());
}

fn an_unfinished_stage_never_becomes_current<B: TestBase>() {
    let source = filled::<B>();
    let mut target = Replica::<B>::new();
    target.at(1, [put("mine", "1")]);
    target.flush();
    let generation = snapshot::stage_generation(&target.base.view(), SHARD, 1).unwrap();
    let mut writer = Writer::new(SHARD, generation);
    for chunk in chunks(&source.base, 2000).into_iter().take(3) {
        target.base.commit(writer.chunk(chunk).unwrap()).unwrap();
    }
    let error = snapshot::activate(&target.base, SHARD, generation).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    target.base.sync().unwrap();
    target.restart();
    assert_eq!(target.value("mine").unwrap(), "1");
    assert_eq!(target.stats().keys.keys, 1);
}

fn a_stage_never_meets_an_unflushed_machine<B: TestBase>() {
    let source = filled::<B>();
    let mut target = Replica::<B>::new();
    target.at(1, [put("mine", "1")]);
    let flush = target.machine.freeze().unwrap();
    let generation =
        snapshot::stage_generation(&target.base.view(), SHARD, target.machine.generation()).unwrap();
    assert_ne!(generation, target.machine.generation());
    let mut writer = Writer::new(SHARD, generation);
    for chunk in chunks(&source.base, 2000) {
        target.base.commit(writer.chunk(chunk).unwrap()).unwrap();
    }
    target.run(&flush);
    target.base.commit(writer.finish().unwrap().0).unwrap();
    assert_eq!(target.stats().keys.keys, 1);
    snapshot::activate(&target.base, SHARD, generation).unwrap();
    assert_eq!(stats(&target.base.view(), SHARD).unwrap().unwrap().keys.keys, 201);
}

fn a_flush_of_an_old_generation_is_refused<B: TestBase>() {
    let source = filled::<B>();
    let mut target = Replica::<B>::new();
    target.at(1, [put("mine", "1")]);
    target.flush();
    target.at(1, [put("mine", "2")]);
    let flush = target.machine.freeze().unwrap();
    install(&source.base, &target.base, target.machine.generation(), 4000);
    let error = flush.run(&target.base).unwrap_err();
    assert!(matches!(error, Error::Generation { generation: 1, current: Some(2), .. }), "{error}");
}

fn leftovers_are_found_and_purged_in_steps<B: TestBase>() {
    let source = filled::<B>();
    let mut target = Replica::<B>::new();
    target.at(1, (0..20).map(|n| put(&format!("{n}"), "1")).collect::<Vec<_>>());
    target.flush();
    let mut writer = Writer::new(SHARD, 9);
    let first = chunks(&source.base, 2000).remove(0);
    target.base.commit(writer.chunk(first).unwrap()).unwrap();
    assert_eq!(snapshot::leftovers(&target.base.view(), SHARD).unwrap(), [9]);
    assert_eq!(snapshot::unused_generation(&target.base.view(), SHARD).unwrap(), 10);
    let mut steps = 1;
    while !snapshot::purge(&target.base, SHARD, 9, 4).unwrap() {
        steps += 1;
    }
    assert!(steps > 2, "{steps} steps");
    assert_eq!(snapshot::leftovers(&target.base.view(), SHARD).unwrap(), []);
    let error = snapshot::purge(&target.base, SHARD, 1, 4).unwrap_err();
    assert!(matches!(error, Error::Generation { .. }), "what is current is not purged: {error}");
    assert_eq!(target.stats().keys.keys, 20);
}

fn a_removed_shard_leaves_nothing_and_its_neighbours_everything<B: TestBase>() {
    let base = B::fresh();
    let shards = [0, 6, 7, 8, u64::MAX].map(ShardId);
    for shard in shards {
        let mut machine = Machine::open(shard, &base.view(), &genesis()).unwrap();
        let command = flotilla_store::Command { stamp_ms: 1, operations: vec![put("a", "1"), put("b", "1")] };
        machine.apply(id(1), &command);
        machine.freeze().unwrap().run(&base).unwrap();
    }
    assert_eq!(snapshot::shards_in(&base.view()).unwrap(), shards);
    assert!(!snapshot::purge_shard(&base, SHARD, 1).unwrap());
    assert_eq!(snapshot::current_generation(&base.view(), SHARD).unwrap(), None, "the pointer goes first");
    assert_eq!(snapshot::leftovers(&base.view(), SHARD).unwrap(), [1]);
    let again = Machine::open(SHARD, &base.view(), &genesis()).unwrap();
    assert_eq!(
        (again.generation(), again.applied().index.0),
        (2, 0),
        "a new replica meets nothing of the old"
    );
    while !snapshot::purge_shard(&base, SHARD, 1).unwrap() {}
    assert_eq!(snapshot::shards_in(&base.view()).unwrap(), [0, 6, 8, u64::MAX].map(ShardId));
    assert_eq!(stats(&base.view(), ShardId(8)).unwrap().unwrap().keys.keys, 2);
    assert_eq!(stats(&base.view(), ShardId(6)).unwrap().unwrap().keys.keys, 2);
}

fn rot_in_the_source_does_not_become_current<B: TestBase>() {
    let source = filled::<B>();
    // A record changes behind the flusher's back.
    let mut key = [0; 17].to_vec();
    key[7] = 7;
    key[15] = 1;
    key[16] = 5;
    key.extend(b"k100");
    let value = source.base.view().get(&key).unwrap().unwrap();
    let mut rotten = value.to_vec();
    *rotten.last_mut().unwrap() ^= 1;
    let mut batch = flotilla_store::WriteBatch::new();
    batch.put(key.into(), rotten.into());
    source.base.commit(batch).unwrap();
    let mut writer = Writer::new(SHARD, 1);
    for chunk in chunks(&source.base, 2000) {
        writer.chunk(chunk).unwrap();
    }
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, SnapshotError::Digest { what: "keys", .. }), "{error}");
}

use flotilla_store::View as _;
