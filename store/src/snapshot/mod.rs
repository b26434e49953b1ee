//! Snapshots: the whole state of a shard in chunks, from one base to another.
//!
//! ```text
//! View ──► Reader ──chunk──► (transport) ──chunk──► Writer ──batch──► base, new generation
//!                                                   finish ──batch──► state record
//!                                                   activate: the pointer, synced      then purge the old generation
//! ```
//!
//! The source reads a view, so it goes on serving and flushing. The receiver writes under a generation of its
//! own: until [`activate`] nothing of it counts, and a crash leaves garbage that [`leftovers`] finds. Both
//! sides hold one chunk in memory (the receiver also the results and floors, to check them). The receiver
//! counts and hashes every record and compares the sum with the digest that the source's flusher kept: what
//! was damaged on the source's disk does not become current here.
//!
//! It does not transport anything, and a stream that breaks starts again from the beginning.

mod generations;
mod reader;
mod writer;

use bytes::{BufMut, Bytes, BytesMut};
use flotilla_topology::ShardId;

pub use generations::{
    activate, current_generation, leftovers, purge, purge_shard, shards_in, stage_generation,
    unused_generation,
};
pub use reader::Reader;
pub use writer::{SnapshotError, Writer};

use crate::base::View;
use crate::encoding::{self, DecodeError, put_bytes, put_varint};
use crate::error::Error;
use crate::layout::{self, KEY_OFFSET, Tag};
use crate::remembered::Remembered;

/// The first byte of the header.
const FORMAT: u8 = 1;

const ITEM_HEADER: u8 = 1;
const ITEM_FLOOR: u8 = 2;
const ITEM_RESULTS: u8 = 3;
const ITEM_RECORD: u8 = 4;
const ITEM_TRAILER: u8 = 5;

/// What a chunk consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Header { shard: ShardId, meta: Bytes },
    Floor { client: u128, record: Bytes },
    Results { index: u64, record: Bytes },
    Record { key: Bytes, record: Bytes },
    Trailer { tally: Bytes },
}

impl Item {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Header { shard, meta } => {
                out.put_u8(ITEM_HEADER);
                out.put_u8(FORMAT);
                put_varint(out, shard.0);
                put_bytes(out, meta);
            }
            Self::Floor { client, record } => {
                out.put_u8(ITEM_FLOOR);
                out.put_u128(*client);
                put_bytes(out, record);
            }
            Self::Results { index, record } => {
                out.put_u8(ITEM_RESULTS);
                put_varint(out, *index);
                put_bytes(out, record);
            }
            Self::Record { key, record } => {
                out.put_u8(ITEM_RECORD);
                put_bytes(out, key);
                put_bytes(out, record);
            }
            Self::Trailer { tally } => {
                out.put_u8(ITEM_TRAILER);
                put_bytes(out, tally);
            }
        }
    }

    fn decode(reader: &mut encoding::Reader) -> Result<Self, DecodeError> {
        Ok(match reader.u8("snapshot item")? {
            ITEM_HEADER => {
                let format = reader.u8("snapshot format")?;
                if format != FORMAT {
                    return Err(DecodeError::Unknown { what: "snapshot format", tag: u64::from(format) });
                }
                Self::Header { shard: ShardId(reader.varint("shard")?), meta: reader.bytes("state")? }
            }
            ITEM_FLOOR => Self::Floor { client: reader.u128("client")?, record: reader.bytes("floor")? },
            ITEM_RESULTS => {
                Self::Results { index: reader.varint("index")?, record: reader.bytes("results")? }
            }
            ITEM_RECORD => Self::Record { key: reader.bytes("key")?, record: reader.bytes("record")? },
            ITEM_TRAILER => Self::Trailer { tally: reader.bytes("tally")? },
            tag => return Err(DecodeError::Unknown { what: "snapshot item", tag: u64::from(tag) }),
        })
    }
}

/// The results and floors that the base holds of a generation.
pub(crate) fn read_remembered(
    view: &impl View,
    shard: ShardId,
    generation: u64,
) -> Result<Remembered, Error> {
    let mut remembered = Remembered::default();
    let (from, to) = layout::all(shard, generation, Tag::Floor);
    for entry in view.range(&from, &to, false) {
        let (key, record) = entry?;
        let loaded = read_client(&key).and_then(|client| remembered.load_floor(client, record));
        loaded.map_err(|source| Error::Record { shard, record: "floor", source })?;
    }
    let (from, to) = layout::all(shard, generation, Tag::Results);
    for entry in view.range(&from, &to, false) {
        let (key, record) = entry?;
        let loaded = read_index(&key).and_then(|index| remembered.load_results(index, record));
        loaded.map_err(|source| Error::Record { shard, record: "results", source })?;
    }
    Ok(remembered)
}

fn read_client(key: &[u8]) -> Result<u128, DecodeError> {
    let rest = <[u8; 16]>::try_from(key.get(KEY_OFFSET..).unwrap_or_default());
    rest.map(u128::from_be_bytes).map_err(|_| DecodeError::Short { what: "floor key" })
}

fn read_index(key: &[u8]) -> Result<u64, DecodeError> {
    let rest = <[u8; 8]>::try_from(key.get(KEY_OFFSET..).unwrap_or_default());
    rest.map(u64::from_be_bytes).map_err(|_| DecodeError::Short { what: "results key" })
}
