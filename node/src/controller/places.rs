//! Where a replica may go.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_topology::{ClusterMap, NodeId, ShardId};

/// How many replicas each node will have when the moves that are under way have ended, as they are meant to.
pub(super) fn loads(map: &ClusterMap) -> BTreeMap<NodeId, usize> {
    let mut loads: BTreeMap<NodeId, usize> = map.nodes.keys().map(|node| (*node, 0)).collect();
    for (shard, info) in &map.shards {
        let gone = map.move_of(*shard).map(|(_, it)| if it.cancelled { it.arriving } else { it.leaving });
        for (_, placement) in info.replicas.iter().filter(|(replica, _)| Some(**replica) != gone) {
            *loads.entry(placement.node).or_default() += 1;
        }
    }
    loads
}

/// The node that should get a replica of a shard: one that is up and stays, has none of it, and has the fewest; of several the
/// lowest id. `not`: who gives it up.
pub(super) fn home(
    map: &ClusterMap,
    loads: &BTreeMap<NodeId, usize>,
    up: &BTreeSet<NodeId>,
    shard: ShardId,
    not: Option<NodeId>,
) -> Option<NodeId> {
    let able = |node: &&NodeId| {
        map.is_home(**node) && Some(**node) != not && map.replica_on(shard, **node).is_none()
    };
    let load = |node: &NodeId| loads.get(node).copied().unwrap_or(0);
    up.iter().filter(able).min_by_key(|node| (load(node), **node)).copied()
}
