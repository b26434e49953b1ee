//! What can go wrong between the state machine and its base.

use flotilla_topology::ShardId;

use crate::base::BaseError;
use crate::digest::Digest;
use crate::encoding::DecodeError;

/// A failure of a read, a flush, a start or a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base failed.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// A record of the base cannot be read: damaged, or written by a newer release.
    #[error("{shard}: {source} (in {record} of the base)")]
    Record {
        /// The shard.
        shard: ShardId,
        /// Which record.
        record: &'static str,
        /// Why.
        source: DecodeError,
    },
    /// A record that must be there is not.
    #[error("{shard}: {record} of generation {generation} is missing in the base")]
    Missing {
        /// The shard.
        shard: ShardId,
        /// The generation.
        generation: u64,
        /// Which record.
        record: &'static str,
    },
    /// The base holds another generation than the one that was to be written: a snapshot became current
    /// meanwhile.
    #[error("{shard}: generation {generation} is not current in the base ({current:?} is)")]
    Generation {
        /// The shard.
        shard: ShardId,
        /// The generation that was expected.
        generation: u64,
        /// The one that is current.
        current: Option<u64>,
    },
    /// What is stored does not have the digest that was kept for it.
    #[error("{shard}: digest of {record} is {found}, expected {expected}")]
    Digest {
        /// The shard.
        shard: ShardId,
        /// Of what.
        record: &'static str,
        /// The digest kept.
        expected: Digest,
        /// The digest computed.
        found: Digest,
    },
}
