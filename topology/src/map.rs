//! The cluster map: nodes, shards, replicas and slots of one fleet, under one epoch.
//!
//! It is a value of shard 0, replaced as a whole by compare-and-swap (its encoding: docs/formats/map.md); every node caches
//! it. Ids are never reused, so the map remembers the greatest ones and the removed nodes for ever: a replica id that came
//! back would let a vote of the dead count for the living.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use flotilla_raft::{Configuration, Index, ReplicaId};

use crate::{Epoch, Leaving, Move, MoveId, NodeId, ShardId, Slot, SlotMap, SlotSet};

/// The longest address, in bytes: a host name has at most 253 (RFC 1035), a port at most 5 digits.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// The fleet as the meta shard knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMap {
    /// Drawn at bootstrap, stamped on every data directory.
    pub cluster: u128,
    /// One step per change.
    pub epoch: Epoch,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, NodeInfo>,
    /// The directories of the nodes that joined the running fleet. One that comes back with another has forgotten its votes.
    pub joined: BTreeMap<NodeId, u128>,
    /// Nodes that shall be empty: they get no new replicas.
    pub leaving: BTreeMap<NodeId, Leaving>,
    /// Nodes that were removed. Their ids never come back.
    pub removed_nodes: BTreeSet<NodeId>,
    /// The shards, the meta shard among them.
    pub shards: BTreeMap<ShardId, ShardInfo>,
    /// The greatest shard id ever given.
    pub greatest_shard: ShardId,
    /// Which shard owns each slot. The meta shard owns none.
    pub slots: SlotMap,
    /// The replicas that are on their way, at most one of each shard.
    pub moves: BTreeMap<MoveId, Move>,
    /// The greatest move id ever given.
    pub greatest_move: MoveId,
}

/// Where a node is found. Each address is `host:port`; host names are resolved at each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// For clients: `Kv`, `Cluster`, health, reflection.
    pub client_addr: String,
    /// For other nodes: `Raft`.
    pub peer_addr: String,
    /// For metrics and status pages; empty: it serves none.
    pub http_addr: String,
}

/// One shard: its replicas and its weight on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// The replicas and where they live.
    pub replicas: BTreeMap<ReplicaId, Placement>,
    /// The greatest replica id ever given in this shard.
    pub greatest_replica: ReplicaId,
    /// Its weight on the ring; 0 for the meta shard, which is not on it.
    pub virtual_nodes: u32,
    /// How the shard began. Never changes.
    pub genesis: ShardGenesis,
    /// The index of the configuration that the memberships of the replicas report; 0: the genesis configuration.
    pub reported: Index,
}

/// How a shard began: what each of its first replicas starts from.
///
/// It is kept beside the present members and slots because a slow node may create its replica from a later map: replicas of
/// one shard that started from different states would differ for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardGenesis {
    /// The epoch of the map that first named the shard.
    pub epoch: Epoch,
    /// The slots that it owned then.
    pub slots: SlotSet,
    /// Its voters and their nodes then.
    pub voters: BTreeMap<ReplicaId, NodeId>,
}

/// Where a replica lives and whether it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its node.
    pub node: NodeId,
    /// Whether it counts.
    pub membership: Membership,
}

/// Whether a replica counts in its shard's decisions. The shard's own log is the truth; this is the latest report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It counts.
    Voter,
    /// It receives the log only.
    Learner,
    /// It has an id and a node, so that it may be created and proposed. No report named it yet.
    Expected,
}

/// What is wrong with a map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The map has no node at all.
    #[error("the cluster map names no node")]
    NoNodes,
    /// An address that nobody could connect to.
    #[error("{node}: {address:?} is not an address of the form host:port")]
    Address {
        /// Whose it is.
        node: NodeId,
        /// What it says.
        address: String,
    },
    /// A node is listed and removed at once.
    #[error("{node} is a member although it was removed")]
    NodeCameBack {
        /// The node.
        node: NodeId,
    },
    /// Shard 0 is missing, or has a weight on the ring.
    #[error("the meta shard is missing or stands on the ring")]
    NoMetaShard,
    /// A shard id beyond the greatest one ever given.
    #[error("{shard} is beyond the greatest shard ever given, {greatest}")]
    ShardBeyond {
        /// The shard.
        shard: ShardId,
        /// The greatest one.
        greatest: ShardId,
    },
    /// A replica id of 0 or beyond the greatest one ever given.
    #[error("{shard}: {replica} is not among the replicas ever given, r1 to {greatest}")]
    ReplicaBeyond {
        /// The shard.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The greatest one.
        greatest: ReplicaId,
    },
    /// A shard without a voter can never do anything.
    #[error("{shard} has no voter")]
    NoVoters {
        /// The shard.
        shard: ShardId,
    },
    /// A replica on a node that the map does not name.
    #[error("{shard}: {replica} lives on {node}, which is no member")]
    StrayReplica {
        /// The shard.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
        /// The unknown node.
        node: NodeId,
    },
    /// Two replicas of one shard would fail together.
    #[error("{shard} has two replicas on {node}")]
    CrowdedNode {
        /// The shard.
        shard: ShardId,
        /// The node of both.
        node: NodeId,
    },
    /// Somebody joined, but is no member.
    #[error("{node} joined the fleet and is no member")]
    StrayJoiner {
        /// The node.
        node: NodeId,
    },
    /// Somebody leaves, but is no member.
    #[error("{node} leaves the fleet and is no member")]
    StrayLeaver {
        /// The node.
        node: NodeId,
    },
    /// A move id of 0 or beyond the greatest one ever given.
    #[error("{id} is not among the moves ever given, m1 to {greatest}")]
    MoveBeyond {
        /// The move.
        id: MoveId,
        /// The greatest one.
        greatest: MoveId,
    },
    /// A move of replicas that are not where it says.
    #[error("{id} moves a replica of {shard} that is not there")]
    StrayMove {
        /// The move.
        id: MoveId,
        /// The shard.
        shard: ShardId,
    },
    /// Two moves of one shard.
    #[error("{shard} is moved twice at once")]
    CrowdedMove {
        /// The shard.
        shard: ShardId,
    },
    /// A slot without a home.
    #[error("slots are owned by {shard}, which is no shard that may own them")]
    StraySlots {
        /// The owner.
        shard: ShardId,
    },
}

impl ClusterMap {
    /// The shard that owns a slot.
    #[must_use]
    pub fn shard_of(&self, slot: Slot) -> ShardId {
        self.slots.owner(slot)
    }

    /// The slots of a shard.
    #[must_use]
    pub fn slots_of(&self, shard: ShardId) -> SlotSet {
        self.slots.slots_of(shard)
    }

    /// The replica of a shard on a node, if there is one; of two, the one that is being replaced there.
    #[must_use]
    pub fn replica_on(&self, shard: ShardId, node: NodeId) -> Option<ReplicaId> {
        let replicas = &self.shards.get(&shard)?.replicas;
        replicas.iter().find(|(_, placement)| placement.node == node).map(|(replica, _)| *replica)
    }

    /// All replicas on a node, in the order of their shards.
    pub fn replicas_on(&self, node: NodeId) -> impl Iterator<Item = (ShardId, ReplicaId)> {
        self.shards.iter().flat_map(move |(shard, info)| {
            let here = info.replicas.iter().filter(move |(_, placement)| placement.node == node);
            here.map(move |(replica, _)| (*shard, *replica))
        })
    }

    /// The node of a replica.
    #[must_use]
    pub fn node_of(&self, shard: ShardId, replica: ReplicaId) -> Option<NodeId> {
        Some(self.shards.get(&shard)?.replicas.get(&replica)?.node)
    }

    /// The nodes of a shard in the order in which they should lead it: by replica id. The planner gives the lowest id to
    /// the node that it means to lead. Who does not vote is left out.
    pub fn preference(&self, shard: ShardId) -> impl Iterator<Item = NodeId> {
        let replicas = self.shards.get(&shard).into_iter().flat_map(|info| info.replicas.values());
        replicas.filter(|placement| placement.membership == Membership::Voter).map(|placement| placement.node)
    }

    /// Checks everything that must hold of every map.
    ///
    /// # Errors
    ///
    /// The first fault found.
    pub fn validate(&self) -> Result<(), Fault> {
        if self.nodes.is_empty() {
            return Err(Fault::NoNodes);
        }
        for (node, info) in &self.nodes {
            info.validate(*node)?;
            if self.removed_nodes.contains(node) {
                return Err(Fault::NodeCameBack { node: *node });
            }
        }
        if self.shards.get(&ShardId::META).is_none_or(|meta| meta.virtual_nodes > 0) {
            return Err(Fault::NoMetaShard);
        }
        for (shard, info) in &self.shards {
            if *shard > self.greatest_shard {
                return Err(Fault::ShardBeyond { shard: *shard, greatest: self.greatest_shard });
            }
            self.validate_shard(*shard, info)?;
        }
        if let Some(node) = self.joined.keys().find(|node| !self.nodes.contains_key(node)) {
            return Err(Fault::StrayJoiner { node: *node });
        }
        if let Some(node) = self.leaving.keys().find(|node| !self.nodes.contains_key(node)) {
            return Err(Fault::StrayLeaver { node: *node });
        }
        self.validate_moves()?;
        let stray = |shard: &ShardId| *shard == ShardId::META || !self.shards.contains_key(shard);
        match self.slots.runs().iter().map(|run| run.shard).find(stray) {
            Some(shard) => Err(Fault::StraySlots { shard }),
            None => Ok(()),
        }
    }

    fn validate_moves(&self) -> Result<(), Fault> {
        let mut moving = BTreeSet::new();
        for (id, it) in &self.moves {
            let (id, shard) = (*id, it.shard);
            if id == MoveId(0) || id > self.greatest_move {
                return Err(Fault::MoveBeyond { id, greatest: self.greatest_move });
            }
            let is_there = |replica, node| self.node_of(shard, replica) == Some(node);
            if !is_there(it.leaving, it.from) || !is_there(it.arriving, it.to) || it.leaving == it.arriving {
                return Err(Fault::StrayMove { id, shard });
            }
            if !moving.insert(shard) {
                return Err(Fault::CrowdedMove { shard });
            }
        }
        Ok(())
    }

    fn validate_shard(&self, shard: ShardId, info: &ShardInfo) -> Result<(), Fault> {
        let mut homes = BTreeSet::new();
        for (replica, placement) in &info.replicas {
            let (replica, node) = (*replica, placement.node);
            if replica == ReplicaId(0) || replica > info.greatest_replica {
                return Err(Fault::ReplicaBeyond { shard, replica, greatest: info.greatest_replica });
            }
            if !self.nodes.contains_key(&node) {
                return Err(Fault::StrayReplica { shard, replica, node });
            }
            let replaced = |it: &Move| it.from == it.to && it.from == node && it.arriving == replica;
            if !homes.insert(node) && !self.move_of(shard).is_some_and(|(_, it)| replaced(it)) {
                return Err(Fault::CrowdedNode { shard, node });
            }
        }
        if info.configuration().voters.is_empty() || info.genesis.voters.is_empty() {
            return Err(Fault::NoVoters { shard });
        }
        let beyond = |replica: &&ReplicaId| **replica > info.greatest_replica;
        match info.genesis.voters.keys().find(beyond) {
            Some(replica) => {
                Err(Fault::ReplicaBeyond { shard, replica: *replica, greatest: info.greatest_replica })
            }
            None => Ok(()),
        }
    }
}

impl ShardInfo {
    /// The members as a Raft configuration: what a new shard starts from.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        let of = |membership| {
            let chosen =
                self.replicas.iter().filter(move |(_, placement)| placement.membership == membership);
            chosen.map(|(replica, _)| *replica).collect()
        };
        Configuration {
            voters: of(Membership::Voter),
            outgoing: BTreeSet::new(),
            learners: of(Membership::Learner),
        }
    }
}

impl NodeInfo {
    /// Checks that the addresses have the form `host:port`. Only the one for HTTP may be empty.
    ///
    /// # Errors
    ///
    /// [`Fault::Address`], naming the first that has not.
    pub fn validate(&self, node: NodeId) -> Result<(), Fault> {
        let http = Some(&self.http_addr).filter(|address| !address.is_empty());
        for address in [&self.client_addr, &self.peer_addr].into_iter().chain(http) {
            let (host, port) = address.rsplit_once(':').unwrap_or_default();
            let port = port.parse::<u16>().unwrap_or(0);
            let plain = !address.contains(|c: char| c.is_whitespace() || c.is_control());
            if host.is_empty() || port == 0 || !plain || address.len() > ADDRESS_BYTES_MAX {
                return Err(Fault::Address { node, address: address.clone() });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Expected => "expected",
        })
    }
}

#[cfg(test)]
mod tests;
