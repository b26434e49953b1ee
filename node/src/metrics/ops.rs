//! What became of clients' requests, counted.
//!
//! On the path of every request, so without locks and without names: a count is one atomic addition in an array. The
//! series get their labels when somebody scrapes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use flotilla_proto::status;
use flotilla_topology::ShardId;
use tonic::{Code, Status};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The record of a key.
    Get,
    /// A write, whatever was there.
    Put,
    /// A key shall go.
    Delete,
    /// A write, if the key has a version.
    Cas,
    /// Comparisons, then one of two lists of operations.
    Txn,
    /// One page of a range, of one shard.
    Scan,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Served here.
    Ok,
    /// Served here: there is no such key.
    NotFound,
    /// Served here: a comparison failed.
    Conflict,
    /// The client was told which node to ask.
    Redirected,
    /// Another node served it at our request, and counts it too.
    Forwarded,
    /// Surely not executed: overload, no leader, a leadership on its way.
    Refused,
    /// Nobody knows whether it was executed.
    Unknown,
    /// It cannot be done as asked, and was not.
    Invalid,
}

impl Op {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Get, Self::Put, Self::Delete, Self::Cas, Self::Txn, Self::Scan];

    /// The value of the label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Cas => "cas",
            Self::Txn => "txn",
            Self::Scan => "scan",
        }
    }
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::NotFound,
        Self::Conflict,
        Self::Redirected,
        Self::Forwarded,
        Self::Refused,
        Self::Unknown,
        Self::Invalid,
    ];

    /// The value of the label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Redirected => "redirected",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }

    /// What a status says of the request that it ended.
    #[must_use]
    pub fn of(failure: &Status) -> Self {
        match failure.code() {
            _ if !status::definite(failure) => Self::Unknown,
            Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => Self::Invalid,
            _ => Self::Refused,
        }
    }
}

/// The counts of one shard, since the process started.
#[derive(Debug, Default)]
pub struct OpCounters([[AtomicU64; Outcome::ALL.len()]; Op::ALL.len()]);

impl OpCounters {
    /// One more.
    pub fn count(&self, op: Op, outcome: Outcome) {
        self.0[op as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn read(&self, op: Op, outcome: Outcome) -> u64 {
        self.0[op as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// Whether this was ever asked.
    #[must_use]
    pub fn asked(&self, op: Op) -> bool {
        Outcome::ALL.into_iter().any(|outcome| self.read(op, outcome) > 0)
    }
}

/// Counters are made for so many shards at once …
const CHUNK_SHARDS: usize = 64;
/// … and for so many such groups at most. Shard ids are given in order and never again; those beyond are counted as unplaced.
const CHUNKS_MAX: usize = 1024;

/// The counts of all shards, found without a lock.
#[derive(Debug)]
pub struct OpTable {
    chunks: Box<[OnceLock<Box<[OpCounters]>>]>,
    unplaced: OpCounters,
}

impl Default for OpTable {
    fn default() -> Self {
        let chunks = (0..CHUNKS_MAX).map(|_| OnceLock::new()).collect();
        Self { chunks, unplaced: OpCounters::default() }
    }
}

impl OpTable {
    /// The counters of a shard that has a replica here.
    #[must_use]
    pub fn of(&self, shard: ShardId) -> &OpCounters {
        let number = usize::try_from(shard.0).unwrap_or(usize::MAX);
        let Some(chunk) = self.chunks.get(number / CHUNK_SHARDS) else { return &self.unplaced };
        let chunk = chunk.get_or_init(|| (0..CHUNK_SHARDS).map(|_| OpCounters::default()).collect());
        &chunk[number % CHUNK_SHARDS]
    }

    /// The counters of what is for no shard, or for one without a replica here.
    #[must_use]
    pub const fn unplaced(&self) -> &OpCounters {
        &self.unplaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_counters_of_its_own() {
        let table = OpTable::default();
        for shard in [0, 1, 63, 64, 1000] {
            table.of(ShardId(shard)).count(Op::Put, Outcome::Ok);
        }
        table.of(ShardId(64)).count(Op::Put, Outcome::Ok);
        table.of(ShardId(64)).count(Op::Scan, Outcome::Invalid);
        assert_eq!(table.of(ShardId(63)).read(Op::Put, Outcome::Ok), 1);
        assert_eq!(table.of(ShardId(64)).read(Op::Put, Outcome::Ok), 2);
        assert_eq!(table.of(ShardId(64)).read(Op::Scan, Outcome::Invalid), 1);
        assert!(table.of(ShardId(64)).asked(Op::Scan) && !table.of(ShardId(63)).asked(Op::Scan));
        assert_eq!(table.unplaced().read(Op::Put, Outcome::Ok), 0);
    }

    #[test]
    fn a_shard_beyond_the_table_is_counted_with_the_unplaced() {
        let table = OpTable::default();
        table.of(ShardId(u64::MAX)).count(Op::Get, Outcome::NotFound);
        assert_eq!(table.unplaced().read(Op::Get, Outcome::NotFound), 1);
    }

    #[test]
    fn the_numbers_are_the_positions() {
        assert!(Op::ALL.into_iter().enumerate().all(|(position, op)| op as usize == position));
        assert!(Outcome::ALL.into_iter().enumerate().all(|(position, outcome)| outcome as usize == position));
    }

    #[test]
    fn a_status_without_our_word_is_unknown() {
        assert_eq!(Outcome::of(&Status::unavailable("it broke")), Outcome::Unknown);
        assert_eq!(Outcome::of(&status::unavailable(Some(1), 0, "no leader")), Outcome::Refused);
        assert_eq!(Outcome::of(&status::invalid("key", "empty")), Outcome::Invalid);
    }
}
