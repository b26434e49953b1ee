//! How the map changes: one pure function decides, wherever it is asked.
//!
//! Whoever changes the map reads it from shard 0, applies a [`Change`], and writes the result by compare-and-swap on the
//! version that it read. If the swap fails, it starts again from the map that won.

use crate::{ClusterMap, Fault, NodeId, NodeInfo};

/// One step of the map. More kinds come with joining, moving and ring changes.
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
    /// The map would not be sound.
    #[error(transparent)]
    Fault(#[from] Fault),
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
        }
        next.epoch = self.epoch.next();
        next.validate()?;
        Ok(next)
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
