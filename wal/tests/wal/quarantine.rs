//! Rot takes out of service whom it concerns, for ever, and nobody else.
//!
//! One rule over all: a shard is either exactly what was promised, or out of service. Whatever happens later, to the
//! damaged segment or to the process, it never comes back with what is left.

use flotilla_raft::ReplicaId;
use flotilla_topology::ShardId;
use flotilla_wal::simulated::{Faults, SECTOR_BYTES, SimulatedDisk};
use flotilla_wal::{
    BLOCK_BYTES, CollectError, Log, OpenError, Quarantined, Record, Recovered, Rot, RotAt, Spent, Step,
};

use crate::damage::{Sample, name, sample};
use crate::model::{DIRECTORY, Model, batch, birth, entry, hard, open, small};

/// Opens, and has whom rot concerns taken out of service.
fn go_on(disk: &SimulatedDisk, spent: &Spent) -> Result<(Log<SimulatedDisk>, Recovered), OpenError> {
    Log::open_quarantining(disk.clone(), small(), DIRECTORY, spent, |_| true)
}

/// What the map of the sample's node would say: its three shards are here.
fn spent() -> Spent {
    all_here([(1, 1), (2, 2), (3, 3)])
}

/// A map that places all these shards here, and gave each ids up to this one.
fn all_here<const N: usize>(greatest: [(u64, u64); N]) -> Spent {
    let greatest = greatest.map(|(shard, replica)| (ShardId(shard), ReplicaId(replica)));
    Spent { greatest: greatest.into(), here: greatest.map(|(shard, _)| shard).into() }
}

/// Everyone in service is what was promised; the others are out, and their ids spent.
fn is_sound(model: &Model, found: &Recovered) -> bool {
    let out = |shard: &ShardId| found.quarantined.contains_key(shard);
    let serving = model.shards.iter().filter(|(shard, _)| !out(shard));
    serving.eq(found.shards.iter())
        && found
            .quarantined
            .iter()
            .all(|(shard, it)| it.replica.0 >= shard.0 && found.tombstones.get(shard) == Some(&it.replica))
}

/// Opens a damaged copy of the sample, twice, writes on, and collects until the damage is gone.
fn judge(sample: &Sample, disk: &SimulatedDisk, may_cut: bool, context: &dyn Fn() -> String) -> bool {
    let spent = spent();
    let (log, found) = match go_on(disk, &spent) {
        Ok(opened) => opened,
        // A log that lost a whole file is refused.
        Err(OpenError::Missing { .. }) => return false,
        Err(error) => panic!("{}: {error}", context()),
    };
    let cut = may_cut && is_sound(&sample.shorter, &found);
    assert!(cut || is_sound(&sample.model, &found), "{}: {found:#?}", context());
    drop(log);
    let (mut log, again) = go_on(disk, &spent).unwrap_or_else(|error| panic!("{}: {error}", context()));
    assert_eq!((&again.shards, &again.quarantined), (&found.shards, &found.quarantined), "{}", context());
    assert!(again.rot.is_none_or(|rot| rot.shards.is_empty()), "{}: nobody is hurt twice", context());
    bury(&mut log, context);
    let (_, after) = open(disk).unwrap_or_else(|error| panic!("{}: {error}", context()));
    assert_eq!(after.quarantined, found.quarantined, "{}: the damage is gone, not its memory", context());
    for (shard, state) in &found.shards {
        assert_eq!(after.shards.get(shard), Some(state), "{}", context());
    }
    !found.quarantined.is_empty()
}

/// Writes and collects until no segment of the sample is left.
fn bury(log: &mut Log<SimulatedDisk>, context: &dyn Fn() -> String) {
    log.append(&[batch([(77, birth(77))])]).unwrap();
    for vote in 0..60 {
        log.append(&[batch([(77, hard(vote + 1, 77, 0))])]).unwrap();
        while log.collect().unwrap_or_else(|error| panic!("{}: {error}", context())) != Step::Idle {}
    }
}

#[test]
fn any_flipped_bit_takes_out_whom_it_concerns_and_leaves_the_others() {
    for marked in [false, true] {
        let sample = sample(marked);
        let mut out = 0;
        for (segment, block, bytes) in sample.written() {
            for byte in block..block + bytes {
                let disk = sample.disk.fork(1);
                disk.flip(&name(segment), byte, (byte % 8) as u8);
                let context = || format!("segment {segment}, byte {byte}");
                out += u64::from(judge(&sample, &disk, !marked, &context));
            }
        }
        assert!(out > 400, "only {out} bytes took anybody out of service");
    }
}

#[test]
fn any_lost_sector_or_shortened_file_takes_out_whom_it_concerns() {
    let sample = sample(true);
    for segment in &sample.segments {
        let whole = sample.disk.content(&name(*segment)).unwrap();
        for sector in 0..whole.len() / SECTOR_BYTES as usize {
            let at = sector * SECTOR_BYTES as usize;
            let (zeroed, cut) = (sample.disk.fork(1), sample.disk.fork(1));
            let mut content = whole.clone();
            content[at..at + SECTOR_BYTES as usize].fill(0);
            zeroed.put(&name(*segment), content);
            judge(&sample, &zeroed, false, &|| format!("segment {segment}, sector {sector} zeroed"));
            cut.put(&name(*segment), whole[..at].to_vec());
            judge(&sample, &cut, false, &|| format!("segment {segment} cut at sector {sector}"));
        }
    }
}

#[test]
fn without_consent_nothing_is_written() {
    let sample = sample(true);
    sample.disk.flip(&name(sample.segments[0]), BLOCK_BYTES + 100, 0);
    let calls = sample.disk.calls();
    let mut asked = None;
    let refused = Log::open_quarantining(sample.disk.clone(), small(), DIRECTORY, &Spent::default(), |rot| {
        asked = Some(rot.clone());
        false
    });
    let at = RotAt { segment: sample.segments[0], offset: BLOCK_BYTES };
    let all = [1, 2, 3].map(|shard| (ShardId(shard), at));
    assert_eq!(asked, Some(Rot { at, shards: all.into() }));
    assert!(matches!(refused, Err(OpenError::Rot { segment, .. }) if segment == at.segment));
    assert_eq!(sample.disk.calls(), calls, "reading changes nothing, and nothing else was done");
}

/// The power fails at every call of an opening that quarantines: the next one comes to the same.
#[test]
fn a_crash_while_it_is_written_down_forgets_nothing() {
    for byte in [BLOCK_BYTES + 100, BLOCK_BYTES, 20] {
        let sample = sample(true);
        sample.disk.flip(&name(sample.segments[1]), byte, 2);
        let (_, expected) = go_on(&sample.disk.fork(1), &spent()).unwrap();
        assert!(!expected.quarantined.is_empty());
        let mut crashes = 0;
        for call in 1.. {
            let disk = sample.disk.fork(call);
            disk.set_faults(Faults { crash_at_call: Some(disk.calls() + call), ..Faults::default() });
            let done = go_on(&disk, &spent()).is_ok();
            disk.crash();
            let (_, found) = go_on(&disk, &spent()).unwrap();
            assert_eq!(found.quarantined, expected.quarantined, "byte {byte}, call {call}");
            assert_eq!(found.shards, expected.shards, "byte {byte}, call {call}");
            if done {
                break;
            }
            crashes += 1;
        }
        assert!(crashes > 5, "{crashes}");
    }
}

/// The frame that was lost held the birth of a replica of which there is no other trace: only the map knows its id.
#[test]
fn a_replica_of_which_nothing_is_left_does_not_begin_anew() {
    for byte in [BLOCK_BYTES, BLOCK_BYTES + 76, BLOCK_BYTES + 100] {
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = open(&disk).unwrap();
        log.append(&[batch([(7, birth(4)), (7, hard(1, 4, 0))])]).unwrap();
        log.append(&[batch([(8, birth(1))])]).unwrap();
        log.idle().unwrap();
        drop(log);
        disk.flip(&name(1), byte, 0);
        let spent = all_here([(7, 4), (8, 1)]);
        let at = RotAt { segment: 1, offset: BLOCK_BYTES };
        let (_, found) = go_on(&disk, &spent).unwrap();
        let out = Quarantined { replica: ReplicaId(4), at };
        assert_eq!(found.quarantined, [(ShardId(7), out)].into(), "byte {byte}");
        assert_eq!(found.shards.keys().collect::<Vec<_>>(), [&ShardId(8)], "byte {byte}");
    }
}

/// The frame that was lost held the tombstone of a replica that had moved away, the last trace of it. The map places nobody here, and
/// knows which ids it gave: so many are spent, and the log says so again. Whoever never was here is not taken for lost where the
/// frame does not say whom it named; there the map alone remembers.
#[test]
fn a_tombstone_that_is_lost_is_made_good_by_what_the_map_remembers() {
    for (byte, is_named) in [(BLOCK_BYTES + 100, true), (BLOCK_BYTES + 76, false), (BLOCK_BYTES, false)] {
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = open(&disk).unwrap();
        log.append(&[batch([(7, Record::Tombstone { replica: ReplicaId(4) })])]).unwrap();
        log.append(&[batch([(8, birth(1))])]).unwrap();
        log.idle().unwrap();
        drop(log);
        disk.flip(&name(1), byte, 0);
        let mut spent = all_here([(7, 6), (8, 1), (9, 3)]);
        spent.here.retain(|shard| *shard == ShardId(8));
        let out = Quarantined { replica: ReplicaId(6), at: RotAt { segment: 1, offset: BLOCK_BYTES } };
        let expected = is_named.then_some((ShardId(7), out)).into_iter().collect();
        for _ in 0..2 {
            let (_, found) = go_on(&disk, &spent).unwrap();
            assert_eq!(found.quarantined, expected, "byte {byte}");
            assert_eq!(found.tombstones.get(&ShardId(7)), is_named.then_some(&ReplicaId(6)), "byte {byte}");
            assert_eq!(found.shards.keys().collect::<Vec<_>>(), [&ShardId(8)], "byte {byte}");
        }
    }
}

/// Out of service until it is replaced or removed; its id is spent in any case.
#[test]
fn a_birth_above_it_or_its_tombstone_ends_a_quarantine() {
    for buried in [false, true] {
        let sample = sample(true);
        sample.disk.flip(&name(sample.segments[0]), BLOCK_BYTES + 100, 0);
        let (mut log, found) = go_on(&sample.disk, &spent()).unwrap();
        assert_eq!(found.quarantined.len(), 3);
        log.append(&[batch([(1, birth(9)), (1, Record::Entries(vec![entry(1, 1, "new")]))])]).unwrap();
        log.append(&[batch([(2, Record::Tombstone { replica: ReplicaId(2) })])]).unwrap();
        if buried {
            bury(&mut log, &|| "after both".to_owned());
        }
        drop(log);
        let (_, after) = go_on(&sample.disk, &spent()).unwrap();
        assert_eq!(after.quarantined.keys().collect::<Vec<_>>(), [&ShardId(3)]);
        assert_eq!(after.shards[&ShardId(1)].replica, ReplicaId(9));
        assert_eq!(after.tombstones[&ShardId(1)], ReplicaId(1), "spent");
        assert_eq!(after.tombstones[&ShardId(2)], ReplicaId(2), "spent");
        assert!(after.rot.is_none_or(|rot| rot.shards.is_empty()));
    }
}

/// What rots while the log is open is not skipped: the collector says so, and the next opening takes out whom it concerns.
#[test]
fn damage_that_nobody_knew_of_is_never_collected() {
    let sample = sample(true);
    let (mut log, _) = open(&sample.disk).unwrap();
    sample.disk.flip(&name(sample.segments[1]), BLOCK_BYTES + 100, 0);
    log.append(&[batch([(77, birth(77))])]).unwrap();
    let mut said = false;
    for vote in 0..60 {
        log.append(&[batch([(77, hard(vote + 1, 77, 0))])]).unwrap();
        loop {
            match log.collect() {
                Ok(Step::Idle) => break,
                Ok(_) => {}
                Err(CollectError::Rot { segment, .. }) => {
                    assert_eq!(segment, sample.segments[1]);
                    said = true;
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(said);
    drop(log);
    let (_, found) = go_on(&sample.disk, &spent()).unwrap();
    assert!(found.quarantined.contains_key(&ShardId(1)));
    assert!(found.shards.contains_key(&ShardId(77)));
}
