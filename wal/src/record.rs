//! Records: what the shards of a node have to remember, and the batches in which workers hand it over.

use bytes::Bytes;
use flotilla_raft::{Entry, HardState, LogId, ReplicaId};
use flotilla_topology::ShardId;

use crate::codec;

/// One thing that a shard has to remember.
///
/// The records of a shard are a history: each one speaks of what the earlier ones left. A record that contradicts
/// them (entries with a gap, a birth under a used id) is a bug of the caller, and panics before anything is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A replica is created here. The first record of a shard; its id is above every id that the shard ever had here.
    Birth {
        /// The id of the new replica.
        replica: ReplicaId,
        /// What the shard began as; opaque to the log.
        genesis: Bytes,
    },
    /// Term, vote and commit. The newest counts.
    HardState(HardState),
    /// Entries with consecutive indexes. The first one truncates: whatever stood at its index or beyond is gone.
    /// It follows the last entry or replaces one after the compaction mark; it never leaves a gap.
    Entries(Vec<Entry>),
    /// Entries up to this one are not needed any more. A mark below an earlier one says nothing.
    Compact(LogId),
    /// A snapshot at this position is about to become current. Stands until a reset, or until the compaction mark
    /// has reached it.
    SnapshotIntent(LogId),
    /// The log restarts after this position: every entry before this record is gone, and so is the intent.
    Reset(LogId),
    /// The replica is removed from here for ever, with all that it remembered. The greatest such id is kept.
    Tombstone {
        /// The id of the removed replica.
        replica: ReplicaId,
    },
    /// Rot took something that the shard had been promised: whoever it has here is out of service for ever, with all that is
    /// left of it. Written by opening. Stands until a tombstone of this id or above, or a birth above it.
    Quarantine {
        /// The greatest id that may ever have lived here: all up to it are spent.
        replica: ReplicaId,
        /// Where the damage was found.
        at: RotAt,
    },
}

/// A damaged place of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RotAt {
    /// The number of the segment.
    pub segment: u64,
    /// Where the damaged frame begins (0: the segment's header).
    pub offset: u64,
}

/// Records of any number of shards, in order, to be written together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    records: Vec<(ShardId, Record)>,
    bytes: u64,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self { records: Vec::new(), bytes: 0 }
    }

    /// Adds a record. Entries share their data with the caller's: nothing is copied here.
    pub fn push(&mut self, shard: ShardId, record: Record) {
        if matches!(&record, Record::Entries(entries) if entries.is_empty()) {
            return;
        }
        self.bytes += codec::record_bytes(&record);
        self.records.push((shard, record));
    }

    /// What the batch takes in a frame, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many different shards the batch speaks of.
    #[must_use]
    pub fn shards(&self) -> usize {
        let mut shards: Vec<ShardId> = self.records.iter().map(|(shard, _)| *shard).collect();
        shards.sort_unstable();
        shards.dedup();
        shards.len()
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = &(ShardId, Record)> {
        self.records.iter()
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub shard: ShardId,
    /// Written by the garbage collector: says again what already held, and neither truncates nor ends anything.
    pub restated: bool,
    pub record: Record,
}
