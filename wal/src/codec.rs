//! Records to bytes and back. The layout is written down in `docs/formats/log.md`.

use std::collections::BTreeSet;

use bytes::Bytes;
use flotilla_raft::{Configuration, Entry, HardState, Index, LogId, Payload, ReplicaId, Term};
use flotilla_topology::ShardId;

use crate::error::DecodeError;
use crate::record::{Record, RotAt, Stored};

const BIRTH: u8 = 1;
const HARD_STATE: u8 = 2;
const ENTRIES: u8 = 3;
const COMPACT: u8 = 4;
const SNAPSHOT_INTENT: u8 = 5;
const RESET: u8 = 6;
const TOMBSTONE: u8 = 7;
const QUARANTINE: u8 = 8;
/// Set in the kind of a restated record.
const RESTATED: u8 = 0x80;

const NOOP: u8 = 0;
const DATA: u8 = 1;
const CONFIGURATION: u8 = 2;

/// Kind, shard and length of a record.
const RECORD_HEAD_BYTES: u64 = 1 + 8 + 8;
/// Term, kind and length of an entry.
const ENTRY_HEAD_BYTES: u64 = 8 + 1 + 4;

/// What a record takes in a frame, in bytes.
pub(crate) fn record_bytes(record: &Record) -> u64 {
    RECORD_HEAD_BYTES + content_bytes(record)
}

/// What an entry takes in a record, in bytes.
pub(crate) fn entry_bytes(entry: &Entry) -> u64 {
    ENTRY_HEAD_BYTES
        + match &entry.payload {
            Payload::Noop => 0,
            Payload::Data(data) => data.len() as u64,
            Payload::Configuration(it) => {
                12 + 8 * (it.voters.len() + it.outgoing.len() + it.learners.len()) as u64
            }
        }
}

fn content_bytes(record: &Record) -> u64 {
    match record {
        Record::Birth { genesis, .. } => 8 + genesis.len() as u64,
        Record::HardState(_) => 8 + 1 + 8 + 8,
        Record::Entries(entries) => 8 + 4 + entries.iter().map(entry_bytes).sum::<u64>(),
        Record::Compact(_) | Record::SnapshotIntent(_) | Record::Reset(_) => 16,
        Record::Tombstone { .. } => 8,
        Record::Quarantine { .. } => 24,
    }
}

/// Appends a record to a frame's body.
pub(crate) fn encode(shard: ShardId, restated: bool, record: &Record, out: &mut Vec<u8>) {
    let kind = match record {
        Record::Birth { .. } => BIRTH,
        Record::HardState(_) => HARD_STATE,
        Record::Entries(_) => ENTRIES,
        Record::Compact(_) => COMPACT,
        Record::SnapshotIntent(_) => SNAPSHOT_INTENT,
        Record::Reset(_) => RESET,
        Record::Tombstone { .. } => TOMBSTONE,
        Record::Quarantine { .. } => QUARANTINE,
    };
    out.push(if restated { kind | RESTATED } else { kind });
    put(out, shard.0);
    put(out, content_bytes(record));
    match record {
        Record::Birth { replica, genesis } => {
            put(out, replica.0);
            out.extend_from_slice(genesis);
        }
        Record::HardState(state) => {
            put(out, state.term.0);
            out.push(u8::from(state.vote.is_some()));
            put(out, state.vote.unwrap_or_default().0);
            put(out, state.commit.0);
        }
        Record::Entries(entries) => encode_entries(entries, out),
        Record::Compact(id) | Record::SnapshotIntent(id) | Record::Reset(id) => {
            put(out, id.index.0);
            put(out, id.term.0);
        }
        Record::Tombstone { replica } => put(out, replica.0),
        Record::Quarantine { replica, at } => {
            put(out, replica.0);
            put(out, at.segment);
            put(out, at.offset);
        }
    }
}

fn encode_entries(entries: &[Entry], out: &mut Vec<u8>) {
    put(out, entries[0].id.index.0);
    put_u32(out, entries.len());
    for entry in entries {
        put(out, entry.id.term.0);
        match &entry.payload {
            Payload::Noop => {
                out.push(NOOP);
                put_u32(out, 0);
            }
            Payload::Data(data) => {
                out.push(DATA);
                put_u32(out, data.len());
                out.extend_from_slice(data);
            }
            Payload::Configuration(it) => {
                out.push(CONFIGURATION);
                put_u32(out, (entry_bytes(entry) - ENTRY_HEAD_BYTES) as usize);
                for set in [&it.voters, &it.outgoing, &it.learners] {
                    put_u32(out, set.len());
                    set.iter().for_each(|replica| put(out, replica.0));
                }
            }
        }
    }
}

fn put(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: usize) {
    let value = u32::try_from(value).unwrap_or_else(|_| panic!("{value} is more than the format can count"));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Reads all records of a frame's body. Nothing is allocated by a length that the bytes do not bear out.
pub(crate) fn decode_all(body: &[u8]) -> Result<Vec<Stored>, DecodeError> {
    let mut reader = Reader(body);
    let mut records = Vec::new();
    while !reader.0.is_empty() {
        let kind = reader.u8()?;
        let shard = ShardId(reader.u64()?);
        let length = usize::try_from(reader.u64()?).map_err(|_| DecodeError::Short)?;
        let mut content = Reader(reader.take(length)?);
        let record = decode(kind & !RESTATED, &mut content)?;
        if !content.0.is_empty() {
            return Err(DecodeError::Long(content.0.len()));
        }
        records.push(Stored { shard, restated: kind & RESTATED != 0, record });
    }
    Ok(records)
}

fn decode(kind: u8, content: &mut Reader<'_>) -> Result<Record, DecodeError> {
    Ok(match kind {
        BIRTH => Record::Birth {
            replica: ReplicaId(content.u64()?),
            genesis: Bytes::copy_from_slice(content.take(content.0.len())?),
        },
        HARD_STATE => {
            let term = Term(content.u64()?);
            let voted = content.u8()?;
            let vote = ReplicaId(content.u64()?);
            let vote = match voted {
                0 => None,
                1 => Some(vote),
                flag => return Err(DecodeError::Flag(flag)),
            };
            Record::HardState(HardState { term, vote, commit: Index(content.u64()?) })
        }
        ENTRIES => Record::Entries(decode_entries(content)?),
        COMPACT => Record::Compact(content.log_id()?),
        SNAPSHOT_INTENT => Record::SnapshotIntent(content.log_id()?),
        RESET => Record::Reset(content.log_id()?),
        TOMBSTONE => Record::Tombstone { replica: ReplicaId(content.u64()?) },
        QUARANTINE => Record::Quarantine {
            replica: ReplicaId(content.u64()?),
            at: RotAt { segment: content.u64()?, offset: content.u64()? },
        },
        other => return Err(DecodeError::Kind(other)),
    })
}

fn decode_entries(content: &mut Reader<'_>) -> Result<Vec<Entry>, DecodeError> {
    let first = content.u64()?;
    let count = content.u32()?;
    let mut entries = Vec::with_capacity((count as usize).min(content.0.len() / ENTRY_HEAD_BYTES as usize));
    for position in 0..u64::from(count) {
        let index = first.checked_add(position).ok_or(DecodeError::Short)?;
        let term = Term(content.u64()?);
        let kind = content.u8()?;
        let length = content.u32()? as usize;
        let payload = match (kind, content.take(length)?) {
            (NOOP, []) => Payload::Noop,
            (NOOP, rest) => return Err(DecodeError::Long(rest.len())),
            (DATA, data) => Payload::Data(Bytes::copy_from_slice(data)),
            (CONFIGURATION, bytes) => Payload::Configuration(decode_configuration(bytes)?),
            (other, _) => return Err(DecodeError::Payload(other)),
        };
        entries.push(Entry { id: LogId::new(Index(index), term), payload });
    }
    Ok(entries)
}

fn decode_configuration(bytes: &[u8]) -> Result<Configuration, DecodeError> {
    let mut reader = Reader(bytes);
    let mut set = || -> Result<BTreeSet<ReplicaId>, DecodeError> {
        let count = reader.u32()?;
        (0..count).map(|_| reader.u64().map(ReplicaId)).collect()
    };
    let configuration = Configuration { voters: set()?, outgoing: set()?, learners: set()? };
    if !reader.0.is_empty() {
        return Err(DecodeError::Long(reader.0.len()));
    }
    Ok(configuration)
}

/// Takes fields off the front of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(crate::frame::u32_at(self.take(4)?, 0))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(crate::frame::u64_at(self.take(8)?, 0))
    }

    fn log_id(&mut self) -> Result<LogId, DecodeError> {
        let index = Index(self.u64()?);
        Ok(LogId::new(index, Term(self.u64()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Record> {
        let id = LogId::new(Index(7), Term(3));
        let entry = |index, payload| Entry { id: LogId::new(Index(index), Term(3)), payload };
        let joint = Configuration {
            voters: [1, 2, 4].map(ReplicaId).into(),
            outgoing: [1, 2, 3].map(ReplicaId).into(),
            learners: [9].map(ReplicaId).into(),
        };
        vec![
            Record::Birth { replica: ReplicaId(5), genesis: Bytes::from_static(b"slots") },
            Record::Birth { replica: ReplicaId(6), genesis: Bytes::new() },
            Record::HardState(HardState { term: Term(3), vote: None, commit: Index(2) }),
            Record::HardState(HardState { term: Term(3), vote: Some(ReplicaId(0)), commit: Index(2) }),
            Record::Entries(vec![
                entry(8, Payload::Noop),
                entry(9, Payload::Data(Bytes::from_static(b"value"))),
                entry(10, Payload::Data(Bytes::new())),
                entry(11, Payload::Configuration(joint)),
            ]),
            Record::Compact(id),
            Record::SnapshotIntent(id),
            Record::Reset(id),
            Record::Tombstone { replica: ReplicaId(5) },
            Record::Quarantine { replica: ReplicaId(5), at: RotAt { segment: 3, offset: 4096 } },
        ]
    }

    #[test]
    fn every_record_comes_back_and_takes_what_it_said() {
        for record in examples() {
            for restated in [false, true] {
                let mut bytes = Vec::new();
                encode(ShardId(4), restated, &record, &mut bytes);
                assert_eq!(bytes.len() as u64, record_bytes(&record), "{record:?}");
                let back = decode_all(&bytes).unwrap();
                assert_eq!(back, [Stored { shard: ShardId(4), restated, record: record.clone() }]);
            }
        }
    }

    /// `docs/formats/log.md`, byte by byte: a log that an older release wrote must stay readable.
    #[test]
    fn the_bytes_of_records_are_these() {
        let id = LogId::new(Index(7), Term(3));
        let entries = vec![
            Entry { id: LogId::new(Index(8), Term(3)), payload: Payload::Noop },
            Entry { id: LogId::new(Index(9), Term(3)), payload: Payload::Data(Bytes::from_static(b"v")) },
            Entry {
                id: LogId::new(Index(10), Term(4)),
                payload: Payload::Configuration(Configuration::of_voters([ReplicaId(1)])),
            },
        ];
        let long = |number: u8| [number, 0, 0, 0, 0, 0, 0, 0];
        let head = |kind: u8, length: u8| [&[kind][..], &long(4), &long(length)].concat();
        let golden: Vec<(Record, Vec<u8>)> = vec![
            (
                Record::Birth { replica: ReplicaId(5), genesis: Bytes::from_static(b"g") },
                [&head(1, 9)[..], &long(5), b"g"].concat(),
            ),
            (
                Record::HardState(HardState { term: Term(3), vote: Some(ReplicaId(6)), commit: Index(2) }),
                [&head(2, 25)[..], &long(3), &[1], &long(6), &long(2)].concat(),
            ),
            (
                Record::Entries(entries),
                [
                    &head(3, 72)[..],
                    &long(8),
                    &[3, 0, 0, 0],
                    &[&long(3)[..], &[0, 0, 0, 0, 0]].concat(),
                    &[&long(3)[..], &[1, 1, 0, 0, 0], b"v"].concat(),
                    &[&long(4)[..], &[2, 20, 0, 0, 0], &[1, 0, 0, 0], &long(1), &[0; 8]].concat(),
                ]
                .concat(),
            ),
            (Record::Compact(id), [&head(4, 16)[..], &long(7), &long(3)].concat()),
            (Record::SnapshotIntent(id), [&head(5, 16)[..], &long(7), &long(3)].concat()),
            (Record::Reset(id), [&head(6, 16)[..], &long(7), &long(3)].concat()),
            (Record::Tombstone { replica: ReplicaId(5) }, [&head(7, 8)[..], &long(5)].concat()),
            (
                Record::Quarantine { replica: ReplicaId(5), at: RotAt { segment: 3, offset: 6 } },
                [&head(8, 24)[..], &long(5), &long(3), &long(6)].concat(),
            ),
        ];
        for (record, bytes) in golden {
            let mut out = Vec::new();
            encode(ShardId(4), false, &record, &mut out);
            assert_eq!(out, bytes, "{record:?}");
            let mut restated = Vec::new();
            encode(ShardId(4), true, &record, &mut restated);
            assert_eq!((restated[0], &restated[1..]), (bytes[0] | 0x80, &bytes[1..]), "{record:?}, restated");
        }
    }

    #[test]
    fn no_shortened_or_altered_bytes_panic_or_allocate_much() {
        for record in examples() {
            let mut bytes = Vec::new();
            encode(ShardId(4), false, &record, &mut bytes);
            for length in 1..bytes.len() {
                assert!(decode_all(&bytes[..length]).is_err(), "{record:?} cut to {length}");
            }
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut altered = bytes.clone();
                    altered[at] = value;
                    let _ = decode_all(&altered);
                }
            }
        }
    }
}
