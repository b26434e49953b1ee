//! Any number in any field, under checksums that are right: what protects the log from a huge length must not be the
//! checksum alone. What such a log then says is not judged; it must not panic, and must come to rest.

use crate::damage::{name, sample};
use crate::model::{DIRECTORY, batch, birth, hard, open};
use flotilla_wal::simulated::SimulatedDisk;
use flotilla_wal::{CollectError, Step};

/// Small ones, the ends of blocks and files, and the ends of the numbers.
const NUMBERS: [u64; 16] = [
    0,
    1,
    71,
    72,
    4095,
    4096,
    8192,
    16_384,
    u32::MAX as u64 - 1,
    u32::MAX as u64,
    1 << 32,
    1 << 40,
    1 << 63,
    u64::MAX - 4096,
    u64::MAX - 1,
    u64::MAX,
];

/// Place and length of the fields of a segment's header (`docs/formats/log.md`).
const HEADER: [(usize, usize); 6] = [(36, 8), (44, 8), (52, 8), (60, 8), (68, 4), (72, 8)];
/// … and of a frame's head.
const HEAD: [(usize, usize); 7] = [(8, 4), (12, 4), (16, 8), (24, 8), (32, 8), (40, 8), (48, 4)];

fn checksum(parts: &[&[u8]]) -> [u8; 4] {
    crc32fast::hash(&parts.concat()).to_le_bytes()
}

/// Puts the checksums of a header right.
fn seal_header(content: &mut [u8]) {
    let right = checksum(&[&content[..80]]);
    content[80..84].copy_from_slice(&right);
}

/// Puts the checksums of a frame's head right, and of its body, if the file holds as much.
fn seal_frame(content: &mut [u8], segment: u64, offset: u64) {
    let salt = [&DIRECTORY.to_le_bytes()[..], &segment.to_le_bytes(), &offset.to_le_bytes()].concat();
    let frame = &mut content[offset as usize..];
    let field = |at: usize, bytes: usize| {
        frame[at..at + bytes].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let list_end = 72_usize.saturating_add(field(12, 4).saturating_mul(8)).min(frame.len());
    let body_end = list_end.saturating_add(field(16, 8)).min(frame.len());
    let list = checksum(&[&frame[72..list_end]]);
    frame[52..56].copy_from_slice(&list);
    let body = checksum(&[&salt, &frame[24..32], &frame[48..52], &frame[list_end..body_end]]);
    frame[56..60].copy_from_slice(&body);
    let head = checksum(&[&salt, &frame[8..72]]);
    frame[4..8].copy_from_slice(&head);
}

/// Opens a log and goes on with it. Whether it opened.
fn lives(disk: &SimulatedDisk, context: &str) -> bool {
    let Ok((mut log, _)) = open(disk) else { return false };
    log.append(&[batch([(77, birth(1)), (77, hard(1, 1, 0))])]).unwrap();
    log.idle().unwrap();
    for _ in 0..200 {
        match log.collect() {
            Ok(Step::Idle) | Err(CollectError::Rot { .. }) => {
                drop(log);
                let (_, again) = open(disk).unwrap();
                assert!(again.shards.contains_key(&flotilla_topology::ShardId(77)));
                return true;
            }
            Ok(_) => {}
            Err(other) => panic!("{context}: {other}"),
        }
    }
    panic!("{context}: collection does not come to rest, {:?}", log.stats());
}

#[test]
fn no_number_in_any_field_under_a_right_checksum_does_harm() {
    for marked in [false, true] {
        let sample = sample(marked);
        let (mut opened, mut refused) = (0, 0);
        for (segment, offset, _) in sample.written() {
            let fields = if offset == 0 { &HEADER[..] } else { &HEAD[..] };
            for (at, bytes) in fields {
                for number in NUMBERS {
                    let disk = sample.disk.fork(1);
                    let mut content = disk.content(&name(segment)).unwrap();
                    let at = offset as usize + at;
                    content[at..at + bytes].copy_from_slice(&number.to_le_bytes()[..*bytes]);
                    if offset == 0 {
                        seal_header(&mut content);
                    } else {
                        seal_frame(&mut content, segment, offset);
                    }
                    disk.put(&name(segment), content);
                    let context = format!("segment {segment}, byte {at} holds {number}");
                    if lives(&disk, &context) { opened += 1 } else { refused += 1 }
                }
            }
        }
        assert!(opened > 100 && refused > 100, "{opened} opened, {refused} refused");
    }
}

/// Lengths and counts inside the body, where the three checksums of the frame are right.
#[test]
fn no_number_at_any_place_of_the_records_does_harm() {
    let sample = sample(true);
    for (segment, offset, bytes) in sample.written().into_iter().filter(|it| it.1 > 0) {
        for at in 72..bytes as usize {
            for (number, length) in
                [(u64::MAX, 8), (u64::MAX, 4), (1 << 63, 8), (1 << 31, 4), (0, 8), (0xFF, 1)]
            {
                let disk = sample.disk.fork(1);
                let mut content = disk.content(&name(segment)).unwrap();
                let at = offset as usize + at;
                content[at..at + length].copy_from_slice(&number.to_le_bytes()[..length]);
                seal_frame(&mut content, segment, offset);
                disk.put(&name(segment), content);
                lives(&disk, &format!("segment {segment}, byte {at} holds {number}"));
            }
        }
    }
}
