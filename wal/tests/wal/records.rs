//! What each record means to the one who opens the log again, and what the log does as it grows.

use crate::model::{DIRECTORY, Model, Story, batch, birth, entry, hard, id, open, small};
use bytes::Bytes;
use flotilla_raft::{Payload, ReplicaId};
use flotilla_topology::ShardId;
use flotilla_wal::simulated::SimulatedDisk;
use flotilla_wal::{Batch, Log, Options, OptionsError, Record, Recovered, ShardState, Step};

/// Writes each batch as a frame and opens the log again.
fn written(batches: &[Batch]) -> Recovered {
    let disk = SimulatedDisk::new(1);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, Recovered::default());
    for batch in batches {
        log.append(std::slice::from_ref(batch)).unwrap();
    }
    let (_, again) = open(&disk).unwrap();
    assert!(again.torn.is_none());
    again
}

fn shard(batches: &[Batch]) -> ShardState {
    written(batches).shards.remove(&ShardId(1)).expect("shard 1 has a replica")
}

fn born() -> Batch {
    batch([(1, birth(7)), (1, hard(2, 7, 0))])
}

fn entries(from: u64, until: u64, term: u64) -> Record {
    Record::Entries((from..=until).map(|index| entry(index, term, &format!("{index}@{term}"))).collect())
}

fn ids(state: &ShardState) -> Vec<String> {
    state.entries.iter().map(|entry| entry.id.to_string()).collect()
}

#[test]
fn a_shard_remembers_its_birth_hard_state_and_entries() {
    let state = shard(&[born(), batch([(1, entries(1, 2, 2)), (1, hard(3, 9, 1))])]);
    assert_eq!(state.replica, ReplicaId(7));
    assert_eq!(state.genesis, Bytes::from_static(b"genesis of r7"));
    assert_eq!(Record::HardState(state.hard_state), hard(3, 9, 1));
    assert_eq!(ids(&state), ["1@2", "2@2"]);
    assert_eq!(state.entries[1].payload, Payload::Data(Bytes::from_static(b"2@2")));
}

#[test]
fn entries_truncate_what_stood_at_their_first_index_and_beyond() {
    let state = shard(&[born(), batch([(1, entries(1, 5, 2))]), batch([(1, entries(3, 3, 4))])]);
    assert_eq!(ids(&state), ["1@2", "2@2", "3@4"]);
}

#[test]
fn compaction_drops_what_is_at_or_below_the_mark() {
    let state = shard(&[born(), batch([(1, entries(1, 5, 2)), (1, Record::Compact(id(3, 2)))])]);
    assert_eq!((state.compacted, ids(&state)), (id(3, 2), vec!["4@2".into(), "5@2".into()]));
    let older = batch([(1, Record::Compact(id(2, 2)))]);
    let state = shard(&[born(), batch([(1, entries(1, 5, 2)), (1, Record::Compact(id(3, 2)))]), older]);
    assert_eq!(state.compacted, id(3, 2), "a mark below an earlier one says nothing");
}

#[test]
fn an_intent_stands_until_the_reset_or_until_compaction_reached_it() {
    let intent = || batch([(1, entries(1, 5, 2)), (1, Record::SnapshotIntent(id(9, 3)))]);
    assert_eq!(shard(&[born(), intent()]).intent, Some(id(9, 3)));
    let state = shard(&[born(), intent(), batch([(1, Record::Reset(id(9, 3)))])]);
    assert_eq!((state.intent, state.compacted, ids(&state).len()), (None, id(9, 3), 0));
    let on = batch([(1, entries(6, 12, 2)), (1, Record::Compact(id(8, 2)))]);
    assert_eq!(shard(&[born(), intent(), on]).intent, Some(id(9, 3)));
    let past = batch([(1, entries(6, 12, 2)), (1, Record::Compact(id(9, 2)))]);
    assert_eq!(shard(&[born(), intent(), past]).intent, None);
}

#[test]
fn after_a_reset_the_log_goes_on_behind_it() {
    let state = shard(&[
        born(),
        batch([(1, entries(1, 5, 2)), (1, Record::Reset(id(40, 3))), (1, entries(41, 42, 3))]),
    ]);
    assert_eq!((state.compacted, ids(&state)), (id(40, 3), vec!["41@3".into(), "42@3".into()]));
}

#[test]
fn a_tombstone_ends_the_replica_and_keeps_the_greatest_id() {
    let end = |replica| Record::Tombstone { replica: ReplicaId(replica) };
    let all =
        written(&[born(), batch([(1, entries(1, 5, 2)), (1, end(7))]), batch([(1, end(3)), (2, end(4))])]);
    assert_eq!(all.shards.len(), 0);
    assert_eq!(all.tombstones, [(ShardId(1), ReplicaId(7)), (ShardId(2), ReplicaId(4))].into());
    let anew = written(&[born(), batch([(1, entries(1, 5, 2)), (1, end(7))]), batch([(1, birth(8))])]);
    assert_eq!(anew.shards[&ShardId(1)].entries.len(), 0);
    assert_eq!(anew.shards[&ShardId(1)].replica, ReplicaId(8));
    assert_eq!(anew.tombstones[&ShardId(1)], ReplicaId(7));
}

#[test]
fn one_frame_holds_many_shards_and_costs_one_write_and_one_sync() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let (calls, syncs) = (disk.calls(), disk.syncs());
    let batches: Vec<Batch> =
        (0..3).map(|worker| batch((0..40).map(|shard| (worker * 100 + shard, birth(1))))).collect();
    log.append(&batches).unwrap();
    assert_eq!((disk.calls() - calls, disk.syncs() - syncs), (2, 1), "one write, one sync");
    assert_eq!(open(&disk).unwrap().1.shards.len(), 120);
}

#[test]
fn nothing_to_write_is_nothing_written() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let calls = disk.calls();
    log.append(&[Batch::new(), batch([(1, Record::Entries(Vec::new()))])]).unwrap();
    assert_eq!(disk.calls(), calls);
}

#[test]
fn a_frame_larger_than_a_segment_gets_one_of_its_own() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let value = "v".repeat(100_000);
    log.append(&[born()]).unwrap();
    log.append(&[batch([(1, Record::Entries(vec![entry(1, 2, &value)]))])]).unwrap();
    log.append(&[batch([(1, entries(2, 2, 2))])]).unwrap();
    drop(log);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(ids(&recovered.shards[&ShardId(1)]), ["1@2", "2@2"]);
    // Carried over as the last frame, too.
    let next = batch([(1, Record::Entries(vec![entry(3, 2, &value)]))]);
    log.append(&[next]).unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.shards[&ShardId(1)].entries[2], entry(3, 2, &value));
}

#[test]
fn idle_marks_once() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    assert!(!log.idle().unwrap(), "nothing was written yet");
    log.append(&[born()]).unwrap();
    assert!(log.idle().unwrap());
    assert!(!log.idle().unwrap());
}

#[test]
fn entries_with_a_gap_are_refused_before_anything_is_written() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.append(&[born()]).unwrap();
    let calls = disk.calls();
    let gap = batch([(1, entries(3, 4, 2))]);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| log.append(&[gap])));
    assert!(result.is_err(), "entries from 3 after 0 leave a gap");
    assert_eq!(disk.calls(), calls);
    assert!(log.append(&[batch([(1, entries(1, 1, 2))])]).is_err(), "and the log takes nothing more");
}

#[test]
fn options_that_cannot_work_are_refused() {
    let wrong = Options { segment_bytes: 10_000, ..small() };
    assert_eq!(wrong.validate(), Err(OptionsError::SegmentBytes(10_000)));
    let wrong = Options { rewrite_live_percent: 100, ..small() };
    assert_eq!(wrong.validate(), Err(OptionsError::RewriteLivePercent(100)));
    assert_eq!(Options::default().validate(), Ok(()));
}

/// Collects until there is nothing to do.
fn settle(log: &mut Log<SimulatedDisk>) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        let step = log.collect().unwrap();
        if step == Step::Idle {
            return steps;
        }
        steps.push(step);
        assert!(steps.len() < 500, "collection does not come to rest: {:?}", &steps[480..]);
    }
}

/// The trap of logs with many shards: the segment of one shard's dead entries holds another's live ones.
#[test]
fn an_idle_shard_keeps_its_tail_while_others_run_on() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.append(&[batch([(2, birth(1)), (2, hard(5, 1, 1)), (2, entries(1, 3, 5))])]).unwrap();
    log.append(&[batch([(3, Record::Tombstone { replica: ReplicaId(9) })])]).unwrap();
    log.append(&[batch([(4, birth(6))])]).unwrap();
    log.append(&[born()]).unwrap();
    let mut released = 0;
    for index in 1..200 {
        log.append(&[batch([(1, entries(index, index, 2)), (1, Record::Compact(id(index, 2)))])]).unwrap();
        released += settle(&mut log).iter().filter(|step| matches!(step, Step::Released { .. })).count();
    }
    assert!(released > 50, "only {released} segments were released");
    assert!(log.stats().segments < 6, "{:?}", log.stats());
    let (_, recovered) = open(&disk).unwrap();
    let idle = &recovered.shards[&ShardId(2)];
    assert_eq!(ids(idle), ["1@5", "2@5", "3@5"]);
    assert_eq!(Record::HardState(idle.hard_state), hard(5, 1, 1));
    assert_eq!(recovered.shards[&ShardId(4)].replica, ReplicaId(6));
    assert_eq!(recovered.tombstones[&ShardId(3)], ReplicaId(9));
    assert_eq!(recovered.shards[&ShardId(1)].compacted, id(199, 2));
}

#[test]
fn rewritten_entries_never_truncate() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.append(&[batch([(1, birth(1)), (1, entries(1, 3, 1))])]).unwrap();
    for index in 4..40 {
        log.append(&[batch([
            (1, entries(index, index, 1)),
            (2, Record::Tombstone { replica: ReplicaId(1) }),
        ])])
        .unwrap();
    }
    settle(&mut log);
    let (_, recovered) = open(&disk).unwrap();
    let state = &recovered.shards[&ShardId(1)];
    assert_eq!(state.entries.len(), 39);
    assert!((1..).zip(&state.entries).all(|(index, entry)| entry.id == id(index, 1)));
}

#[test]
fn a_spare_is_ready_before_the_rotation_needs_it() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.append(&[born()]).unwrap();
    settle(&mut log);
    log.append(&[batch([(1, entries(1, 1, 2))])]).unwrap();
    assert_eq!((log.stats().spares, log.stats().segments), (1, 1));
    let calls = disk.calls();
    log.append(&[batch([(1, entries(2, 2, 2))])]).unwrap();
    assert_eq!(log.stats().segments, 2);
    // Header, sync, rename, directory; seal, sync; frame, sync.
    assert_eq!(disk.calls() - calls, 8, "the rotation creates and fills nothing");
}

#[test]
fn a_restart_that_writes_nothing_leaves_no_growing_trail() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.append(&[born(), batch([(1, entries(1, 3, 2))])]).unwrap();
    drop(log);
    for _ in 0..20 {
        let (log, recovered) = open(&disk).unwrap();
        assert_eq!(ids(&recovered.shards[&ShardId(1)]).len(), 3);
        assert!(log.stats().segments <= 2, "{:?}", log.stats());
    }
    let (mut log, _) = open(&disk).unwrap();
    log.idle().unwrap();
    settle(&mut log);
    assert_eq!(log.stats().segments, 1, "what little lives was rewritten");
    assert_eq!(open(&disk).unwrap().1.shards[&ShardId(1)].entries.len(), 3);
}

#[test]
fn another_directorys_log_is_refused() {
    let disk = SimulatedDisk::new(1);
    drop(open(&disk).unwrap());
    let error = Log::open(disk, small(), DIRECTORY + 1).unwrap_err();
    assert_eq!(error.to_string(), format!("segment 1 belongs to directory {DIRECTORY:032x}"));
}

#[test]
fn a_changed_segment_length_is_taken_up() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let mut story = Story::new(3, 4, 300);
    for _ in 0..50 {
        let next = story.next();
        log.append(std::slice::from_ref(&next)).unwrap();
        story.model.apply(&next);
        settle(&mut log);
    }
    for segment_bytes in [65536, 16384, 32768] {
        let (mut log, recovered) =
            Log::open(disk.clone(), Options { segment_bytes, ..small() }, DIRECTORY).unwrap();
        assert!(story.model.is(&recovered));
        for _ in 0..30 {
            let next = story.next();
            log.append(std::slice::from_ref(&next)).unwrap();
            story.model.apply(&next);
            settle(&mut log);
        }
    }
    assert_ne!(story.model, Model::default());
}
