//! What the log holds, and what must be durable beside it.

use std::fmt;

use bytes::Bytes;

use crate::configuration::Configuration;
use crate::id::{Index, LogId, ReplicaId, Term};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader appends it to commit what its predecessors left (Raft paper, §8).
    Noop,
    /// A command for the state machine, opaque to Raft.
    Data(Bytes),
    /// The members of the shard from here on.
    Configuration(Configuration),
}

/// One place of the log. Cheap to clone: the data is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place, and the term of the leader that wrote it.
    pub id: LogId,
    /// What it says.
    pub payload: Payload,
}

impl Entry {
    /// What an entry costs beyond its data, in bytes, wherever bytes are counted. An estimate of headers on
    /// the wire and in memory: without it a flood of empty entries would be free.
    pub const OVERHEAD_BYTES: u64 = 32;

    /// The place of the entry.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.id.index
    }

    /// The term of the leader that wrote it.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.id.term
    }

    /// The size of the entry, in bytes, as windows and limits count it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let data = match &self.payload {
            Payload::Noop => 0,
            Payload::Data(data) => data.len(),
            Payload::Configuration(it) => {
                (it.voters.len() + it.outgoing.len() + it.learners.len()) * size_of::<ReplicaId>()
            }
        };
        data as u64 + Self::OVERHEAD_BYTES
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

/// What a replica must not forget, apart from its log (Raft paper, figure 2).
///
/// Term and vote are durable before any message that depends on them leaves. The commit index is saved along
/// with other writes and may lag: it only spares a restarted replica the wait for its leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term that the replica has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<ReplicaId>,
    /// The greatest index known to be committed.
    pub commit: Index,
}
