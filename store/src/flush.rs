//! Flushes: a frozen overlay becomes part of the base, as one atomic batch and one sync.
//!
//! The flusher thread is the only writer of the base, and the only one who keeps keys, bytes and digest: it
//! must read the old record of every key that it overwrites (decision D6). Expired records are removed here
//! too, a bounded number per flush, by an index ordered by expiry. So *what is stored* depends on when
//! flushes took place; *what counts* does not: it is what is stored, less the expired records that the index
//! still names ([`crate::stats`]).

use std::sync::Arc;

use bytes::Bytes;
use flotilla_raft::LogId;
use flotilla_topology::ShardId;

use crate::base::{Base, View, WriteBatch};
use crate::digest::{Stats, Tally};
use crate::encoding::DecodeError;
use crate::error::Error;
use crate::layout::{self, Meta, Tag};
use crate::outcome::Record;
use crate::overlay::Layer;
use crate::remembered::Changes;

/// Expired records that one flush removes.
pub const EXPIRED_PER_FLUSH: usize = 4096;

/// One flush of one shard: self-contained, to be run on the flusher thread.
#[derive(Clone, Debug)]
pub struct Flush {
    shard: ShardId,
    generation: u64,
    /// What the base holds before; `None`: nothing yet.
    before: Option<LogId>,
    /// `stored` and `cleared_ms` are filled in here.
    meta: Meta,
    layer: Arc<Layer>,
    clean: Option<Arc<Layer>>,
    changes: Changes,
}

/// A flush that took place.
#[derive(Clone, Debug)]
pub struct Flushed {
    pub(crate) generation: u64,
    pub(crate) applied: LogId,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) backlog: bool,
    pub(crate) stored: Tally,
}

/// A layer that nobody needs any more.
#[derive(Debug)]
pub struct Retired(#[expect(dead_code, reason = "held only to be dropped elsewhere")] Option<Arc<Layer>>);

impl Retired {
    pub(crate) const fn new(layer: Option<Arc<Layer>>) -> Self {
        Self(layer)
    }
}

impl Flush {
    pub(crate) fn new(
        shard: ShardId,
        generation: u64,
        before: Option<LogId>,
        meta: Meta,
        layer: Arc<Layer>,
        clean: Option<Arc<Layer>>,
        changes: Changes,
    ) -> Self {
        Self { shard, generation, before, meta, layer, clean, changes }
    }
}

impl Flush {
    /// The shard.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// The last entry that becomes durable.
    #[must_use]
    pub const fn applied(&self) -> LogId {
        self.meta.applied
    }

    /// Writes and syncs. Blocks on I/O. After a failure it may be run again, on the same base or on the
    /// reopened one: it looks whether the batch took place.
    ///
    /// # Errors
    ///
    /// The base fails; it holds another generation ([`Error::Generation`]: drop the flush); or it is damaged.
    pub fn run<B: Base>(&self, base: &B) -> Result<Flushed, Error> {
        let view = base.view();
        let found = self.present(&view)?;
        let done =
            found.as_ref().is_some_and(|found| found.applied == self.meta.applied && self.repeats(found));
        if !done {
            let batch = self.batch(&view, found.as_ref())?;
            drop(view);
            base.commit(batch)?;
        }
        base.sync()?;
        let view = base.view();
        let Some(meta) = self.present(&view)? else {
            let (shard, generation) = (self.shard, self.generation);
            return Err(Error::Missing { shard, generation, record: "state" });
        };
        let (backlog, expires_ms) = expiry_outlook(&view, self.shard, self.generation, &meta)?;
        let generation = self.generation;
        Ok(Flushed { generation, applied: meta.applied, expires_ms, backlog, stored: meta.stored })
    }

    /// Whether the batch took place before. A flush that only removes expired records does not advance
    /// `applied`; doing it twice does no harm.
    fn repeats(&self, found: &Meta) -> bool {
        self.before != Some(found.applied)
    }

    /// What the base holds of this generation; `None`: the shard was never flushed.
    fn present(&self, view: &impl View) -> Result<Option<Meta>, Error> {
        let (shard, generation) = (self.shard, self.generation);
        let current = layout::read_pointer(view, shard)?;
        let meta = match current {
            Some(current) if current == generation => Meta::read(view, shard, generation)?,
            Some(_) => return Err(Error::Generation { shard, generation, current }),
            None if self.before.is_none() => return Ok(None),
            None => return Err(Error::Generation { shard, generation, current }),
        };
        let Some(meta) = meta else { return Err(Error::Missing { shard, generation, record: "state" }) };
        let known = Some(meta.applied) == self.before || meta.applied == self.meta.applied;
        assert!(
            known,
            "{shard}: the base is at {}, a flush from {:?} to {} does not fit",
            meta.applied, self.before, self.meta.applied
        );
        Ok(Some(meta))
    }

    fn batch(&self, view: &impl View, found: Option<&Meta>) -> Result<WriteBatch, Error> {
        let mut batch = WriteBatch::new();
        let mut stored = found.map_or_else(Tally::default, |found| found.stored);
        for (key, record) in &self.layer.records {
            self.write_record(view, key, record.as_ref(), &mut stored, &mut batch)?;
        }
        let cleared_ms = found.map_or(0, |found| found.cleared_ms);
        let cleared_ms = self.remove_expired(view, cleared_ms, &mut stored, &mut batch)?;
        self.write_remembered(&mut batch);
        let meta = Meta { stored, cleared_ms, ..self.meta.clone() };
        batch.put(self.key(Tag::Meta, b""), meta.encode());
        if self.before.is_none() {
            batch.put(layout::pointer_key(self.shard), layout::encode_pointer(self.generation));
        }
        Ok(batch)
    }

    fn key(&self, tag: Tag, rest: &[u8]) -> Bytes {
        layout::key(self.shard, self.generation, tag, rest)
    }

    /// Replaces the stored record of a key by the layer's, in the batch, the tally and the expiry index.
    fn write_record(
        &self,
        view: &impl View,
        key: &Bytes,
        record: Option<&Record>,
        stored: &mut Tally,
        batch: &mut WriteBatch,
    ) -> Result<(), Error> {
        let base_key = self.key(Tag::Data, key);
        let old = self.old_record(view, key, &base_key)?;
        // A record that expired before it was flushed is not written at all.
        let new = record.filter(|record| !record.expired(self.meta.time_ms));
        if let Some((old, encoded)) = &old {
            stored.remove(layout::member(key, old, encoded));
            let moved = new.is_none_or(|new| new.expires_ms != old.expires_ms);
            if let (Some(expires_ms), true) = (old.expires_ms, moved) {
                batch.delete(layout::expiry_key(self.shard, self.generation, expires_ms, key));
            }
        }
        match new {
            Some(new) => {
                let encoded = layout::encode_record(new);
                let member = layout::member(key, new, &encoded);
                stored.add(member);
                if let Some(expires_ms) = new.expires_ms {
                    let index = layout::expiry_key(self.shard, self.generation, expires_ms, key);
                    batch.put(index, layout::encode_member(member));
                }
                batch.put(base_key, encoded);
            }
            None if old.is_some() => batch.delete(base_key),
            None => {}
        }
        Ok(())
    }

    /// The record that the base holds, with its bytes. The clean layer saves the read of hot keys: it is what
    /// the flush before this one wrote, and nobody else writes.
    fn old_record(
        &self,
        view: &impl View,
        key: &Bytes,
        base_key: &[u8],
    ) -> Result<Option<(Record, Bytes)>, Error> {
        if let Some((clean, record)) =
            self.clean.as_ref().and_then(|clean| Some((clean, clean.records.get(key)?)))
        {
            let record = record.as_ref().filter(|record| !record.expired(clean.time_ms));
            return Ok(record.map(|record| (record.clone(), layout::encode_record(record))));
        }
        let Some(encoded) = view.get(base_key)? else { return Ok(None) };
        let record = layout::decode_record(encoded.clone()).map_err(|source| self.broken("key", source))?;
        Ok(Some((record, encoded)))
    }

    /// Removes records that have expired, the oldest first; not those of the layer, which are dealt with.
    /// Returns the time up to which the index is empty now.
    fn remove_expired(
        &self,
        view: &impl View,
        cleared_ms: u64,
        stored: &mut Tally,
        batch: &mut WriteBatch,
    ) -> Result<u64, Error> {
        let (from, to) = layout::expiries(self.shard, self.generation, cleared_ms, self.meta.time_ms);
        for (count, entry) in view.range(&from, &to, false).enumerate() {
            let (index_key, member) = entry?;
            let (expires_ms, key) =
                layout::read_expiry_key(&index_key).map_err(|source| self.broken("expiry index", source))?;
            if count == EXPIRED_PER_FLUSH {
                return Ok(expires_ms);
            }
            if self.layer.records.contains_key(&key) {
                continue;
            }
            let member =
                layout::decode_member(member).map_err(|source| self.broken("expiry index", source))?;
            stored.remove(member);
            batch.delete(self.key(Tag::Data, &key));
            batch.delete(index_key);
        }
        Ok(self.meta.time_ms)
    }

    fn write_remembered(&self, batch: &mut WriteBatch) {
        for (client, record) in &self.changes.floors {
            let key = self.key(Tag::Floor, &client.to_be_bytes());
            match record {
                Some(record) => batch.put(key, record.clone()),
                None => batch.delete(key),
            }
        }
        for (index, record) in &self.changes.results {
            let key = self.key(Tag::Results, &index.to_be_bytes());
            match record {
                Some(record) => batch.put(key, record.clone()),
                None => batch.delete(key),
            }
        }
    }

    fn broken(&self, record: &'static str, source: DecodeError) -> Error {
        Error::Record { shard: self.shard, record, source }
    }
}

/// What the expiry index says: whether expired records are left, and the first expiry that lies ahead.
pub(crate) fn expiry_outlook(
    view: &impl View,
    shard: ShardId,
    generation: u64,
    meta: &Meta,
) -> Result<(bool, Option<u64>), Error> {
    let first = |from_ms, to_ms| -> Result<Option<u64>, Error> {
        let (from, to) = layout::expiries(shard, generation, from_ms, to_ms);
        let Some((key, _)) = view.range(&from, &to, false).next().transpose()? else { return Ok(None) };
        let (expires_ms, _) = layout::read_expiry_key(&key).map_err(|source| Error::Record {
            shard,
            record: "expiry index",
            source,
        })?;
        Ok(Some(expires_ms))
    };
    let backlog = first(meta.cleared_ms, meta.time_ms)?.is_some();
    let ahead = match meta.time_ms.checked_add(1) {
        Some(after_ms) => first(after_ms, u64::MAX)?,
        None => None,
    };
    Ok((backlog, ahead))
}

/// What the base holds of a shard; `None`: nothing (it was never flushed here). Reads what the removal of
/// expired records is behind by, which is little unless very many fell due at once.
///
/// # Errors
///
/// The base fails, or holds what cannot be read.
pub fn stats(view: &impl View, shard: ShardId) -> Result<Option<Stats>, Error> {
    let Some(generation) = layout::read_pointer(view, shard)? else { return Ok(None) };
    let Some(meta) = Meta::read(view, shard, generation)? else {
        return Err(Error::Missing { shard, generation, record: "state" });
    };
    let mut keys = meta.stored;
    let (from, to) = layout::expiries(shard, generation, meta.cleared_ms, meta.time_ms);
    for entry in view.range(&from, &to, false) {
        let member = layout::decode_member(entry?.1);
        keys.remove(member.map_err(|source| Error::Record { shard, record: "expiry index", source })?);
    }
    let Meta { applied, time_ms, version, .. } = meta;
    Ok(Some(Stats { applied, time_ms, version, keys, state: meta.digest(keys) }))
}
