//! Point reads that miss the overlay: run on the reader pool, with a view taken when they were asked for.

use bytes::Bytes;
use flotilla_topology::{ShardId, Slot};

use crate::base::View;
use crate::error::Error;
use crate::layout;
use crate::outcome::Record;

/// What the machine says to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// What the key holds; `None`: it does not exist.
    Record(Option<Record>),
    /// Only the base knows.
    Base(BaseRead),
    /// The shard does not own the key's slot.
    WrongSlot(Slot),
}

/// A read of one key from the base, at one shard time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseRead {
    shard: ShardId,
    key: Bytes,
    time_ms: u64,
}

impl BaseRead {
    pub(crate) const fn new(shard: ShardId, key: Bytes, time_ms: u64) -> Self {
        Self { shard, key, time_ms }
    }

    /// What the key holds; an expired record is not there. May block on I/O.
    ///
    /// # Errors
    ///
    /// The base fails, or the record cannot be read.
    pub fn run(&self, view: &impl View) -> Result<Option<Record>, Error> {
        let Some(bytes) = view.get(&self.key)? else { return Ok(None) };
        let record = layout::decode_record(bytes);
        let record = record.map_err(|source| Error::Record { shard: self.shard, record: "key", source })?;
        Ok(if record.expired(self.time_ms) { None } else { Some(record) })
    }
}
