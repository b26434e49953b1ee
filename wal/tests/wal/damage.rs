//! Damage: cut files, flipped bits, lost sectors, files that are gone or not what their name says.
//!
//! One rule over all: opening either gives exactly what was promised, or fails and says where. Only the last frame,
//! while nothing states that it was durable, may be cut.

use std::collections::BTreeMap;

use crate::model::{DIRECTORY, Model, Story, batch, birth, entry, hard, id, open, small};
use flotilla_raft::ReplicaId;
use flotilla_topology::ShardId;
use flotilla_wal::inspect::{self, Place};
use flotilla_wal::simulated::{Fate, Faults, SECTOR_BYTES, SimulatedDisk};
use flotilla_wal::{BLOCK_BYTES, Log, OpenError, Options, Record};

pub fn name(segment: u64) -> String {
    format!("segment-{segment:020}.log")
}

/// A small log over several segments, and what it promises.
pub struct Sample {
    pub disk: SimulatedDisk,
    pub model: Model,
    /// Without the last frame.
    pub shorter: Model,
    pub segments: Vec<u64>,
}

/// Frames of three shards; with a mark at the end or without.
pub fn sample(marked: bool) -> Sample {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let (mut model, mut shorter) = (Model::default(), Model::default());
    let mut batches = vec![batch([(1, birth(1)), (1, hard(1, 1, 0)), (2, birth(2)), (3, birth(3))])];
    for index in 1..5 {
        let other = 2 + index % 2;
        batches.push(batch([
            (1, Record::Entries(vec![entry(index, 1, "one"), entry(index + 1, 1, "two")])),
            (other, hard(index, other, 0)),
        ]));
    }
    batches.push(batch([(3, Record::Entries(vec![entry(1, 4, "the last one")]))]));
    for batch in &batches {
        shorter = model.clone();
        log.append(std::slice::from_ref(batch)).unwrap();
        model.apply(batch);
    }
    if marked {
        assert!(log.idle().unwrap());
    }
    let mut segments: Vec<u64> = Vec::new();
    for number in 1..100 {
        if disk.content(&name(number)).is_some() {
            segments.push(number);
        }
    }
    assert!(segments.len() >= 3, "{segments:?}");
    Sample { disk, model, shorter, segments }
}

impl Sample {
    /// Opens a damaged copy. `Some` error text; `None`: the promise is kept.
    fn judge(&self, disk: &SimulatedDisk, may_cut: bool, context: impl Fn() -> String) -> Option<OpenError> {
        match open(disk) {
            Ok((_, recovered)) => {
                let whole = self.model.is(&recovered);
                let cut = may_cut && self.shorter.is(&recovered);
                assert!(whole || cut, "{}: silently {recovered:#?}", context());
                None
            }
            Err(error) => Some(error),
        }
    }

    /// The headers and frames: (segment, where it begins, bytes without padding).
    pub fn written(&self) -> Vec<(u64, u64, u64)> {
        let mut extents = Vec::new();
        for number in &self.segments {
            extents.push((*number, 0, HEADER_BYTES));
            for place in inspect::segment(&self.disk, *number).unwrap().places {
                let Place::Frame { offset, bytes, .. } = place else {
                    panic!("{place:?} in segment {number}")
                };
                assert!(bytes <= BLOCK_BYTES, "frames of the sample take a block each");
                extents.push((*number, offset, bytes));
            }
        }
        extents
    }
}

/// What of a header's block is not padding (`docs/formats/log.md`).
const HEADER_BYTES: u64 = 84;

#[test]
fn a_file_cut_at_any_byte_is_noticed_or_lost_nothing() {
    for marked in [false, true] {
        let sample = sample(marked);
        for segment in &sample.segments {
            let whole = sample.disk.content(&name(*segment)).unwrap();
            let newest = sample.segments.last() == Some(segment);
            let mut length = 0;
            while length < whole.len() {
                let disk = sample.disk.fork(1);
                disk.put(&name(*segment), whole[..length].to_vec());
                let error = sample.judge(&disk, false, || format!("segment {segment} cut to {length}"));
                // A segment never had less than its full length: where the newest one is cut, nobody knows what is gone.
                assert!(error.is_some() || !newest, "segment {segment} cut to {length}");
                length += 1;
            }
        }
    }
}

#[test]
fn any_flipped_bit_is_noticed_at_its_frame_or_changes_nothing() {
    for marked in [false, true] {
        let sample = sample(marked);
        let blocks = sample.written();
        for &(segment, block, bytes) in &blocks {
            let mut noticed = 0;
            for byte in block..block + bytes {
                for bit in 0..8 {
                    let disk = sample.disk.fork(1);
                    disk.flip(&name(segment), byte, bit);
                    let context = || format!("segment {segment}, byte {byte}, bit {bit}");
                    match sample.judge(&disk, !marked, context) {
                        None => {}
                        Some(OpenError::Rot { segment: at, offset, shards }) => {
                            assert_eq!((at, offset), (segment, block), "{}", context());
                            // A header says nothing that a shard born after it depends on.
                            assert!(!shards.is_empty() || block == 0, "{}", context());
                            noticed += 1;
                        }
                        // A version that fits its checksum would be one; this one is damage.
                        Some(other) => panic!("{}: {other}", context()),
                    }
                }
            }
            let last_frame = blocks.iter().rev().nth(usize::from(marked)).map(|it| (it.0, it.1));
            // Seals, the mark at the end and a last frame that nothing covers may be lost without a loss.
            let protected = block == 0
                || marked && last_frame == Some((segment, block))
                || block == BLOCK_BYTES && sample.segments.last() != Some(&segment);
            assert!(
                !protected || noticed == bytes * 8,
                "segment {segment}, block {block}: {noticed} noticed"
            );
        }
    }
}

#[test]
fn any_zeroed_or_garbled_sector_is_noticed_or_changes_nothing() {
    for marked in [false, true] {
        let sample = sample(marked);
        for segment in &sample.segments {
            let whole = sample.disk.content(&name(*segment)).unwrap();
            for (sector, garbage) in
                (0..whole.len() / SECTOR_BYTES as usize).flat_map(|it| [(it, 0_u8), (it, 0xa7)])
            {
                let at = sector * SECTOR_BYTES as usize;
                let mut content = whole.clone();
                for (position, byte) in content[at..at + SECTOR_BYTES as usize].iter_mut().enumerate() {
                    *byte = garbage.wrapping_mul(position as u8 | 1);
                }
                let disk = sample.disk.fork(1);
                disk.put(&name(*segment), content);
                sample.judge(&disk, !marked, || format!("segment {segment}, sector {sector}, {garbage}"));
            }
        }
    }
}

/// Padding, the rest of the header's block, what was never written: one bit of each byte.
#[test]
fn any_flipped_bit_that_nobody_reads_changes_nothing() {
    for marked in [false, true] {
        let sample = sample(marked);
        let written = sample.written();
        for segment in &sample.segments {
            let bytes = sample.disk.content(&name(*segment)).unwrap().len() as u64;
            let read = |byte: &u64| {
                let block = byte / BLOCK_BYTES * BLOCK_BYTES;
                written.iter().any(|it| (it.0, it.1) == (*segment, block) && byte - block < it.2)
            };
            for byte in (0..bytes).filter(|byte| !read(byte)) {
                let disk = sample.disk.fork(1);
                disk.flip(&name(*segment), byte, (byte % 7) as u8);
                let (_, recovered) =
                    open(&disk).unwrap_or_else(|error| panic!("segment {segment}, byte {byte}: {error}"));
                assert!(sample.model.is(&recovered), "segment {segment}, byte {byte}");
                assert!(recovered.torn.is_none(), "segment {segment}, byte {byte}: nothing was cut");
            }
        }
    }
}

/// Damages one byte and returns the error.
fn rot(disk: &SimulatedDisk, segment: u64, byte: u64) -> (u64, u64, Vec<u64>) {
    let disk = disk.fork(1);
    disk.flip(&name(segment), byte, 3);
    match open(&disk) {
        Err(OpenError::Rot { segment, offset, shards }) => {
            (segment, offset, shards.iter().map(|shard| shard.0).collect())
        }
        other => panic!("expected rot, got {other:?}"),
    }
}

#[test]
fn rot_names_the_shards_of_the_frame_or_all_that_were_not_restated_since() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), Options::default(), DIRECTORY).unwrap();
    log.append(&[batch([(1, birth(1)), (2, birth(2)), (3, birth(3)), (4, birth(4))])]).unwrap();
    log.append(&[batch([(1, hard(1, 1, 0)), (3, hard(1, 1, 0))])]).unwrap();
    let ended = Record::Tombstone { replica: ReplicaId(2) };
    log.append(&[batch([(2, ended), (2, birth(5)), (4, hard(9, 9, 9)), (4, Record::Reset(id(50, 3)))])])
        .unwrap();
    log.idle().unwrap();
    let second = 2 * BLOCK_BYTES;
    assert_eq!(
        rot(&disk, 1, second + 100),
        (1, second, vec![1, 3]),
        "the body is damaged, the names are not"
    );
    // Shard 2 began anew since. Shard 4 was reset, but not its birth restated: it stays suspect.
    assert_eq!(rot(&disk, 1, second), (1, second, vec![1, 3, 4]), "the head is damaged");
    assert_eq!(rot(&disk, 1, second + 75), (1, second, vec![1, 3, 4]), "the list of shards is damaged");
}

#[test]
fn damage_in_the_last_frame_is_torn_until_something_states_that_it_was_durable() {
    let torn = sample(false);
    let last = torn.written().pop().unwrap();
    torn.disk.flip(&name(last.0), last.1 + last.2 - 1, 0);
    let (_, recovered) = open(&torn.disk).unwrap();
    assert!(torn.shorter.is(&recovered));
    let told = recovered.torn.expect("the cut is told");
    assert_eq!((told.segment, told.offset), (last.0, last.1));
    // By a mark in the same segment:
    let marked = sample(true);
    marked.disk.flip(&name(last.0), last.1 + last.2 - 1, 0);
    assert!(matches!(open(&marked.disk), Err(OpenError::Rot { .. })));
    // By the header of a successor:
    let opened = sample(false);
    drop(open(&opened.disk).unwrap());
    let (mut log, _) = open(&opened.disk).unwrap();
    log.append(&[batch([(9, birth(9))])]).unwrap();
    let carried = opened.disk.fork(1);
    carried.flip(&name(last.0), last.1 + last.2 - 1, 0);
    // The frame was carried over into the successor: the old copy does not matter any more.
    assert!(open(&carried).is_ok());
    opened.disk.flip(&name(last.0), BLOCK_BYTES + 80, 0);
    assert!(matches!(open(&opened.disk), Err(OpenError::Rot { .. })));
}

#[test]
fn a_missing_segment_is_named_whichever_it_is() {
    for marked in [false, true] {
        let sample = sample(marked);
        for segment in &sample.segments {
            let disk = sample.disk.fork(1);
            disk.take(&name(*segment)).unwrap();
            match open(&disk) {
                Err(OpenError::Missing { segment: named }) => assert_eq!(named, *segment),
                other => panic!("segment {segment} is gone, got {other:?}"),
            }
        }
    }
}

#[test]
fn a_log_of_which_nothing_is_left_is_refused_however_often_it_is_tried() {
    let disk = SimulatedDisk::new(1);
    let known = Options { must_exist: true, ..small() };
    drop(open(&disk).unwrap());
    drop(Log::open(disk.clone(), known.clone(), DIRECTORY).unwrap());
    let segments: Vec<u64> = (1..100).filter(|number| disk.content(&name(*number)).is_some()).collect();
    for segment in segments {
        disk.take(&name(segment)).unwrap();
    }
    for _ in 0..2 {
        assert!(matches!(Log::open(disk.clone(), known.clone(), DIRECTORY), Err(OpenError::Lost)));
    }
}

#[test]
fn a_segment_missing_after_collection_is_named_too() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let mut story = Story::new(4, 4, 600);
    for _ in 0..120 {
        log.append(&[story.next()].map(|next| {
            story.model.apply(&next);
            next
        }))
        .unwrap();
        log.collect().unwrap();
    }
    let present: Vec<u64> = (1..500).filter(|number| disk.content(&name(*number)).is_some()).collect();
    assert!(present.len() > 2 && present[0] > 1, "{present:?}");
    let mut named = Vec::new();
    for segment in &present {
        let copy = disk.fork(1);
        copy.take(&name(*segment)).unwrap();
        match open(&copy) {
            Err(OpenError::Missing { segment: missing }) => named.push(missing),
            // Stated to be dead, and not released yet.
            Ok((_, recovered)) => assert!(story.model.is(&recovered), "segment {segment}"),
            Err(other) => panic!("segment {segment} is gone, got {other}"),
        }
    }
    assert!(named.len() > 2 && present.ends_with(&named), "{named:?} of {present:?}");
}

#[test]
fn a_segment_under_another_name_is_refused() {
    let sample = sample(true);
    let swapped = sample.disk.fork(1);
    let (one, two) = (sample.segments[0], sample.segments[1]);
    let (first, second) = (swapped.take(&name(one)).unwrap(), swapped.take(&name(two)).unwrap());
    swapped.put(&name(one), second.clone());
    swapped.put(&name(two), first);
    assert!(matches!(open(&swapped), Err(OpenError::Renamed { found, .. }) if found == two));
    let copied = sample.disk.fork(1);
    copied.put(&name(77), second);
    let error = open(&copied).unwrap_err().to_string();
    assert_eq!(error, format!("{} holds segment {two}: renamed or a copy", name(77)));
    let beside = sample.disk.fork(1);
    beside.put("LOCK", Vec::new());
    beside.put("segment-2 (copy).log", vec![1; 5000]);
    assert!(open(&beside).is_ok(), "files that are none of ours are left alone");
    assert!(beside.content("LOCK").is_some());
}

#[test]
fn a_format_of_the_future_is_refused_as_such() {
    let sample = sample(true);
    let mut content = sample.disk.content(&name(1)).unwrap();
    content[8] = 2;
    let checksum = crc32fast::hash(&content[..80]);
    content[80..84].copy_from_slice(&checksum.to_le_bytes());
    sample.disk.put(&name(1), content);
    assert!(matches!(open(&sample.disk), Err(OpenError::Version { segment: 1, found: 2, known: 1 })));
}

/// The chain: a segment out of an older backup has the right directory, number and salt.
#[test]
fn a_segment_of_another_history_of_the_same_directory_is_noticed() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.append(&[batch([(1, birth(1))])]).unwrap();
    drop(log);
    let other = disk.fork(2);
    let mut ends = BTreeMap::new();
    for (fork, data) in [(&disk, "yes"), (&other, "no!")] {
        let (mut log, _) = open(fork).unwrap();
        for index in 1..12 {
            log.append(&[batch([(1, Record::Entries(vec![entry(index, 1, data)]))])]).unwrap();
        }
        log.idle().unwrap();
        ends.insert(data, log.stats().segments);
    }
    assert_eq!(ends["yes"], ends["no!"]);
    for segment in 1..=ends["yes"] as u64 + 1 {
        let Some(theirs) = other.content(&name(segment)) else { continue };
        let copy = disk.fork(1);
        if copy.content(&name(segment)).as_ref() == Some(&theirs) {
            continue;
        }
        copy.put(&name(segment), theirs);
        assert!(open(&copy).is_err(), "segment {segment} of the other history was believed");
    }
}

/// The salt: bytes of an earlier life lie where the next frame would be.
#[test]
fn stale_frames_are_never_believed() {
    let sample = sample(false);
    let newest = *sample.segments.last().unwrap();
    let content = sample.disk.content(&name(newest)).unwrap();
    let end = content.chunks(BLOCK_BYTES as usize).position(|block| block[..4] == [0; 4]);
    let end = end.expect("the newest segment has room") * BLOCK_BYTES as usize;
    for segment in &sample.segments {
        let stale = sample.disk.content(&name(*segment)).unwrap();
        for block in stale.chunks(BLOCK_BYTES as usize) {
            let mut content = content.clone();
            content[end..end + BLOCK_BYTES as usize].copy_from_slice(block);
            let disk = sample.disk.fork(1);
            disk.put(&name(newest), content);
            let (_, recovered) = open(&disk).unwrap();
            assert!(sample.model.is(&recovered), "a block of segment {segment} was believed");
        }
    }
}

/// A client stores a copy of our own segment as a value, and the frame that holds it is torn.
#[test]
fn a_frame_inside_a_value_is_never_believed() {
    let options = Options { segment_bytes: 1 << 20, ..small() };
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), options, DIRECTORY).unwrap();
    let first = batch([(1, birth(1)), (2, birth(2))]);
    log.append(std::slice::from_ref(&first)).unwrap();
    let second = batch([(1, hard(8, 8, 8))]);
    log.append(std::slice::from_ref(&second)).unwrap();
    let mut model = Model::default();
    model.apply(&first);
    model.apply(&second);
    // Head, one shard, head of the record, its first index and count, head of the entry.
    let before = 72 + 8 + 17 + 12 + 13;
    let mut value = vec![0; BLOCK_BYTES as usize - before];
    value.extend(&disk.content(&name(1)).unwrap()[..4 * BLOCK_BYTES as usize]);
    let payload = flotilla_raft::Payload::Data(value.into());
    let evil = Record::Entries(vec![flotilla_raft::Entry { id: id(1, 1), payload }]);
    disk.set_faults(Faults { crash_at_call: Some(disk.calls() + 2), ..Faults::default() });
    assert!(log.append(&[batch([(1, evil)])]).is_err());
    for torn in 0..disk.unsynced_sectors() {
        let disk = disk.fork(1);
        disk.crash_with(&mut |nth| if nth == torn { Fate::Dropped } else { Fate::Kept }, None);
        let (_, recovered) = open(&disk).unwrap_or_else(|error| panic!("sector {torn}: {error}"));
        let whole = recovered.shards[&ShardId(1)].entries.len() == 1;
        assert!(whole || model.is(&recovered), "sector {torn}: {recovered:?}");
    }
}

#[test]
fn any_bytes_at_all_are_refused_or_ignored_without_a_panic() {
    let sample = sample(false);
    let mut chance = Story::new(17, 1, 1);
    for round in 0..400 {
        let disk = sample.disk.fork(round);
        let segment = sample.segments[chance.below(sample.segments.len() as u64) as usize];
        let mut content = disk.content(&name(segment)).unwrap();
        for _ in 0..=chance.below(6) {
            let at = chance.below(content.len() as u64) as usize;
            let length = (1 + chance.below(64) as usize).min(content.len() - at);
            content[at..at + length].fill_with(|| chance.below(256) as u8);
        }
        disk.put(&name(segment), content);
        let _ = open(&disk);
    }
}

#[test]
fn an_inspection_shows_frames_and_broken_places() {
    use flotilla_wal::FrameKind;
    use flotilla_wal::inspect::{segment, segments};
    let sample = sample(true);
    assert_eq!(segments(&sample.disk).unwrap(), sample.segments);
    let first = segment(&sample.disk, 1).unwrap();
    let kinds: Vec<_> = first.places.iter().map(|place| matches!(place, Place::Frame { .. })).collect();
    assert_eq!(kinds, [true, true, true], "two frames and the seal: {first:?}");
    assert!(matches!(&first.places[0], Place::Frame { records: Some(4), shards, .. } if shards.len() == 3));
    assert!(matches!(first.places[2], Place::Frame { kind: FrameKind::Seal, .. }));
    let second = segment(&sample.disk, sample.segments[1]).unwrap();
    let header = second.header.unwrap();
    assert_eq!((header.previous, header.previous_end), (1, 3 * BLOCK_BYTES));
    sample.disk.flip(&name(1), BLOCK_BYTES + 200, 1);
    sample.disk.flip(&name(1), 2 * BLOCK_BYTES, 1);
    let damaged = segment(&sample.disk, 1).unwrap();
    assert!(matches!(&damaged.places[0], Place::Broken { shards: Some(shards), .. } if shards.len() == 3));
    assert!(matches!(damaged.places[1], Place::Gap { offset: 8192 }));
}

/// The chain within a segment: one block out of another history of the same directory fits its place and verifies, but
/// the frame behind it was written after something else.
#[test]
fn a_frame_of_another_history_is_noticed_by_its_successor() {
    let options = Options { segment_bytes: 65536, ..small() };
    let write = |data: &str| {
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = Log::open(disk.clone(), options.clone(), DIRECTORY).unwrap();
        log.append(&[batch([(1, birth(1))])]).unwrap();
        log.append(&[batch([(1, Record::Entries(vec![entry(1, 1, data)]))])]).unwrap();
        log.append(&[batch([(1, Record::Entries(vec![entry(2, 1, "same")]))])]).unwrap();
        disk
    };
    let (ours, theirs) = (write("yes"), write("no!"));
    let place = 2 * BLOCK_BYTES as usize..3 * BLOCK_BYTES as usize;
    let mut content = ours.content(&name(1)).unwrap();
    content[place.clone()].copy_from_slice(&theirs.content(&name(1)).unwrap()[place]);
    ours.put(&name(1), content);
    match open(&ours) {
        Err(OpenError::Rot { segment: 1, offset, .. }) => assert_eq!(offset, 3 * BLOCK_BYTES),
        other => panic!("a foreign frame was believed: {other:?}"),
    }
}
