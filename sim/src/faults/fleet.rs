//! What operators do to the fleet as a whole: nodes join, leave, and are lost.

use std::sync::Arc;

use flotilla_node::controller::plan_emptying;
use flotilla_topology::{Change, Leaving, NodeId};

use crate::world::World;

/// Of 1000 joins, how many are tried under an id that the fleet knows, or knew.
const KNOWN_ID_PERMILLE: u64 = 350;

impl World {
    pub(super) fn grow(&mut self) -> bool {
        let joined = self.node_ids().len() as u64 - self.scenario.nodes;
        if joined >= self.scenario.joiners || self.operators.permille(KNOWN_ID_PERMILLE) {
            return self.join_under_a_known_id();
        }
        self.one_more_node();
        true
    }

    /// Who is drained already is removed, also where it is not empty yet: the map refuses that. Else a node is drained that the others
    /// have room for, as `kvctl` has it looked at first.
    pub(super) fn remove(&mut self) -> bool {
        let map = Arc::clone(&self.map);
        let drained = map.leaving.iter().find(|(_, how)| **how == Leaving::Drained);
        if let Some(node) = drained.map(|(node, _)| *node) {
            return self.can_spare(node) && self.wish(Change::RemoveNode { node });
        }
        let able: Vec<NodeId> = self.homes().into_iter().filter(|node| self.can_spare(*node)).collect();
        let Some(node) = self.operators.pick(&able).copied() else { return false };
        let seen = self.seen_now();
        plan_emptying(&map, &seen, node).is_ok() && self.drain_to_leave(node)
    }

    /// One at a time, and only where the others have room for its replicas.
    pub(super) fn lose(&mut self) -> bool {
        if !self.fleet.lost.is_empty() {
            return false;
        }
        let now_us = self.now_us;
        let mut able = self.homes();
        able.retain(|node| self.can_spare(*node) && self.faults.may_suffer(*node, now_us));
        let Some(node) = self.operators.pick(&able).copied() else { return false };
        self.lose_machine(node);
        true
    }
}
