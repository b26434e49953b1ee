//! The shared log's directory, as a disk may give it back.

use flotilla_raft::{HardState, ReplicaId};
use flotilla_topology::ShardId;
use flotilla_wal::simulated::SimulatedDisk;
use flotilla_wal::{
    BLOCK_BYTES, Batch, CollectError, Log, OpenError, Options, Record, Recovered, Spent, Step, inspect,
};

use crate::input::{Input, put_piece};

/// The id that the directory has.
pub(crate) const DIRECTORY: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

const BLOCK: usize = BLOCK_BYTES as usize;
/// What a header's checksum is of (`docs/formats/log.md`).
const HEADER_BYTES: usize = 80;
const HEAD_BYTES: usize = 72;
/// Steps of collection after which a log of this size is at rest.
const STEPS_MAX: usize = 500;

/// A log of small segments.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 16384, spares_max: 2, segments_max: 4, ..Options::default() }
}

/// The first byte: whether checksums are put right (bit 0) and frames are chained anew (bit 1). Then files; see [`put_file`].
pub(crate) fn enter(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let flags = input.byte();
    let disk = SimulatedDisk::new(1);
    while !input.is_empty() {
        let (kind, number) = (input.byte(), u64::from(input.byte()));
        let mut content = Vec::new();
        for _ in 0..input.byte() {
            let (block, piece) = (content.len(), input.piece());
            content.extend_from_slice(&piece[..piece.len().min(BLOCK)]);
            content.resize(block + BLOCK, 0);
        }
        if flags & 1 == 1 {
            seal(&mut content, number, flags & 2 == 2);
        }
        let number = if number == u64::from(u8::MAX) { u64::MAX } else { number };
        disk.put(&name(kind, number), content);
    }
    for number in inspect::segments(&disk).unwrap_or_default() {
        let _ = inspect::segment(&disk, number);
    }
    let Ok((mut log, recovered)) = open(&disk) else { return false };
    go_on(&mut log, &recovered);
    drop(log);
    opens_as(&disk, &recovered)
}

/// As a node does that knows of no replica beside what the log says: rot takes out of service whom it concerns.
fn open(disk: &SimulatedDisk) -> Result<(Log<SimulatedDisk>, Recovered), OpenError> {
    Log::open_quarantining(disk.clone(), options(), DIRECTORY, &Spent::default(), |_| true)
}

fn name(kind: u8, number: u64) -> String {
    let kind = ["segment", "spare", "unfinished", "else"][usize::from(kind % 4)];
    format!("{kind}-{number:020}.log")
}

/// A file of the directory in an input: kind, number, number of blocks, and each block as a piece, without the zeros at its
/// end.
pub(crate) fn put_file(out: &mut Vec<u8>, kind: u8, number: u8, content: &[u8]) {
    let blocks = content.chunks(BLOCK);
    out.extend([kind, number, u8::try_from(blocks.len()).unwrap_or(u8::MAX)]);
    for block in blocks {
        let end = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        put_piece(out, &block[..end]);
    }
}

/// What is opened is a log like any other: it takes records, collects, marks.
fn go_on(log: &mut Log<SimulatedDisk>, recovered: &Recovered) {
    let fresh = newcomer(recovered);
    let mut batch = Batch::new();
    batch.push(fresh, Record::Birth { replica: ReplicaId(1), genesis: b"genesis"[..].into() });
    batch.push(fresh, Record::HardState(HardState::default()));
    if log.append(&[batch]).is_err() || log.idle().is_err() {
        return;
    }
    for _ in 0..STEPS_MAX {
        match log.collect() {
            Ok(Step::Idle) => return,
            Ok(_) => {}
            // What was damaged and is live cannot be rewritten; it is said.
            Err(CollectError::Rot { .. }) => return,
            Err(error) => panic!("the disk does not fail here: {error}"),
        }
    }
    panic!("collection does not come to rest");
}

/// A shard that nothing is known of.
fn newcomer(recovered: &Recovered) -> ShardId {
    let known =
        |shard: &ShardId| recovered.shards.contains_key(shard) || recovered.tombstones.contains_key(shard);
    let fresh = (1_000..).map(ShardId).find(|shard| !known(shard));
    fresh.unwrap_or_else(|| panic!("every shard is known"))
}

/// A second start sees what the first one saw, and the newcomer.
fn opens_as(disk: &SimulatedDisk, before: &Recovered) -> bool {
    let opened = open(disk);
    let (_, mut after) = opened.unwrap_or_else(|error| panic!("it was opened once, and now: {error}"));
    let newcomer = newcomer(before);
    assert!(after.shards.remove(&newcomer).is_some(), "what was appended is gone");
    assert_eq!(after.shards, before.shards);
    assert_eq!(after.tombstones, before.tombstones);
    assert_eq!(after.quarantined, before.quarantined);
    true
}

/// Puts the checksums of a segment right, so that what they protect is looked at.
fn seal(content: &mut [u8], number: u64, chained: bool) {
    if content.len() < BLOCK {
        return;
    }
    let checksum = crc32fast::hash(&content[..HEADER_BYTES]);
    content[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&checksum.to_le_bytes());
    let mut previous: [u8; 4] = [content[68], content[69], content[70], content[71]];
    for at in (BLOCK..content.len()).step_by(BLOCK) {
        if content[at..].starts_with(b"flFR") {
            if chained {
                content[at + 48..at + 52].copy_from_slice(&previous);
            }
            previous = seal_frame(&mut content[at..], number, at as u64);
        }
    }
}

/// Puts the three checksums of a frame right; returns that of its body.
fn seal_frame(frame: &mut [u8], number: u64, offset: u64) -> [u8; 4] {
    let salt = [&DIRECTORY.to_le_bytes()[..], &number.to_le_bytes(), &offset.to_le_bytes()].concat();
    let field = |frame: &[u8], at: usize, bytes: usize| {
        frame[at..at + bytes].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let list = usize::try_from(field(frame, 12, 4) * 8).unwrap_or(usize::MAX);
    let list_end = HEAD_BYTES.saturating_add(list).min(frame.len());
    let body = usize::try_from(field(frame, 16, 8)).unwrap_or(usize::MAX);
    let body_end = list_end.saturating_add(body).min(frame.len());
    let list = crc32fast::hash(&frame[HEAD_BYTES..list_end]);
    frame[52..56].copy_from_slice(&list.to_le_bytes());
    let chain = [&salt[..], &frame[24..32], &frame[48..52], &frame[list_end..body_end]].concat();
    let body = crc32fast::hash(&chain).to_le_bytes();
    frame[56..60].copy_from_slice(&body);
    let head = crc32fast::hash(&[&salt[..], &frame[8..HEAD_BYTES]].concat());
    frame[4..8].copy_from_slice(&head.to_le_bytes());
    body
}
