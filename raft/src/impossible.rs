//! Messages that no replica sends that keeps to the protocol. They are dropped before they can do harm.
//!
//! A peer that has lost its mind, or a stranger at the peers' door, must not be able to stop a replica, or to make it believe
//! what is not so: that an entry is on a disk where it is not, or that a round was answered that has not begun.
//!
//! What is *not* dropped is proof that this replica itself, or the shard as a whole, has broken its word: two leaders in one
//! term, a committed entry contradicted, a log shorter than what was acknowledged before a restart. There to go on could lose
//! what was committed, and the replica panics.

use crate::id::{Index, LogId, ReplicaId};
use crate::message::{Message, Round, Rpc};
use crate::raft::{Raft, Role};

/// What is impossible about a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// A follower speaks of entries that its leader does not have.
    #[error("{from} speaks of entry {index}, but the log of its leader ends at {last}")]
    Ahead {
        /// The follower.
        from: ReplicaId,
        /// Up to where it says that its log agrees, or that it was sent something.
        index: Index,
        /// The end of the leader's log.
        last: LogId,
    },
    /// A follower answers a round of heartbeats that has not begun.
    #[error("{from} answers round {}, but the last one is {}", .round.0, .last.0)]
    Round {
        /// The follower.
        from: ReplicaId,
        /// The round that it answers.
        round: Round,
        /// The last round of the leader.
        last: Round,
    },
    /// A leader says of a follower that it has acknowledged what it never had.
    #[error("{from} says that {commit} was acknowledged here, but the log ends at {last}")]
    Commit {
        /// The leader.
        from: ReplicaId,
        /// What it says is committed and held here.
        commit: Index,
        /// The end of the follower's log.
        last: LogId,
    },
}

impl Raft {
    /// Whether a message of the current term can be true.
    pub(crate) fn check(&self, message: &Message) -> Result<(), Impossible> {
        let from = message.from;
        match (&self.role, &message.rpc) {
            (Role::Leader(_), Rpc::AppendReply { matched }) => self.check_index(from, *matched),
            (Role::Leader(leader), Rpc::HeartbeatReply { round, sent, accepted, matched, support: _ }) => {
                if *round > leader.round {
                    return Err(Impossible::Round { from, round: *round, last: leader.round });
                }
                self.check_index(from, *sent.max(accepted).max(matched))
            }
            // In the term in which this replica started, it may itself have forgotten what it acknowledged before: that must stop
            // it. In a later one it knows better than the leader.
            (_, Rpc::Heartbeat { commit, .. }) if self.core.term() > self.core.started_in => {
                let last = self.core.log.last();
                if *commit > last.index {
                    return Err(Impossible::Commit { from, commit: *commit, last });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_index(&self, from: ReplicaId, index: Index) -> Result<(), Impossible> {
        let last = self.core.log.last();
        if index > last.index { Err(Impossible::Ahead { from, index, last }) } else { Ok(()) }
    }
}
