//! The receiver's side: chunks into batches of a generation that is not current yet.

use bytes::Bytes;
use flotilla_raft::SnapshotMeta;
use flotilla_topology::ShardId;

use super::Item;
use crate::base::WriteBatch;
use crate::digest::{Digest, Tally};
use crate::encoding::{self, DecodeError};
use crate::layout::{self, Meta, Tag};
use crate::remembered::Remembered;

/// Why a snapshot cannot be taken in. The stage is to be purged and the snapshot asked for anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A chunk was damaged on its way.
    #[error("{shard}: snapshot chunk has checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// The shard.
        shard: ShardId,
        /// The checksum that the chunk states.
        expected: u32,
        /// The checksum that it has.
        found: u32,
    },
    /// A chunk is missing.
    #[error("{shard}: snapshot chunk {found} arrived, expected {expected}")]
    Gap {
        /// The shard.
        shard: ShardId,
        /// The next chunk.
        expected: u64,
        /// The chunk that came.
        found: u64,
    },
    /// A chunk cannot be read.
    #[error("{shard}: snapshot: {source}")]
    Form {
        /// The shard.
        shard: ShardId,
        /// Why.
        source: DecodeError,
    },
    /// It is the snapshot of another shard.
    #[error("{shard}: snapshot of {found}")]
    Shard {
        /// The shard that was expected.
        shard: ShardId,
        /// The one that it is of.
        found: ShardId,
    },
    /// An item stands where it must not: before the header, behind the trailer, out of order.
    #[error("{shard}: snapshot: {item} out of order")]
    Order {
        /// The shard.
        shard: ShardId,
        /// Which.
        item: &'static str,
    },
    /// The stream ended before the trailer.
    #[error("{shard}: snapshot ended early")]
    Incomplete {
        /// The shard.
        shard: ShardId,
    },
    /// What arrived is not what the source's digest was kept for.
    #[error("{shard}: snapshot's digest of {what} is {found}, expected {expected}")]
    Digest {
        /// The shard.
        shard: ShardId,
        /// Of what.
        what: &'static str,
        /// The digest kept by the source.
        expected: Digest,
        /// The digest of what arrived.
        found: Digest,
    },
}

/// Takes in a snapshot under a generation that is not current.
#[derive(Debug)]
pub struct Writer {
    shard: ShardId,
    generation: u64,
    sequence: u64,
    meta: Option<Meta>,
    remembered: Remembered,
    tally: Tally,
    last_key: Option<Bytes>,
    /// A first result or record came: no floor may follow; a first record came: no result may follow.
    part: Part,
    trailer: Option<Tally>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Floors,
    Results,
    Records,
}

impl Writer {
    /// A writer of an unused generation: [`super::stage_generation`].
    #[must_use]
    pub fn new(shard: ShardId, generation: u64) -> Self {
        Self {
            shard,
            generation,
            sequence: 0,
            meta: None,
            remembered: Remembered::default(),
            tally: Tally::default(),
            last_key: None,
            part: Part::Floors,
            trailer: None,
        }
    }

    /// Takes in a chunk: commit the batch before the next. A chunk that came before yields an empty batch.
    ///
    /// # Errors
    ///
    /// See [`SnapshotError`]; the writer is of no more use.
    pub fn chunk(&mut self, chunk: Bytes) -> Result<WriteBatch, SnapshotError> {
        let shard = self.shard;
        let form = |source| SnapshotError::Form { shard, source };
        let length = chunk.len().checked_sub(4).ok_or(DecodeError::Short { what: "chunk" }).map_err(form)?;
        let expected = chunk[length..].iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte));
        let found = crc32fast::hash(&chunk[..length]);
        if found != expected {
            return Err(SnapshotError::Checksum { shard, expected, found });
        }
        let mut reader = encoding::Reader::new(chunk.slice(..length));
        let found = reader.varint("chunk number").map_err(form)?;
        if found < self.sequence {
            return Ok(WriteBatch::new());
        }
        if found > self.sequence {
            return Err(SnapshotError::Gap { shard, expected: self.sequence, found });
        }
        self.sequence += 1;
        let mut batch = WriteBatch::new();
        while reader.remaining() > 0 {
            let item = Item::decode(&mut reader).map_err(form)?;
            self.item(item, &mut batch)?;
        }
        Ok(batch)
    }

    fn item(&mut self, item: Item, batch: &mut WriteBatch) -> Result<(), SnapshotError> {
        let shard = self.shard;
        let form = |source| SnapshotError::Form { shard, source };
        let header = matches!(item, Item::Header { .. });
        if header != self.meta.is_none() || self.trailer.is_some() {
            return Err(SnapshotError::Order { shard, item: "header or trailer" });
        }
        match item {
            Item::Header { shard: found, .. } if found != shard => {
                return Err(SnapshotError::Shard { shard, found });
            }
            Item::Header { meta, .. } => self.meta = Some(Meta::decode(meta).map_err(form)?),
            Item::Floor { client, record } => {
                self.enter(Part::Floors, "floor")?;
                batch.put(self.key(Tag::Floor, &client.to_be_bytes()), record.clone());
                self.remembered.load_floor(client, record).map_err(form)?;
            }
            Item::Results { index, record } => {
                self.enter(Part::Results, "results")?;
                batch.put(self.key(Tag::Results, &index.to_be_bytes()), record.clone());
                self.remembered.load_results(index, record).map_err(form)?;
            }
            Item::Record { key, record } => {
                self.enter(Part::Records, "key")?;
                self.record(key, record, batch)?;
            }
            Item::Trailer { tally } => self.trailer = Some(layout::decode_tally(tally).map_err(form)?),
        }
        Ok(())
    }

    fn enter(&mut self, part: Part, item: &'static str) -> Result<(), SnapshotError> {
        if part < self.part {
            return Err(SnapshotError::Order { shard: self.shard, item });
        }
        self.part = part;
        Ok(())
    }

    fn record(&mut self, key: Bytes, encoded: Bytes, batch: &mut WriteBatch) -> Result<(), SnapshotError> {
        let shard = self.shard;
        // Rising keys: a key that came twice would be counted twice and stored once.
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            return Err(SnapshotError::Order { shard, item: "key" });
        }
        let record =
            layout::decode_record(encoded.clone()).map_err(|source| SnapshotError::Form { shard, source })?;
        let member = layout::member(&key, &record, &encoded);
        self.tally.add(member);
        if let Some(expires_ms) = record.expires_ms {
            let index = layout::expiry_key(shard, self.generation, expires_ms, &key);
            batch.put(index, layout::encode_member(member));
        }
        batch.put(self.key(Tag::Data, &key), encoded);
        self.last_key = Some(key);
        Ok(())
    }

    fn key(&self, tag: Tag, rest: &[u8]) -> Bytes {
        layout::key(self.shard, self.generation, tag, rest)
    }

    /// Whether the last chunk has arrived.
    #[must_use]
    pub const fn complete(&self) -> bool {
        self.trailer.is_some()
    }

    /// Compares what arrived with what the source stated. Commit the batch, then [`super::activate`].
    ///
    /// # Errors
    ///
    /// The snapshot is not complete, or not what it should be.
    pub fn finish(self) -> Result<(WriteBatch, SnapshotMeta), SnapshotError> {
        let shard = self.shard;
        let (Some(meta), Some(trailer)) = (self.meta.clone(), self.trailer) else {
            return Err(SnapshotError::Incomplete { shard });
        };
        if trailer != self.tally {
            let (expected, found) = (trailer.digest, self.tally.digest);
            return Err(SnapshotError::Digest { shard, what: "keys", expected, found });
        }
        if meta.remembered != self.remembered.digest() {
            let (expected, found) = (meta.remembered, self.remembered.digest());
            return Err(SnapshotError::Digest { shard, what: "results and floors", expected, found });
        }
        let snapshot = SnapshotMeta {
            last: meta.applied,
            configuration: meta.configuration.clone(),
            configuration_index: meta.configuration_index,
        };
        // Expired records were not sent.
        let meta = Meta { stored: self.tally, cleared_ms: meta.time_ms, ..meta };
        let mut batch = WriteBatch::new();
        batch.put(self.key(Tag::Meta, b""), meta.encode());
        Ok((batch, snapshot))
    }
}
