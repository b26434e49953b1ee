//! The bytes of entries, births and snapshots: what is written is read back; anything else is an error, never
//! a panic.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

use bytes::Bytes;
use flotilla_raft::ReplicaId;
use flotilla_store::memory::Memory;
use flotilla_store::snapshot::{Reader, Writer};
use flotilla_store::{Action, Base, Command, Condition, DecodeError, Genesis, Operation, RequestId, Scope};
use harness::*;

fn sample() -> Command {
    let big = u64::MAX;
    let mut operations =
        vec![put("a", "1"), put_ttl("", "", big), delete("d"), cas("c", big, "2"), cas("c", 0, "")];
    operations.extend([txn([], [], []), sample_txn()]);
    for operation in operations.clone() {
        operations.push(by(u128::MAX, big, big - 1, 1, operation));
    }
    let action =
        Action::CompareAndSwap { key: b("k"), expected: 3, value: vec![0; 70_000].into(), ttl_ms: Some(0) };
    operations.push(Operation { request: None, action });
    Command { stamp_ms: 1_700_000_000_000, operations }
}

/// Every kind of compare and operation.
fn sample_txn() -> Operation {
    let big = u64::MAX;
    let compares = [
        when("a", Condition::Version(big)),
        when("", Condition::Value(b("v"))),
        when("c", Condition::Exists),
        when("d", Condition::Absent),
    ];
    let then = [tget("g"), tput("p", "value"), tput_ttl("t", "", big), tdelete("")];
    txn(compares, then, [tget(""), tdelete("x")])
}

/// How many of the sample's operations are small: all but the last.
const SMALL: usize = 14;

#[test]
fn a_command_comes_back_without_a_copy() {
    let bytes = sample().encode();
    let decoded = Command::decode(bytes.clone()).unwrap();
    assert_eq!(decoded, sample());
    let value = match &decoded.operations.last().unwrap().action {
        Action::CompareAndSwap { value, .. } => value.clone(),
        action => panic!("{action:?}"),
    };
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()), "the value is a slice of the entry");
}

#[test]
fn the_bytes_of_a_command_are_these() {
    let request = RequestId { client: 5, sequence: 300, acknowledged: 2, deadline_ms: 1 };
    let action = Action::Put { key: b("k"), value: b("vv"), ttl_ms: Some(9) };
    let operations = vec![Operation { request: Some(request), action }, delete("d"), cas("c", 7, "x")];
    let bytes = Command { stamp_ms: 128, operations }.encode();
    let mut expected = vec![1, 0x80, 1, 3, 0xc1];
    expected.extend(5_u128.to_be_bytes());
    expected.extend([0xac, 2, 2, 1, 9, 1, b'k', 2, b'v', b'v', 2, 1, b'd', 3, 1, b'c', 7, 1, b'x']);
    assert_eq!(
        bytes[..],
        expected[..],
        "docs/formats/entry.md states these bytes; entries are stored for ever"
    );
    assert_eq!(Command::default().encode()[..], [1, 0, 0], "a time entry");
}

#[test]
fn the_bytes_of_a_txn_are_these() {
    let compares = [when("k", Condition::Version(300)), when("k", Condition::Value(b("v")))];
    let more = [when("k", Condition::Exists), when("k", Condition::Absent)];
    let then = [tput("k", "x"), tput_ttl("k", "y", 9), tget("k")];
    let operation = txn([compares, more].concat(), then, [tdelete("k")]);
    let bytes = Command { stamp_ms: 0, operations: vec![operation] }.encode();
    let mut expected = vec![1, 0, 1, 4];
    expected.extend([4, 1, 1, b'k', 0xac, 2, 2, 1, b'k', 1, b'v', 3, 1, b'k', 4, 1, b'k']);
    expected.extend([3, 1, 1, b'k', 1, b'x', 0x41, 9, 1, b'k', 1, b'y', 5, 1, b'k']);
    expected.extend([1, 2, 1, b'k']);
    assert_eq!(bytes[..], expected[..], "docs/formats/entry.md states these bytes");
}

#[test]
fn unknown_formats_and_tags_are_refused() {
    let commands = [
        &[2, 0, 0][..],
        &[1, 0, 1, 5, 1, b'k'],
        &[1, 0, 1, 16, 0],
        &[1, 0, 1, 0x42, 1, 1, b'k'],
        // Inside a txn: with a ttl of its own, an unknown compare, a CAS, a txn, a request id, a get with a ttl.
        &[1, 0, 1, 0x44, 1, 0, 0, 0],
        &[1, 0, 1, 4, 1, 5, 1, b'k', 0, 0],
        &[1, 0, 1, 4, 0, 1, 3, 1, b'k', 0, 0, 0],
        &[1, 0, 1, 4, 0, 1, 4, 0, 0, 0, 0],
        &[1, 0, 1, 4, 0, 1, 0x82, 1, b'k', 0],
        &[1, 0, 1, 4, 0, 1, 0x45, 1, 1, b'k', 0],
    ];
    for bytes in commands {
        let error = Command::decode(Bytes::copy_from_slice(bytes)).unwrap_err();
        assert!(matches!(error, DecodeError::Unknown { .. }), "{bytes:?}: {error}");
    }
    let error = Command::decode(Bytes::from_static(&[1, 0, 0, 0])).unwrap_err();
    assert!(matches!(error, DecodeError::Trailing { count: 1, .. }), "{error}");
}

#[test]
fn a_count_that_is_not_there_reserves_nothing() {
    for before in [&[1, 0][..], &[1, 0, 1, 4], &[1, 0, 1, 4, 0], &[1, 0, 1, 4, 0, 0]] {
        let mut bytes = before.to_vec();
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        let error = Command::decode(bytes.into()).unwrap_err();
        assert!(matches!(error, DecodeError::Short { .. }), "after {before:?}: {error}");
    }
}

#[test]
fn a_command_cut_anywhere_is_an_error() {
    let bytes = Command { operations: sample().operations[..SMALL].to_vec(), ..sample() }.encode();
    for length in 0..bytes.len() {
        assert!(Command::decode(bytes.slice(..length)).is_err(), "cut at {length}");
    }
}

#[test]
fn a_genesis_comes_back() {
    let mut genesis = genesis();
    genesis.configuration.learners.insert(ReplicaId(u64::MAX));
    for scope in [Scope::Meta, Scope::Slots(Vec::new()), all_slots()] {
        genesis.scope = scope;
        let bytes = genesis.encode();
        assert_eq!(Genesis::decode(bytes.clone()).unwrap(), genesis);
        for length in 0..bytes.len() {
            assert!(Genesis::decode(bytes.slice(..length)).is_err(), "cut at {length}");
        }
    }
}

/// Flips, cuts and noise on valid bytes, so that the readers get far before they meet something wrong.
fn mutations(valid: &Bytes, dice: &mut Dice) -> Bytes {
    let mut bytes = valid.to_vec();
    for _ in 0..=dice.below(3) {
        let place = dice.below(bytes.len() as u64) as usize;
        match dice.below(4) {
            0 => bytes[place] ^= 1 << dice.below(8),
            1 => bytes[place] = dice.next() as u8,
            2 => bytes.truncate(place.max(1)),
            _ => bytes.insert(place, dice.next() as u8),
        }
    }
    bytes.into()
}

#[test]
fn noise_never_panics_and_what_is_read_has_one_form() {
    let mut dice = Dice(1);
    let command = Command { operations: sample().operations[..SMALL].to_vec(), ..sample() }.encode();
    let genesis = genesis().encode();
    let mut read = 0;
    for _ in 0..20_000 {
        let bytes = mutations(&command, &mut dice);
        if let Ok(command) = Command::decode(bytes.clone()) {
            read += 1;
            assert_eq!(command.encode(), bytes, "two forms of one command");
        }
        let bytes = mutations(&genesis, &mut dice);
        if let Ok(genesis) = Genesis::decode(bytes.clone()) {
            let again = Genesis::decode(genesis.encode()).unwrap();
            assert_eq!(again, genesis);
        }
    }
    assert!(read > 100, "the noise is too loud to reach anything: {read} read");
}

#[test]
fn noise_in_a_snapshot_never_panics_nor_passes() {
    let mut replica = Replica::<Memory>::new();
    replica.at(1, (0..9).map(|n| by(n, 1, 0, 99, put_ttl(&format!("{n}"), "value", 50))).collect::<Vec<_>>());
    let all_results = [tget("{t}a"), tput("{t}a", "v"), tget("{t}a"), tdelete("{t}a"), tdelete("{t}a")];
    replica.one(1, by(9, 1, 0, 99, txn([], all_results, [])));
    replica.flush();
    let mut reader = Reader::new(replica.base.view(), SHARD).unwrap().unwrap();
    let chunk = reader.next_chunk(1 << 20).unwrap().unwrap();
    let body = chunk.slice(..chunk.len() - 4);
    let mut dice = Dice(2);
    let mut reached = 0;
    for _ in 0..20_000 {
        // With a checksum that is right, so that it is not the checksum that protects.
        let mut bytes = mutations(&body, &mut dice).to_vec();
        if bytes == body {
            continue;
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        let mut writer = Writer::new(SHARD, 1);
        if writer.chunk(bytes.into()).is_ok() {
            reached += 1;
            let _ = writer.finish();
        }
    }
    assert!(reached > 100, "{reached} read");
}
