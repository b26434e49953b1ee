//! What a replica looks like from outside.

use flotilla_raft::{Index, LogId, ReplicaId, Term};
use flotilla_topology::{NodeId, ShardId};

/// One replica, as its worker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The shard.
    pub shard: ShardId,
    /// The replica.
    pub replica: ReplicaId,
    /// Whether it leads.
    pub leads: bool,
    /// Its term.
    pub term: Term,
    /// The node that leads, if known.
    pub leader: Option<NodeId>,
    /// The newest entry known to be committed.
    pub commit: Index,
    /// The newest entry applied.
    pub applied: LogId,
    /// The newest entry whose effect is in the base.
    pub durable: LogId,
    /// The newest entry of the log.
    pub last: Index,
    /// The entry up to which the log was compacted.
    pub compacted: Index,
    /// The version counter.
    pub version: u64,
    /// The shard time, in milliseconds.
    pub time_ms: u64,
    /// How many slots the shard owns.
    pub slots: usize,
    /// The bytes of the overlay that are not in the base.
    pub overlay_bytes: usize,
    /// The voters.
    pub voters: Vec<ReplicaId>,
    /// On a leader: what it knows of the others.
    pub followers: Vec<FollowerStatus>,
}

/// A follower, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The follower.
    pub replica: ReplicaId,
    /// The node where it lives, if known.
    pub node: Option<NodeId>,
    /// The newest entry known to stand in its log.
    pub matched: Index,
    /// Whether it is being sent a snapshot.
    pub snapshot: bool,
    /// Whether it was heard of lately.
    pub active: bool,
}
