//! The source's side: chunks out of a view.

use bytes::{BufMut, Bytes, BytesMut};
use flotilla_raft::SnapshotMeta;
use flotilla_topology::ShardId;

use super::{Item, read_client, read_index};
use crate::base::View;
use crate::digest::Tally;
use crate::encoding::{DecodeError, put_varint};
use crate::error::Error;
use crate::layout::{self, KEY_OFFSET, Meta, Tag};

/// Reads the state that a view holds of a shard, chunk by chunk.
#[derive(Debug)]
pub struct Reader<V> {
    shard: ShardId,
    generation: u64,
    view: V,
    meta: Meta,
    sequence: u64,
    stage: Stage,
    /// What is stored, less what was skipped because it has expired.
    tally: Tally,
}

/// What comes next; the bytes are the key to go on from.
#[derive(Clone, Debug)]
enum Stage {
    Header,
    Remembered(Bytes),
    Data(Bytes),
    Trailer,
    Done,
}

impl<V: View> Reader<V> {
    /// A reader of what is current in the view: as of the last flush before the view was taken. `None`: the
    /// shard was never flushed.
    ///
    /// # Errors
    ///
    /// The base fails, or holds what cannot be read.
    pub fn new(view: V, shard: ShardId) -> Result<Option<Self>, Error> {
        let Some(generation) = layout::read_pointer(&view, shard)? else { return Ok(None) };
        let Some(meta) = Meta::read(&view, shard, generation)? else {
            return Err(Error::Missing { shard, generation, record: "state" });
        };
        let tally = meta.stored;
        Ok(Some(Self { shard, generation, view, meta, sequence: 0, stage: Stage::Header, tally }))
    }

    /// What the snapshot stands for.
    #[must_use]
    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last: self.meta.applied,
            configuration: self.meta.configuration.clone(),
            configuration_index: self.meta.configuration_index,
        }
    }

    /// The next chunk: not longer than `bytes_max` unless a single item is. `None` after the last. May block
    /// on I/O.
    ///
    /// # Errors
    ///
    /// The base fails, or holds what cannot be read. Asking again reads the same chunk again.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Error> {
        if matches!(self.stage, Stage::Done) {
            return Ok(None);
        }
        let mut chunk = Chunk { out: BytesMut::new(), items: 0, bytes_max };
        put_varint(&mut chunk.out, self.sequence);
        // Worked out apart and taken over at the end: an error leaves the reader where it was.
        let (mut stage, mut tally) = (self.stage.clone(), self.tally);
        while let Some(next) = self.fill(&mut stage, &mut tally, &mut chunk)? {
            stage = next;
        }
        (self.stage, self.tally) = (stage, tally);
        self.sequence += 1;
        let mut out = chunk.out;
        out.put_u32_le(crc32fast::hash(&out));
        Ok(Some(out.freeze()))
    }

    /// Adds the items of one stage. Returns the next stage; `None` when the chunk is full or the snapshot
    /// ends.
    fn fill(&self, stage: &mut Stage, tally: &mut Tally, chunk: &mut Chunk) -> Result<Option<Stage>, Error> {
        let (shard, generation) = (self.shard, self.generation);
        match stage {
            Stage::Header => {
                let meta = Meta { stored: Tally::default(), cleared_ms: 0, ..self.meta.clone() };
                chunk.add(&Item::Header { shard, meta: meta.encode() });
                Ok(Some(Stage::Remembered(layout::all(shard, generation, Tag::Floor).0)))
            }
            Stage::Remembered(from) => {
                let to = layout::all(shard, generation, Tag::Results).1;
                for entry in self.view.range(&from.clone(), &to, false) {
                    let (key, record) = entry?;
                    let item = remembered_item(&key, record);
                    let item = item.map_err(|source| Error::Record { shard, record: "results", source })?;
                    if !chunk.add(&item) {
                        *from = key;
                        return Ok(None);
                    }
                }
                Ok(Some(Stage::Data(layout::all(shard, generation, Tag::Data).0)))
            }
            Stage::Data(from) => {
                let to = layout::all(shard, generation, Tag::Data).1;
                for entry in self.view.range(&from.clone(), &to, false) {
                    let (key, encoded) = entry?;
                    let user_key = key.slice(KEY_OFFSET..);
                    let record = layout::decode_record(encoded.clone()).map_err(|source| Error::Record {
                        shard,
                        record: "key",
                        source,
                    })?;
                    if record.expired(self.meta.time_ms) {
                        tally.remove(layout::member(&user_key, &record, &encoded));
                    } else if !chunk.add(&Item::Record { key: user_key, record: encoded }) {
                        *from = key;
                        return Ok(None);
                    }
                }
                Ok(Some(Stage::Trailer))
            }
            Stage::Trailer => {
                if chunk.add(&Item::Trailer { tally: layout::encode_tally(*tally) }) {
                    *stage = Stage::Done;
                }
                Ok(None)
            }
            Stage::Done => Ok(None),
        }
    }
}

fn remembered_item(key: &Bytes, record: Bytes) -> Result<Item, DecodeError> {
    match key.get(KEY_OFFSET - 1) {
        Some(&tag) if tag == Tag::Floor as u8 => Ok(Item::Floor { client: read_client(key)?, record }),
        _ => Ok(Item::Results { index: read_index(key)?, record }),
    }
}

/// A chunk that is being filled.
struct Chunk {
    out: BytesMut,
    items: usize,
    bytes_max: usize,
}

/// The checksum at the end.
const CRC_BYTES: usize = 4;

impl Chunk {
    /// Adds an item if it fits, or if it is the first.
    fn add(&mut self, item: &Item) -> bool {
        let before = self.out.len();
        item.encode(&mut self.out);
        if self.items > 0 && self.out.len() + CRC_BYTES > self.bytes_max {
            self.out.truncate(before);
            return false;
        }
        self.items += 1;
        true
    }
}
