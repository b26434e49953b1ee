//! Nodes that leave: what the map remembers of the wish that a node shall be empty.
//!
//! ```text
//!   Drain          n2 gets no new replicas; the controller moves those that it has
//!   Undrain        it stays after all. What moves already goes on
//!   Remove         n2 is no member any more: only if it has no replica, not even one that is expected
//!   RemoveByForce  as Drain; and as soon as it is empty, the controller removes it
//! ```
//!
//! *The wish is in the map*, so that it outlives whoever carries it out. That a leaving node gets no new replicas is judged here
//! ([`ClusterMap::apply`] refuses the move), where it holds for every controller and every operator.
//!
//! What it does not do: say where the replicas go. The controller of the node does, by what it observes.

use crate::{ClusterMap, NodeId, Refusal, ShardId};

/// What shall become of a node that shall be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It stays a member, until somebody removes it or lets it have replicas again.
    Drained,
    /// It is removed as soon as it is empty.
    Removed,
}

impl ClusterMap {
    /// Whether a node may get replicas: it is a member, and stays one.
    #[must_use]
    pub fn is_home(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node) && !self.leaving.contains_key(&node)
    }

    pub(crate) fn leave(&mut self, node: NodeId, how: Leaving) -> Result<(), Refusal> {
        if !self.nodes.contains_key(&node) {
            return Err(Refusal::UnknownNode { node });
        }
        match self.leaving.get(&node) {
            // Who is being removed is drained already.
            Some(Leaving::Removed) => Err(Refusal::Unchanged),
            Some(before) if *before == how => Err(Refusal::Unchanged),
            _ => {
                self.leaving.insert(node, how);
                Ok(())
            }
        }
    }

    pub(crate) fn stay(&mut self, node: NodeId) -> Result<(), Refusal> {
        if !self.nodes.contains_key(&node) {
            return Err(Refusal::UnknownNode { node });
        }
        self.leaving.remove(&node).map(drop).ok_or(Refusal::Unchanged)
    }

    pub(crate) fn remove_node(&mut self, node: NodeId) -> Result<(), Refusal> {
        if !self.nodes.contains_key(&node) {
            return Err(Refusal::UnknownNode { node });
        }
        let shards: Vec<ShardId> = self.replicas_on(node).map(|(shard, _)| shard).collect();
        if !shards.is_empty() {
            return Err(Refusal::Occupied { node, shards });
        }
        self.nodes.remove(&node);
        self.joined.remove(&node);
        self.leaving.remove(&node);
        self.removed_nodes.insert(node);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::genesis::tests::fleet;
    use crate::{Change, MoveId};

    const ONE: NodeId = NodeId(1);
    const FOUR: NodeId = NodeId(4);

    /// Four nodes, three replicas; node 4 has none of shard 1, and none of the meta shard.
    fn before() -> ClusterMap {
        fleet(4, 1, 3)
    }

    fn apply(map: &ClusterMap, changes: &[Change]) -> Result<ClusterMap, Refusal> {
        changes.iter().try_fold(map.clone(), |map, change| map.apply(change.clone()))
    }

    #[test]
    fn a_node_that_leaves_gets_no_replica_until_it_stays() {
        let drained = apply(&before(), &[Change::Drain { node: FOUR }]).unwrap();
        assert_eq!(drained.leaving[&FOUR], Leaving::Drained);
        let start = Change::StartMove { shard: ShardId(1), from: ONE, to: FOUR };
        assert_eq!(drained.apply(start.clone()).unwrap_err(), Refusal::Leaving { node: FOUR });
        assert_eq!(drained.apply(Change::Drain { node: FOUR }).unwrap_err(), Refusal::Unchanged);
        let stays = drained.apply(Change::Undrain { node: FOUR }).unwrap();
        assert_eq!(stays.apply(start).unwrap().moves.len(), 1);
        assert_eq!(stays.apply(Change::Undrain { node: FOUR }).unwrap_err(), Refusal::Unchanged);
    }

    #[test]
    fn only_an_empty_node_is_removed_and_its_id_never_comes_back() {
        let map = before();
        let refused = map.apply(Change::RemoveNode { node: ONE }).unwrap_err();
        let shards = vec![ShardId(0), ShardId(1)];
        assert_eq!(refused, Refusal::Occupied { node: ONE, shards });
        // A replica that is expected is one.
        let start = Change::StartMove { shard: ShardId(1), from: ONE, to: FOUR };
        let expected = apply(&map, &[start, Change::RemoveNode { node: FOUR }]).unwrap_err();
        assert_eq!(expected, Refusal::Occupied { node: FOUR, shards: vec![ShardId(1)] });

        let mut joined = map.clone();
        joined.joined.insert(FOUR, 44);
        let removed =
            apply(&joined, &[Change::RemoveByForce { node: FOUR }, Change::RemoveNode { node: FOUR }])
                .unwrap();
        assert!(
            !removed.nodes.contains_key(&FOUR) && removed.leaving.is_empty() && removed.joined.is_empty()
        );
        assert_eq!(removed.removed_nodes, BTreeSet::from([FOUR]));
        let info = map.nodes[&FOUR].clone();
        let back = removed.apply(Change::Join { node: FOUR, info, directory: 44 }).unwrap_err();
        assert_eq!(back, Refusal::Removed { node: FOUR });
    }

    #[test]
    fn a_drain_becomes_a_removal_and_not_the_other_way_round() {
        let forced =
            apply(&before(), &[Change::Drain { node: ONE }, Change::RemoveByForce { node: ONE }]).unwrap();
        assert_eq!(forced.leaving[&ONE], Leaving::Removed);
        assert_eq!(forced.apply(Change::Drain { node: ONE }).unwrap_err(), Refusal::Unchanged);
        assert_eq!(apply(&forced, &[Change::Undrain { node: ONE }]).unwrap().leaving.len(), 0);
    }

    #[test]
    fn who_is_no_member_neither_leaves_nor_stays() {
        let nobody = NodeId(9);
        for change in [
            Change::Drain { node: nobody },
            Change::Undrain { node: nobody },
            Change::RemoveNode { node: nobody },
            Change::RemoveByForce { node: nobody },
        ] {
            assert_eq!(before().apply(change).unwrap_err(), Refusal::UnknownNode { node: nobody });
        }
        assert_eq!(before().greatest_move, MoveId(0));
    }
}
