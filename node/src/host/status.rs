//! What a replica looks like from outside.

use flotilla_raft::{Configuration, Index, LogId, ProgressKind, ReplicaId, RoleKind, Sign, Term, Time};
use flotilla_topology::{NodeId, ShardId};

/// One replica, as its worker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The shard.
    pub shard: ShardId,
    /// The replica.
    pub replica: ReplicaId,
    /// What it is.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in this term.
    pub vote: Option<ReplicaId>,
    /// On a leader: until when it answers reads alone, on its node's clock (perhaps in the past); nothing: it has no lease.
    pub lease: Option<Time>,
    /// The replica that leads, if known.
    pub leader: Option<ReplicaId>,
    /// Its node, if known.
    pub leader_node: Option<NodeId>,
    /// The nodes that have to go on showing these signs while it sleeps; empty, if it is awake.
    pub watched: Vec<(NodeId, Sign)>,
    /// The newest entry known to be committed.
    pub commit: Index,
    /// The newest entry applied.
    pub applied: LogId,
    /// The newest entry whose effect is in the base.
    pub durable: LogId,
    /// The newest entry of the log.
    pub last: Index,
    /// The newest entry that is durable in this node's log.
    pub persisted: Index,
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
    /// Who counts, who only listens.
    pub configuration: Configuration,
    /// The index of the entry that brought the configuration.
    pub configuration_index: Index,
    /// On a leader: whether nobody needs a replica that the configuration does not name, so that it may be retired.
    pub settled: bool,
    /// On a leader: what it knows of the others.
    pub followers: Vec<FollowerStatus>,
}

impl ReplicaStatus {
    /// Whether it sleeps: it owns no timer, sends nothing, and the nodes speak for all.
    #[must_use]
    pub fn sleeps(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.role == RoleKind::Leader
    }
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
    /// The next entry that it will be sent.
    pub next: Index,
    /// How it is being sent entries.
    pub state: ProgressKind,
    /// Whether it was heard of lately.
    pub active: bool,
}
