//! What replicas say to each other: one variant per RPC.
//!
//! The envelope's term is always the sender's current one, of every message. Messages may be lost, delayed,
//! doubled and reordered; each variant says what follows from its fields alone.

use std::time::Duration;

use crate::entry::Entry;
use crate::id::{Index, LogId, ReplicaId, Term};
use crate::sleep::Life;
use crate::snapshot::SnapshotMeta;
use crate::support::SupportNumber;

/// A message from one replica of a shard to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub from: ReplicaId,
    /// For whom it is.
    pub to: ReplicaId,
    /// The sender's current term.
    pub term: Term,
    /// What it says.
    pub rpc: Rpc,
}

/// Numbers the rounds of heartbeats of one leader. A unique, increasing context per round: an answer to it
/// proves that the sender followed this leader *after* the round began (thesis, §6.4). 0 is before the first
/// round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rpc {
    /// "Would you vote for me?" (thesis, §9.6). Changes nothing at the receiver, not even its term.
    PreVote {
        /// The term that the sender would campaign in; its own is one less.
        campaign: Term,
        /// The last entry of the sender's log.
        last: LogId,
    },
    /// The answer to [`Rpc::PreVote`].
    PreVoteReply {
        /// The term that was asked about.
        campaign: Term,
        /// Whether the sender would vote.
        granted: bool,
        /// The newest entry that the sender knows to be committed. A candidate that holds it knows so too from here
        /// on: among it may be a configuration by which it can be elected (`membership.rs`).
        commit: LogId,
        /// It hears no leader, but promises bind it for so long: before that, asking again is in vain. `None`: nothing of that kind.
        wait: Option<Duration>,
    },
    /// "Vote for me in my term" (Raft paper, §5.2).
    Vote {
        /// The last entry of the sender's log.
        last: LogId,
        /// The leader itself asked for this candidacy ([`Rpc::TimeoutNow`]), so a live leader is no reason to
        /// refuse.
        transfer: bool,
    },
    /// The answer to [`Rpc::Vote`].
    VoteReply {
        /// Whether the sender voted for the receiver, in the envelope's term. The vote is durable.
        granted: bool,
    },
    /// "These entries follow that one" (Raft paper, §5.3). Without entries: a probe for where the logs agree.
    Append {
        /// The entry before the first one here.
        previous: LogId,
        /// Consecutive entries.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// "I hold your log up to here, durably." May come unasked, more than once, and for a part of an append.
    AppendReply {
        /// Everything up to this index is durable at the sender and equal to the leader's log.
        matched: Index,
    },
    /// "Your entries do not follow anything I have."
    AppendRejected {
        /// The index of the `previous` that did not match.
        previous: Index,
        /// The sender's last entry that may still match: not behind `previous`, not of a later term.
        hint: LogId,
    },
    /// "I still lead." Sent at an interval, and at once for reads.
    Heartbeat {
        /// min(commit, the receiver's match index): the receiver surely has this.
        commit: Index,
        /// The last index that the leader sent to this receiver, as far as it knows.
        sent: Index,
        /// The round of heartbeats that this belongs to.
        round: Round,
        /// The life of the sender's node. Who hears another one acknowledges no support: the message is from a process that has
        /// ended, and its successor leads nothing.
        life: Life,
        /// Nothing happens here: the receiver shall sleep, if it can, as long as the nodes hear of each other: its own hears this
        /// `life`, and supports the sender's under this number, which it acknowledged in this term.
        sleep: Option<SupportNumber>,
    },
    /// The answer to [`Rpc::Heartbeat`]. What it says of the log repairs lost appends *and* lost replies
    /// within one round, without a proposal to provoke it.
    HeartbeatReply {
        /// The round that is answered.
        round: Round,
        /// The `sent` that is answered: less was `accepted` only if something was lost (or overtaken) on the
        /// way.
        sent: Index,
        /// Everything up to this index is in the sender's log (perhaps not durably) and equal to the
        /// leader's.
        accepted: Index,
        /// As [`Rpc::AppendReply::matched`].
        matched: Index,
        /// The number under which the sender's node supports the leader's node: while that stands, the sender votes for
        /// nobody else. `None`: it promises nothing.
        support: Option<SupportNumber>,
        /// It sleeps, as this heartbeat asked.
        asleep: bool,
    },
    /// "A snapshot is at your door." The host injects this at the follower once the data is staged there in
    /// full.
    InstallSnapshot {
        /// What the staged snapshot stands for.
        meta: SnapshotMeta,
    },
    /// "Campaign now, without a pre-vote" (thesis, §3.10).
    TimeoutNow,
    /// "Your term is over": the answer to a request from an earlier term. The envelope's term says which one
    /// it is.
    TermOver,
}

impl Rpc {
    /// Whether only a follower sends such a message, to the leader of the envelope's term.
    #[must_use]
    pub const fn is_to_leader(&self) -> bool {
        matches!(self, Self::AppendReply { .. } | Self::AppendRejected { .. } | Self::HeartbeatReply { .. })
    }

    /// Whether it may end in a vote: then the host must say first what binds the receiver ([`crate::Raft::bind`]).
    #[must_use]
    pub const fn is_of_election(&self) -> bool {
        matches!(
            self,
            Self::PreVote { .. }
                | Self::PreVoteReply { .. }
                | Self::Vote { .. }
                | Self::VoteReply { .. }
                | Self::TimeoutNow
        )
    }

    /// Whether only the leader of the envelope's term sends such a message.
    #[must_use]
    pub const fn is_from_leader(&self) -> bool {
        matches!(
            self,
            Self::Append { .. } | Self::Heartbeat { .. } | Self::InstallSnapshot { .. } | Self::TimeoutNow
        )
    }
}
