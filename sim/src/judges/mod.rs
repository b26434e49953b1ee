//! The judges: they see everything, and after every step they say whether a promise was broken.
//!
//! | judge | what it holds |
//! | --- | --- |
//! | one leader a term, leader completeness, own term commits, leader append-only, log matching, one vote a term | the Raft paper's figure 3 |
//! | one history, committed in order, durable on a quorum, durable before applied | a committed entry is for ever, whether applied or not, on a quorum of each half of the configuration in force |
//! | members, one change at a time | what is in effect at a replica is the last configuration that it has applied; each follows from the one before |
//! | elected by a quorum | of each half of the configuration in force: learners and who has left never count |
//! | replica ids, ends of replicas | born where a map says so and once; ended when nobody may need them any more |
//! | nodes | who left the fleet is no member ever again, and no shard needs a replica that it had; a member has one directory; the cluster has one id |
//! | evenness | after a rebalance no node that stays has more than two replicas, or leaderships, more than another, unless places forbid it |
//! | reads see what was committed | before they reached the node that served them, by whomever |
//! | one deadline a write | all its attempts carry the same, through whatever router |
//! | durable promises | term, vote and acknowledgement are on the disk before they leave, and what is taken for durable is there |
//! | monotone, order of indexes | no replica goes back while it runs; compacted ≤ in the base ≤ applied ≤ committed ≤ last |
//! | promises kept | no replica asks for a vote, nor gives one, while a promise binds it to another leader |
//! | leases covered | whoever would read by lease has a quorum of each half bound to it, for at least so long in true time |
//! | nobody beside a lease | no other is elected in a later term meanwhile |
//! | equal states, equal bases | the same entries make the same state, by replay, flush or snapshot |
//! | log | after a crash a log holds what was durable, perhaps what was being written, and nothing else; out of service are those whom rot hit, and no others |
//! | out of service | nobody who is, or was when it was replaced, says anything any more, or is born |
//! | sleep | who sleeps has everything, and its nodes hear each other as they did when it fell asleep |
//! | liveness | when faults end, every shard serves, all replicas become equal, moves have ended, with nothing left of who was removed, who asked to join is a member, and who shall be empty is, unless no other node has room |
//! | linearizable | what clients saw, by search and by replay (`flotilla-history`) |
//! | assertion | the product's own |

mod evenness;
mod leases;
mod log_model;
mod logs;
mod matching;
mod members;
mod nodes;
mod reads;
mod replicas;
mod requests;
mod rot;
mod sleepers;
#[cfg(test)]
mod statuses;
mod violation;

pub use evenness::{Spread, check_even};
pub use leases::{Leases, Seat};
pub use logs::Logs;
pub use members::Members;
pub use nodes::Nodes;
pub use reads::Reads;
pub use replicas::Replicas;
pub use requests::Requests;
pub use rot::Rot;
pub use sleepers::Sleepers;
pub use violation::{Violation, hold, violated};

use flotilla_topology::{ClusterMap, NodeId};
use flotilla_wal::{Batch, Record};

/// All of them.
#[derive(Debug, Default)]
pub struct Judges {
    /// The log's.
    pub logs: Logs,
    /// That of promises and leases.
    pub leases: Leases,
    /// That of members.
    pub members: Members,
    /// That of the nodes.
    pub nodes: Nodes,
    /// That of reads.
    pub reads: Reads,
    /// The replicas'.
    pub replicas: Replicas,
    /// That of request ids.
    pub requests: Requests,
    /// What excuses that a log lost something.
    pub rot: Rot,
    /// The sleepers'.
    pub sleepers: Sleepers,
}

impl Judges {
    /// Those of a fleet that was just founded.
    #[must_use]
    pub fn new(map: &ClusterMap) -> Self {
        Self { members: Members::new(map), nodes: Nodes::new(map), ..Self::default() }
    }

    /// A newer map is known.
    pub fn placed(&mut self, map: &ClusterMap) {
        self.members.placed(map);
        let left = self.nodes.placed(map);
        if !left.is_empty() {
            self.check_gone(map);
        }
    }

    /// Nobody needs whoever has left the fleet.
    pub fn check_gone(&self, map: &ClusterMap) {
        for node in self.nodes.gone() {
            for shard in map.shards.keys() {
                self.members.check_gone(*node, *shard, self.replicas.committed(*shard));
            }
        }
    }

    /// A worker handed out a batch. How many entries each of its cuts took off a log.
    pub fn accepted(&mut self, node: NodeId, batch: &Batch) -> Vec<u64> {
        self.members.accepted(node, batch);
        for (shard, record) in batch.records() {
            if let Record::Tombstone { replica } = record {
                self.members.buried(node, *shard, *replica, self.replicas.committed(*shard));
            }
        }
        self.logs.accepted(node, batch)
    }

    /// A batch is durable.
    pub fn durable(&mut self, node: NodeId, batch: &Batch) {
        self.members.durable(node, batch);
        self.logs.durable(node, batch);
    }
}
