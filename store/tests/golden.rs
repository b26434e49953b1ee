//! What lies in the base and travels as a snapshot, byte by byte (`docs/formats/base.md`).
//!
//! A base outlives the program that wrote it, and a snapshot goes from one release to another. Whoever changes one of these
//! bytes changes a format number, and says in the document how the old form is read.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

use flotilla_store::memory::Memory;
use flotilla_store::snapshot::{Reader, Writer};
use flotilla_store::{Base, Command, Condition, Machine, Outcome, View, WriteBatch};
use harness::*;

/// Bytes as the tables below write them: two digits each, blanks anywhere.
fn hex(text: &str) -> Vec<u8> {
    let text = text.replace('V', &"76".repeat(LARGE));
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A shard with something of everything: plain and expiring keys, a tombstone, floors, results of every kind.
fn rich() -> Replica<Memory> {
    let mut replica = Replica::<Memory>::new();
    replica.at(1, [put("{t}a", "1"), put_ttl("{t}b", "22", 500), put("gone", "x")]);
    let mine = |sequence, operation| by(5, sequence, 2, 900, operation);
    replica.at(2, [mine(2, put("{t}a", "3")), mine(3, delete("gone")), mine(4, delete("gone"))]);
    let large = "v".repeat(LARGE);
    replica.at(300, [put("large", &large)]);
    replica.at(
        301,
        [
            mine(5, cas("{t}a", 4, "4")),
            mine(6, cas("{t}a", 4, "5")),
            mine(7, cas("none", 4, "5")),
            mine(8, cas("large", 4, "5")),
        ],
    );
    let then = [tput("{t}c", "6"), tdelete("{t}c"), tdelete("{t}c"), tget("{t}a"), tget("{t}c")];
    replica.at(302, [by(300, 1, 1, 1000, txn([when("{t}a", Condition::Exists)], then, []))]);
    replica.flush();
    replica
}

/// All keys and records, in order, as the two halves of a line.
fn content(base: &Memory) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = base.view().range(&[], &[0xff; 40], false).map(Result::unwrap).collect::<Vec<_>>();
    all.into_iter().map(|(key, record)| (key.to_vec(), record.to_vec())).collect()
}

/// The value of the key `large`, which the tables write as V.
const LARGE: usize = 1100;

/// Key (shard, generation, tag, rest) and record.
const BASE: &[(&str, &str)] = &[
    // The pointer.
    ("0000000000000007 0000000000000000 00", "0000000000000001"),
    // The state: format, index, term, time, counter; members; configuration index; slots; remembered; tally; cleared.
    (
        "0000000000000007 0000000000000001 01",
        "01 05 01 ae02 08  03010203 00 00  00  01 01 00 ff7f 01 01  f988dbc41c0fe96db122f832994034fd
         37c40a732de92795eed394dc4ef14cec 03 dc08  ae02",
    ),
    // Floors: floor, latest deadline, review.
    ("0000000000000007 0000000000000001 02 00000000000000000000000000000005", "02 8407 8407"),
    ("0000000000000007 0000000000000001 02 0000000000000000000000000000012c", "01 e807 e807"),
    // Results: review; client, sequence, deadline, answer of each.
    (
        "0000000000000007 0000000000000001 03 0000000000000002",
        "8407  00000000000000000000000000000005 02 8407 01 04  00000000000000000000000000000005 03 8407 02 05
         00000000000000000000000000000005 04 8407 03 05",
    ),
    (
        "0000000000000007 0000000000000001 03 0000000000000004",
        "8407  00000000000000000000000000000005 05 8407 04 07  00000000000000000000000000000005 06 8407 05 03 000734
         00000000000000000000000000000005 07 8407 06 00  00000000000000000000000000000005 08 8407 07 06",
    ),
    (
        "0000000000000007 0000000000000001 03 0000000000000005",
        "e807  0000000000000000000000000000012c 01 e807 08 08 0a 01  01 02 03 04 03 000734 05",
    ),
    // The expiry index: time and key; digest and bytes.
    ("0000000000000007 0000000000000001 04 00000000000001f5 7b747d62", "b9e764ddcb9e1ea44a169946aee9de75 06"),
    // Keys: kind, version, time of expiry, value.
    ("0000000000000007 0000000000000001 05 6c61726765", "00 06 V"),
    ("0000000000000007 0000000000000001 05 7b747d61", "00 07 34"),
    ("0000000000000007 0000000000000001 05 7b747d62", "01 02 f503 3232"),
];

/// Its chunks of at most 100 bytes where an item allows it: sequence, items, checksum.
const CHUNKS: &[&str] = &[
    // Header: format, shard, state; then a floor.
    "00  01 01 07 37  01 05 01 ae02 08 03010203 00 00 00 01 01 00 ff7f 01 01 f988dbc41c0fe96db122f832994034fd
     00000000000000000000000000000000 00 00 00
     02 00000000000000000000000000000005 05 02 8407 8407  54661a80",
    "01  02 0000000000000000000000000000012c 05 01 e807 e807
     03 02 41 8407 00000000000000000000000000000005 02 8407 01 04 00000000000000000000000000000005 03 8407 02 05
     00000000000000000000000000000005 04 8407 03 05  d3ad427b",
    "02  03 04 59 8407 00000000000000000000000000000005 05 8407 04 07 00000000000000000000000000000005 06 8407 05 03 000734
     00000000000000000000000000000005 07 8407 06 00 00000000000000000000000000000005 08 8407 07 06  540758b0",
    "03  03 05 22 e807 0000000000000000000000000000012c 01 e807 08 08 0a 01 01 02 03 04 03 000734 05  3f72b4d6",
    "04  04 05 6c61726765 ce08 00 06 V  b9ae7f8e",
    // Keys, then the trailer: the tally of the keys.
    "05  04 04 7b747d61 03 00 07 34  04 04 7b747d62 06 01 02 f503 3232
     05 13 37c40a732de92795eed394dc4ef14cec 03 dc08  820b9415",
];

#[test]
fn the_bytes_of_the_base_are_these() {
    let found = content(&rich().base);
    for ((key, record), golden) in found.iter().zip(BASE) {
        assert_eq!((digits(key), digits(record)), (digits(&hex(golden.0)), digits(&hex(golden.1))));
    }
    assert_eq!(found.len(), BASE.len());
}

#[test]
fn a_base_of_these_bytes_is_read() {
    let base = Memory::new();
    let mut batch = WriteBatch::new();
    for (key, record) in BASE {
        batch.put(hex(key).into(), hex(record).into());
    }
    base.commit(batch).unwrap();
    let mut machine = Machine::open(SHARD, &base.view(), &genesis()).unwrap();
    let lived = rich();
    assert_eq!(machine.applied(), lived.machine.applied());
    for key in ["{t}a", "{t}b", "{t}c", "gone", "large"] {
        assert_eq!(get(&machine, &base, key.as_bytes()), lived.get(key), "{key}");
    }
    let late = Command { stamp_ms: 303, operations: vec![by(5, 5, 2, 900, put("{t}a", "again"))] };
    assert_eq!(apply(&mut machine, &base, &late), [Outcome::Swapped { version: 7 }], "a remembered result");
}

#[test]
fn the_bytes_of_a_snapshot_are_these() {
    let replica = rich();
    let mut reader = Reader::new(replica.base.view(), SHARD).unwrap().unwrap();
    let chunks = std::iter::from_fn(|| reader.next_chunk(100).unwrap());
    let chunks: Vec<String> = chunks.map(|chunk| digits(&chunk)).collect();
    let golden: Vec<String> = CHUNKS.iter().map(|chunk| digits(&hex(chunk))).collect();
    assert_eq!(chunks, golden);
}

#[test]
fn a_snapshot_of_these_bytes_is_taken_in() {
    let mut writer = Writer::new(SHARD, 1);
    for chunk in CHUNKS {
        writer.chunk(hex(chunk).into()).unwrap();
    }
    let (_, meta) = writer.finish().unwrap();
    assert_eq!(meta.last, rich().machine.applied());
}
