//! The overlay: what was applied and is not in the base yet, ordered, in memory.
//!
//! Three layers, newest first: *active* takes every write; *frozen* is on its way into the base, shared with
//! the flusher; *clean* is in the base already and serves reads until the next flush replaces it. Beside them
//! lie records that were *loaded* from the base because an operation needed them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::outcome::Record;

/// What a map node, two `Bytes` and a record cost beside their bytes.
const ENTRY_BYTES: usize = 160;

/// Loaded records are dropped after an apply when they take more than this.
const LOADED_BYTES_MAX: usize = 1 << 20;

/// A set of changes: key to record, or to `None` where it was deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) records: BTreeMap<Bytes, Option<Record>>,
    bytes: usize,
    /// The expiries of records written here. One whose record was overwritten stays: it costs a time entry
    /// too many.
    expiries: BTreeSet<u64>,
    /// Shard time when it was frozen.
    pub(crate) time_ms: u64,
}

impl Layer {
    fn insert(&mut self, key: Bytes, record: Option<Record>) {
        if let Some(expires_ms) = record.as_ref().and_then(|record| record.expires_ms) {
            self.expiries.insert(expires_ms);
        }
        let key_bytes = key.len();
        self.bytes += value_bytes(record.as_ref());
        match self.records.insert(key, record) {
            Some(old) => self.bytes -= value_bytes(old.as_ref()),
            None => self.bytes += key_bytes + ENTRY_BYTES,
        }
    }

    /// The first expiry after `time_ms`.
    fn next_due_ms(&self, time_ms: u64) -> Option<u64> {
        self.expiries.range(time_ms.checked_add(1)?..).next().copied()
    }
}

fn value_bytes(record: Option<&Record>) -> usize {
    record.map_or(0, |record| record.value.len())
}

/// The layers of one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) active: Layer,
    pub(crate) frozen: Option<Arc<Layer>>,
    pub(crate) clean: Option<Arc<Layer>>,
    loaded: BTreeMap<Bytes, Option<Record>>,
    loaded_bytes: usize,
}

impl Overlay {
    /// What the overlay knows of a key: `None` when only the base can tell. Expired records are not told
    /// apart here.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Record>> {
        let active = self.active.records.get(key);
        let frozen = || self.frozen.as_ref().and_then(|layer| layer.records.get(key));
        let clean = || self.clean.as_ref().and_then(|layer| layer.records.get(key));
        active.or_else(frozen).or_else(clean).or_else(|| self.loaded.get(key))
    }

    /// Writes a record, or a tombstone.
    pub(crate) fn write(&mut self, key: Bytes, record: Option<Record>) {
        // The loaded record must go: once this write has been flushed and its layer dropped, it would come
        // back to life.
        if !self.loaded.is_empty()
            && let Some(old) = self.loaded.remove(&key)
        {
            self.loaded_bytes -= ENTRY_BYTES + key.len() + value_bytes(old.as_ref());
        }
        self.active.insert(key, record);
    }

    /// Takes in what the base holds of a key, unless the overlay knows better.
    pub(crate) fn load(&mut self, key: Bytes, record: Option<Record>) {
        if self.get(&key).is_none() {
            self.loaded_bytes += ENTRY_BYTES + key.len() + value_bytes(record.as_ref());
            self.loaded.insert(key, record);
        }
    }

    /// Forgets loaded records when they take too much. Not while an apply waits for some of them.
    pub(crate) fn trim(&mut self) {
        if self.loaded_bytes > LOADED_BYTES_MAX {
            self.loaded.clear();
            self.loaded_bytes = 0;
        }
    }

    /// Active becomes frozen.
    pub(crate) fn freeze(&mut self, time_ms: u64) -> Arc<Layer> {
        assert!(self.frozen.is_none(), "one layer at a time is flushed");
        let mut layer = std::mem::take(&mut self.active);
        layer.time_ms = time_ms;
        let layer = Arc::new(layer);
        self.frozen = Some(Arc::clone(&layer));
        layer
    }

    /// Frozen becomes clean. Returns what was clean before.
    pub(crate) fn flushed(&mut self) -> Option<Arc<Layer>> {
        assert!(self.frozen.is_some(), "nothing is being flushed");
        std::mem::replace(&mut self.clean, self.frozen.take())
    }

    /// Forgets what the base holds too.
    pub(crate) fn drop_clean(&mut self) {
        // The flusher may hold the layer itself until it is done: it needs the old records of hot keys.
        self.clean = None;
        self.loaded.clear();
        self.loaded_bytes = 0;
    }

    /// Bytes that only a flush can free.
    pub(crate) fn dirty_bytes(&self) -> usize {
        self.active.bytes + self.frozen.as_ref().map_or(0, |layer| layer.bytes)
    }

    /// Bytes that can be freed at any time.
    pub(crate) fn clean_bytes(&self) -> usize {
        self.loaded_bytes + self.clean.as_ref().map_or(0, |layer| layer.bytes)
    }

    /// When the first record that is not in the base yet expires after `time_ms`.
    pub(crate) fn next_due_ms(&self, time_ms: u64) -> Option<u64> {
        let frozen = self.frozen.as_ref().and_then(|layer| layer.next_due_ms(time_ms));
        self.active.next_due_ms(time_ms).into_iter().chain(frozen).min()
    }
}
