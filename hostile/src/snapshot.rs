//! Chunks of a snapshot, as another node sends them.

use bytes::Bytes;
use flotilla_raft::{Configuration, Index, LogId, ReplicaId, Term};
use flotilla_store::memory::Memory;
use flotilla_store::snapshot::{self, Reader, SnapshotError, Writer};
use flotilla_store::{
    Action, Base, Command, Genesis, Limits, Machine, Operation, ScanRange, Scope, WriteBatch,
};
use flotilla_topology::{Epoch, ShardId};

use crate::input::Input;

/// The shard that snapshots are taken in for.
pub(crate) const SHARD: ShardId = ShardId(7);

/// How often a wrong digest is put right: that of the keys, and that of the results.
const DIGESTS: usize = 2;
const CHUNK_BYTES: usize = 300;
const PAGE: Limits = Limits { records_max: 100, bytes_max: 1 << 16, examined_max: 1000 };

/// The first byte: whether checksums (bit 0) and digests (bit 1) are put right. Then chunks, each a piece, without their
/// checksums where those are put right.
pub(crate) fn enter(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let flags = input.byte();
    let mut chunks = Vec::new();
    while !input.is_empty() {
        chunks.push(input.piece().to_vec());
    }
    let sealed =
        |chunks: &[Vec<u8>]| -> Vec<Bytes> { chunks.iter().map(|it| seal(it, flags & 1 == 1)).collect() };
    for _ in 0..=DIGESTS {
        match take_in(&sealed(&chunks)) {
            Ok(base) => return live(&base),
            // The digest is not secret: who forges a snapshot forges that too.
            Err(SnapshotError::Digest { expected, found, .. }) if flags & 2 == 2 => {
                let (stated, right) = (expected.0.to_be_bytes(), found.0.to_be_bytes());
                if !chunks.iter_mut().any(|chunk| replace_last(chunk, &stated, &right)) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    false
}

fn seal(chunk: &[u8], right: bool) -> Bytes {
    let mut chunk = chunk.to_vec();
    if right {
        let checksum = crc32fast::hash(&chunk);
        chunk.extend_from_slice(&checksum.to_le_bytes());
    }
    chunk.into()
}

fn replace_last(chunk: &mut [u8], from: &[u8], to: &[u8]) -> bool {
    let Some(at) = (0..chunk.len()).rev().find(|at| chunk[*at..].starts_with(from)) else { return false };
    chunk[at..at + to.len()].copy_from_slice(to);
    true
}

/// As a node takes a snapshot in: a batch for each chunk, then the state, then it becomes current.
fn take_in(chunks: &[Bytes]) -> Result<Memory, SnapshotError> {
    let base = Memory::new();
    let mut writer = Writer::new(SHARD, 1);
    let mut taken = 0;
    for chunk in chunks {
        let batch = writer.chunk(chunk.clone())?;
        taken += chunk.len();
        // Each record is kept twice at most: as it is, and in the index of those that expire.
        let bound = 256 + 64 * taken;
        assert!(batch.bytes() <= bound, "{taken} bytes became a batch of {}", batch.bytes());
        commit(&base, batch);
    }
    let (batch, _) = writer.finish()?;
    commit(&base, batch);
    let made = snapshot::activate(&base, SHARD, 1);
    made.unwrap_or_else(|error| panic!("a finished snapshot is not there: {error}"));
    Ok(base)
}

fn commit(base: &Memory, batch: WriteBatch) {
    base.commit(batch).unwrap_or_else(|error| panic!("memory failed: {error}"));
}

/// What was accepted is a state like any other: it is opened, read, written, flushed, and sent on.
fn live(base: &Memory) -> bool {
    let configuration = Configuration::of_voters([ReplicaId(1)]);
    let genesis = Genesis { scope: Scope::Slots(Vec::new()), epoch: Epoch(1), configuration };
    // A state that cannot be read is an error, and the node stops: it is what it was sent.
    let Ok(mut machine) = Machine::open(SHARD, &base.view(), &genesis) else { return false };
    let range = ScanRange { from: Bytes::new(), to: None, reverse: false };
    let _ = machine.scan(&range, PAGE).run(&base.view());
    let applied = machine.applied();
    let Some(next) = applied.index.0.checked_add(1).filter(|_| machine.version() < u64::MAX) else {
        return true;
    };
    let action = Action::Put { key: Bytes::from_static(b"key"), value: Bytes::new(), ttl_ms: Some(9) };
    let operations = vec![Operation { request: None, action }];
    let command = Command { stamp_ms: machine.time_ms(), operations };
    for key in machine.missing(&command) {
        let Ok(record) = machine.base_read(&key).run(&base.view()) else { return false };
        machine.load(key, record);
    }
    machine.apply(LogId::new(Index(next), Term(applied.term.0)), &command);
    while let Some(flush) = machine.freeze() {
        let Ok(done) = flush.run(base) else { return false };
        drop(machine.flushed(done));
    }
    let Ok(Some(mut reader)) = Reader::new(base.view(), SHARD) else { return false };
    while let Ok(Some(_)) = reader.next_chunk(CHUNK_BYTES) {}
    true
}
