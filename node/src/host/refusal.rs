//! Why a request was not served, and whether it may have been executed all the same.

use flotilla_raft::{ConfigurationError, Term};
use flotilla_topology::{NodeId, ShardId};

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No replica of this shard lives here.
    #[error("{shard} has no replica on this node")]
    NotHosted {
        /// The shard.
        shard: ShardId,
    },
    /// Another replica leads, or none.
    #[error("{shard} is not led from this node")]
    NotLeader {
        /// The shard.
        shard: ShardId,
        /// The term in which that is known.
        term: Term,
        /// The node that leads, if known.
        leader: Option<NodeId>,
    },
    /// A bounded queue is full; surely not executed.
    #[error("{shard} is overloaded: {what} is full")]
    Overloaded {
        /// The shard.
        shard: ShardId,
        /// Which bound.
        what: &'static str,
    },
    /// The leadership is on its way to another replica; surely not executed.
    #[error("the leadership of {shard} is being transferred")]
    Transferring {
        /// The shard.
        shard: ShardId,
    },
    /// The deadline in the request id lies too far ahead of shard time; surely not executed.
    #[error("the deadline is more than {deadline_max_ms} ms ahead of the shard time {time_ms}")]
    DeadlineTooFar {
        /// The shard time, in milliseconds.
        time_ms: u64,
        /// The greatest distance allowed, in milliseconds.
        deadline_max_ms: u64,
    },
    /// The command would not fit an entry; surely not executed.
    #[error("the operation has {bytes} bytes, more than {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Leadership was lost between proposal and commit: it may have been executed.
    #[error("the leader of {shard} lost its office; the outcome is unknown")]
    Unknown {
        /// The shard.
        shard: ShardId,
    },
    /// Leadership was lost before a read was confirmed; a read has no effect, so it is definite.
    #[error("the leader of {shard} lost its office before the read was confirmed")]
    ReadLost {
        /// The shard.
        shard: ShardId,
    },
    /// The members cannot be changed so, or not now; nothing was done.
    #[error("{shard}: {error}")]
    Members {
        /// The shard.
        shard: ShardId,
        /// Why.
        #[source]
        error: ConfigurationError,
    },
    /// This cannot be done as asked; nothing was done.
    #[error("{reason}")]
    Impossible {
        /// Why.
        reason: String,
    },
}

impl Refusal {
    /// Whether the request was surely not executed.
    #[must_use]
    pub const fn definite(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}
