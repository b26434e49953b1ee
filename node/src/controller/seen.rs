//! What the replicas of a shard say, as far as a move has to do with it.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_raft::{Configuration, Index, ProgressKind, ReplicaId, Term};
use flotilla_store::disk::Room;
use flotilla_topology::{NodeId, ShardId};

/// Several shards, and who answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetSeen {
    /// The shards that were asked about.
    pub shards: BTreeMap<ShardId, ShardSeen>,
    /// The nodes that answered.
    pub up: BTreeSet<NodeId>,
    /// The nodes that have not answered for so long that their replicas shall be replaced.
    pub dead: BTreeSet<NodeId>,
    /// The shards that are out of service on a node, by its own word, and the replica ids that are spent there: all up to this.
    pub quarantined: BTreeMap<NodeId, BTreeMap<ShardId, ReplicaId>>,
    /// The room on the disks of those that told it.
    pub rooms: BTreeMap<NodeId, Room>,
}

/// One shard, as the nodes that answered see it. They answered at slightly different moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardSeen {
    /// The replica of each node that has one.
    pub replicas: BTreeMap<NodeId, ReplicaSeen>,
}

/// What one replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSeen {
    /// Who it is.
    pub replica: ReplicaId,
    /// Its term.
    pub term: Term,
    /// Whether it leads, by its own word.
    pub leads: bool,
    /// The members, as it has applied them.
    pub configuration: Configuration,
    /// The index of the entry that brought them.
    pub configuration_index: Index,
    /// On a leader: nobody needs the vote of a replica that the configuration does not name.
    pub settled: bool,
    /// On a leader: how far the others are.
    pub followers: BTreeMap<ReplicaId, FollowerSeen>,
    /// Keys and values in its base, in bytes.
    pub bytes: u64,
}

/// A follower or learner, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerSeen {
    /// Entries of the leader's log that it is not known to have.
    pub lag: u64,
    /// How it is sent entries.
    pub state: ProgressKind,
    /// Whether it was heard within the election timeout.
    pub active: bool,
    /// How much of a snapshot was sent to it in the present stream, in bytes.
    pub bytes_sent: u64,
}

impl FleetSeen {
    /// Keys and values of a shard, in bytes, as its leader has them; 0: unknown.
    pub(super) fn bytes(&self, shard: ShardId) -> u64 {
        self.shards.get(&shard).and_then(ShardSeen::leader).map_or(0, |(_, leader)| leader.bytes)
    }
}

impl ShardSeen {
    /// Who leads, by its own word, in the greatest term that any replica names. One of an older term does not know yet that it
    /// was replaced: to ask it for anything would be in vain, though not wrong.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, &ReplicaSeen)> {
        let term = self.replicas.values().map(|seen| seen.term).max()?;
        let leads = |(_, seen): &(&NodeId, &ReplicaSeen)| seen.leads && seen.term == term;
        self.replicas.iter().find(leads).map(|(node, seen)| (*node, seen))
    }

    /// Whether this replica was seen on this node.
    #[must_use]
    pub fn has(&self, node: NodeId, replica: ReplicaId) -> bool {
        self.replicas.get(&node).is_some_and(|seen| seen.replica == replica)
    }
}

impl ReplicaSeen {
    /// Whether a leader counts on this member: itself, or one that it heard lately.
    pub(super) fn is_heard(&self, member: ReplicaId) -> bool {
        member == self.replica || self.followers.get(&member).is_some_and(|follower| follower.active)
    }
}
