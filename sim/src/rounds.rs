//! What a running node keeps of the rounds of the controller (`flotilla_node::controller`): the one that is under way, and who has
//! been silent for how long. It ends with the process, as in a real node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flotilla_node::controller::{FleetSeen, ReplicaSeen, Watch};
use flotilla_raft::{Change, Index, ReplicaId};
use flotilla_topology::{ClusterMap, MoveId, NodeId, ShardId};

/// See the module.
#[derive(Debug, Default)]
pub struct Rounds {
    /// The round under way; 0: none was.
    pub number: u64,
    /// What is asked about.
    pub asked: Arc<BTreeSet<ShardId>>,
    /// It is the second look, at what the first one overlooked.
    pub is_second: bool,
    /// Who has not answered yet.
    pub waiting: BTreeSet<NodeId>,
    /// What was answered.
    pub seen: FleetSeen,
    /// It still waits for answers.
    pub observes: bool,
    /// Who has been silent for how long.
    pub watch: Watch,
    /// The meta shard is known to hold a map.
    pub founded: bool,
}

/// What the controller asks of the leader of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Other members.
    Change {
        /// The shard.
        shard: ShardId,
        /// What shall become of them.
        change: Change,
        /// The configuration on which that was decided.
        derived_from: Index,
    },
    /// Another leader.
    HandOver {
        /// The shard.
        shard: ShardId,
        /// The node that shall lead, if that is decided.
        to: Option<NodeId>,
    },
}

/// Why the map in the meta shard is read or written.
#[derive(Clone, Debug)]
pub enum MapQuestion {
    /// The keeper of the map: something was written there.
    Look,
    /// The keeper: whether there is one.
    Found,
    /// The controller: it has observed, and reads what it decides on.
    Round,
    /// Somebody wants this change, and has tried so often: the map is read.
    Change(flotilla_topology::Change, u32),
    /// The same: it is written.
    Swap(flotilla_topology::Change, u32),
    /// What the controller begins by itself is written; nobody waits.
    Errand,
}

/// What a node says of itself.
#[derive(Debug, Default)]
pub struct Shown {
    /// Its replicas of the shards that it was asked about.
    pub replicas: Vec<(ShardId, ReplicaSeen)>,
    /// All that is out of service there, and the replica ids that are spent.
    pub quarantined: BTreeMap<ShardId, ReplicaId>,
}

impl Shown {
    /// Adds it to what is seen of the fleet.
    pub fn add_to(self, node: NodeId, seen: &mut FleetSeen) {
        seen.up.insert(node);
        if !self.quarantined.is_empty() {
            seen.quarantined.insert(node, self.quarantined);
        }
        for (shard, replica) in self.replicas {
            seen.shards.entry(shard).or_default().replicas.insert(node, replica);
        }
    }
}

impl Rounds {
    /// A look at the fleet begins: the first of a round, or the second.
    pub fn begin(&mut self, number: u64, map: &ClusterMap, asked: BTreeSet<ShardId>, is_second: bool) {
        self.number = number;
        (self.asked, self.is_second) = (Arc::new(asked), is_second);
        self.waiting = map.nodes.keys().copied().collect();
        self.seen = FleetSeen::default();
        self.observes = true;
    }

    /// A node answers. Whether it was the last one.
    pub fn answered(&mut self, number: u64, node: NodeId, shown: Shown) -> bool {
        if !self.observes || number != self.number || !self.waiting.contains(&node) {
            return false;
        }
        shown.add_to(node, &mut self.seen);
        self.failed(number, node)
    }

    /// A node will not answer. Whether it was the last one.
    pub fn failed(&mut self, number: u64, node: NodeId) -> bool {
        self.observes && number == self.number && self.waiting.remove(&node) && self.waiting.is_empty()
    }

    /// It waits for nobody any more. `now`: since the process began.
    pub fn observed(&mut self, now: Duration, grace: Option<Duration>, map: &ClusterMap) {
        self.observes = false;
        if let Some(grace) = grace {
            self.watch.asked(now, grace, map.nodes.keys().copied(), &self.seen.up);
            self.seen.dead = self.watch.dead(now, grace);
        }
    }
}

/// The moves that one map still has and the other not: whether each was finished, or else rolled back.
pub fn ended_moves(before: &ClusterMap, after: &ClusterMap) -> Vec<(MoveId, bool)> {
    let gone = before.moves.iter().filter(|(id, _)| !after.moves.contains_key(id));
    let has = |shard, replica| after.node_of(shard, replica).is_some();
    gone.map(|(id, moving)| (*id, !has(moving.shard, moving.leaving))).collect()
}
