//! The judge of evenness: what a fleet promises of replicas and leaders when a rebalance has nothing left to do. It counts for itself.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_topology::{NodeId, ShardId};

use super::violation::hold;

/// What is spread over the nodes, as it is at rest: for each shard the nodes that have it, and the node that leads it.
pub type Spread = BTreeMap<ShardId, (BTreeSet<NodeId>, NodeId)>;

/// By how many replicas, or leaderships, two nodes may differ (docs/operations/moving.md).
const DIFFERENCE_MAX: usize = 2;

/// Holds the promise for these nodes: those that are up and stay.
pub fn check_even(spread: &Spread, homes: &BTreeSet<NodeId>) {
    let uneven = uneven(spread, homes);
    hold(uneven.is_none(), "evenness", || {
        format!("{} (the places, and who leads, are {spread:?})", uneven.unwrap_or_default())
    });
}

fn uneven(spread: &Spread, homes: &BTreeSet<NodeId>) -> Option<String> {
    let count = |counts: &dyn Fn(NodeId) -> usize| -> BTreeMap<NodeId, usize> {
        homes.iter().map(|node| (*node, counts(*node))).collect()
    };
    let replicas = count(&|node| spread.values().filter(|(places, _)| places.contains(&node)).count());
    let leaders = count(&|node| spread.values().filter(|(_, leader)| *leader == node).count());
    let far = |counts: &BTreeMap<NodeId, usize>| {
        let (most, least) = (counts.values().max()?, counts.values().min()?);
        (most - least > DIFFERENCE_MAX).then(|| format!("{counts:?}"))
    };
    // The fullest has a shard that the emptiest has not, so places never forbid that.
    if let Some(counts) = far(&replicas) {
        return Some(format!("replicas are uneven: {counts}"));
    }
    let counts = far(&leaders)?;
    // A leadership can only go where there is a replica.
    let better = spread.iter().find_map(|(shard, (places, leader))| {
        let has = leaders.get(leader)?;
        let to = places.iter().find(|node| leaders.get(node).is_some_and(|few| few + 1 < *has))?;
        Some((shard, leader, to))
    });
    better.map(|(shard, from, to)| {
        format!("leaders are uneven: {counts}; {shard} could go from {from} to {to}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards on nodes, the first of which leads.
    fn spread(places: &[&[u64]]) -> Spread {
        let of = |nodes: &[u64]| (nodes.iter().copied().map(NodeId).collect(), NodeId(nodes[0]));
        (0..).map(ShardId).zip(places.iter().map(|nodes| of(nodes))).collect()
    }

    #[test]
    fn who_has_three_more_than_another_has_too_many() {
        let homes = |count| (1..=count).map(NodeId).collect();
        let even: &[&[u64]] = &[&[1, 2, 3], &[2, 1, 4], &[3, 2, 4]];
        assert_eq!(uneven(&spread(even), &homes(4)), None);
        assert!(
            uneven(&spread(even), &homes(5)).is_some_and(|what| what.contains("replicas")),
            "n5 has none"
        );
        let one_leads: &[&[u64]] = &[&[1, 2], &[1, 2], &[1, 2]];
        assert!(uneven(&spread(one_leads), &homes(2)).is_some_and(|what| what.contains("leaders")));
        // n3 leads nothing, and has no replica of what n1 leads.
        let places_forbid: &[&[u64]] = &[&[1, 2], &[1, 2], &[1, 2], &[2, 3], &[2, 3], &[3, 2]];
        let without_replicas = |what: Option<String>| what.filter(|what| what.contains("leaders"));
        assert_eq!(without_replicas(uneven(&spread(places_forbid), &homes(3))), None);
    }
}
