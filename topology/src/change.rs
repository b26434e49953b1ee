//! How the map changes: one pure function decides, wherever it is asked.
//!
//! Whoever changes the map reads it from shard 0, applies a [`Change`], and writes the result by compare-and-swap on the
//! version that it read. If the swap fails, it starts again from the map that won.

use std::fmt;

use flotilla_raft::{Index, ReplicaId};

use crate::{ClusterMap, Fault, Leaving, MoveId, NodeId, NodeInfo, Report, ShardId};

/// One step of the map. More kinds come with ring changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A node is found at other addresses, since its restart.
    SetAddresses {
        /// The node.
        node: NodeId,
        /// All of its addresses.
        info: NodeInfo,
    },
    /// A node with an empty directory comes into the fleet.
    Join {
        /// The node: an id that the fleet never knew.
        node: NodeId,
        /// All of its addresses.
        info: NodeInfo,
        /// The id of its directory. It may ask again under the same.
        directory: u128,
    },
    /// A replica shall move to another node.
    StartMove {
        /// Its shard.
        shard: ShardId,
        /// Where it is.
        from: NodeId,
        /// Where it shall be.
        to: NodeId,
    },
    /// A replica shall be replaced where it is: it is lost, and no other node has room for a replica of its shard. Only the
    /// controller asks for this, of a replica that is out of service: two that live have no place on one node.
    Replace {
        /// Its shard.
        shard: ShardId,
        /// Where it is.
        node: NodeId,
    },
    /// A move shall be undone.
    CancelMove {
        /// The move.
        id: MoveId,
    },
    /// A node shall be empty: it gets no new replicas.
    Drain {
        /// The node.
        node: NodeId,
    },
    /// A node stays after all, and may get replicas again.
    Undrain {
        /// The node.
        node: NodeId,
    },
    /// A node that is empty is no member any more.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// A node shall be empty, and then be no member any more.
    RemoveByForce {
        /// The node.
        node: NodeId,
    },
    /// The leader of a shard says who its members are.
    Report {
        /// The shard.
        shard: ShardId,
        /// What it says.
        report: Report,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAddresses { node, .. } => write!(f, "{node} has other addresses"),
            Self::Join { node, .. } => write!(f, "{node} joins"),
            Self::StartMove { shard, from, to } => write!(f, "{shard} moves from {from} to {to}"),
            Self::Replace { shard, node } => write!(f, "{shard} is replaced on {node}"),
            Self::CancelMove { id } => write!(f, "{id} is undone"),
            Self::Drain { node } => write!(f, "{node} shall be empty"),
            Self::Undrain { node } => write!(f, "{node} stays after all"),
            Self::RemoveNode { node } => write!(f, "{node} is no member any more"),
            Self::RemoveByForce { node } => write!(f, "{node} shall be empty, and no member then"),
            Self::Report { shard, report } => write!(f, "{shard} has the members {}", report.configuration),
        }
    }
}

/// Why a change is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The map says so already: there is nothing to write.
    #[error("the cluster map says so already")]
    Unchanged,
    /// The map does not name this node.
    #[error("{node} is no member of the fleet")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// The node joined before, or founded the fleet, with another directory.
    #[error("{node} is already a member of this fleet, with another directory: it forgot its votes")]
    Forgotten {
        /// The node.
        node: NodeId,
    },
    /// The node was removed.
    #[error("{node} was removed from the fleet, and its id never comes back")]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// The map does not name this shard.
    #[error("there is no {shard}")]
    UnknownShard {
        /// The shard.
        shard: ShardId,
    },
    /// The node has no replica of the shard.
    #[error("{shard} has no replica on {node}")]
    NotMember {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeId,
    },
    /// The node has a replica of the shard already.
    #[error("{shard} has a replica on {node} already")]
    Member {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeId,
    },
    /// The node shall be empty.
    #[error("{node} is being drained: it gets no new replicas")]
    Leaving {
        /// The node.
        node: NodeId,
    },
    /// The node has replicas.
    #[error("{node} has replicas of {}: drain it first (kvctl node drain {})", names(shards), node.0)]
    Occupied {
        /// The node.
        node: NodeId,
        /// The shards.
        shards: Vec<ShardId>,
    },
    /// Another move of the shard is under way.
    #[error("{shard} is being moved already, by {id}")]
    Moving {
        /// The shard.
        shard: ShardId,
        /// Its move.
        id: MoveId,
    },
    /// There is no such move, or no more.
    #[error("no {id} is under way")]
    UnknownMove {
        /// The move.
        id: MoveId,
    },
    /// The new replica votes.
    #[error("{id} can no longer be cancelled: its new replica votes already, and it will finish")]
    TooLate {
        /// The move.
        id: MoveId,
    },
    /// The map has heard as much, or more.
    #[error("{shard} reported the configuration of entry {reported}; that of entry {index} is no news")]
    OldReport {
        /// The shard.
        shard: ShardId,
        /// What is reported.
        index: Index,
        /// What the map knows.
        reported: Index,
    },
    /// A replica would leave the map while its vote may still be needed.
    #[error("{shard}: {replica} is no member any more, but that is not settled")]
    Unsettled {
        /// The shard.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
    },
    /// The map would not be sound.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// As a sentence names them.
fn names(shards: &[ShardId]) -> String {
    let names: Vec<String> = shards.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl ClusterMap {
    /// The map after this change, one epoch on. This map stays as it is.
    ///
    /// # Errors
    ///
    /// The change makes no sense on this map, or would make an unsound one.
    pub fn apply(&self, change: Change) -> Result<Self, Refusal> {
        let mut next = self.clone();
        match change {
            Change::SetAddresses { node, info } => next.set_addresses(node, info)?,
            Change::Join { node, info, directory } => next.join(node, info, directory)?,
            Change::StartMove { shard, from, to } => next.start_move(shard, from, to)?,
            Change::Replace { shard, node } => next.replace(shard, node)?,
            Change::CancelMove { id } => next.cancel_move(id)?,
            Change::Drain { node } => next.leave(node, Leaving::Drained)?,
            Change::Undrain { node } => next.stay(node)?,
            Change::RemoveNode { node } => next.remove_node(node)?,
            Change::RemoveByForce { node } => next.leave(node, Leaving::Removed)?,
            Change::Report { shard, report } => next.report(shard, &report)?,
        }
        next.epoch = self.epoch.next();
        next.validate()?;
        Ok(next)
    }

    fn join(&mut self, node: NodeId, info: NodeInfo, directory: u128) -> Result<(), Refusal> {
        if self.removed_nodes.contains(&node) {
            return Err(Refusal::Removed { node });
        }
        if self.nodes.contains_key(&node) {
            let is_same = self.joined.get(&node) == Some(&directory);
            return Err(if is_same { Refusal::Unchanged } else { Refusal::Forgotten { node } });
        }
        self.nodes.insert(node, info);
        self.joined.insert(node, directory);
        Ok(())
    }

    fn set_addresses(&mut self, node: NodeId, info: NodeInfo) -> Result<(), Refusal> {
        let present = self.nodes.get_mut(&node).ok_or(Refusal::UnknownNode { node })?;
        if *present == info {
            return Err(Refusal::Unchanged);
        }
        *present = info;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::tests::fleet;

    fn at(port: u16) -> NodeInfo {
        let address = format!("ship-{port}.example:{port}");
        NodeInfo { client_addr: address.clone(), peer_addr: address.clone(), http_addr: address }
    }

    #[test]
    fn a_node_that_moved_house_is_found_again() {
        let map = fleet(3, 2, 3);
        let next = map.apply(Change::SetAddresses { node: NodeId(2), info: at(9000) }).unwrap();
        assert_eq!(next.epoch, map.epoch.next());
        assert_eq!(next.nodes[&NodeId(2)], at(9000));
        let back = ClusterMap { epoch: map.epoch, nodes: map.nodes.clone(), ..next };
        assert_eq!(back, map, "nothing else changed");
    }

    /// Lost answers are asked for again; a wiped directory must not come back under its id.
    #[test]
    fn a_node_joins_once_with_one_directory() {
        let map = fleet(3, 2, 3);
        let join = |map: &ClusterMap, node, directory| {
            map.apply(Change::Join { node: NodeId(node), info: at(9000), directory })
        };
        let joined = join(&map, 4, 44).unwrap();
        assert_eq!(joined.nodes[&NodeId(4)], at(9000));
        assert_eq!(joined.replicas_on(NodeId(4)).count(), 0, "it has no replica yet");
        assert_eq!(join(&joined, 4, 44).unwrap_err(), Refusal::Unchanged);
        assert_eq!(join(&joined, 4, 45).unwrap_err(), Refusal::Forgotten { node: NodeId(4) });
        assert_eq!(
            join(&joined, 1, 11).unwrap_err(),
            Refusal::Forgotten { node: NodeId(1) },
            "it founded the fleet"
        );
        let mut shrunk = map.clone();
        shrunk.removed_nodes.insert(NodeId(5));
        assert_eq!(join(&shrunk, 5, 55).unwrap_err(), Refusal::Removed { node: NodeId(5) });
    }

    #[test]
    fn what_changes_nothing_or_nobody_is_refused() {
        let map = fleet(3, 2, 3);
        let set = |node, info| map.apply(Change::SetAddresses { node, info }).unwrap_err();
        assert_eq!(set(NodeId(1), map.nodes[&NodeId(1)].clone()), Refusal::Unchanged);
        assert_eq!(set(NodeId(4), at(9000)), Refusal::UnknownNode { node: NodeId(4) });
        let nowhere = NodeInfo { client_addr: "nowhere".into(), ..at(9000) };
        assert!(matches!(set(NodeId(1), nowhere), Refusal::Fault(Fault::Address { .. })));
    }
}
