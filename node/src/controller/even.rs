//! Which moves and hand-overs would spread replicas and leaders evenly over the nodes.
//!
//! *With hysteresis*: where the fullest node has at most [`SPREAD_MAX`] more than the emptiest, nothing is planned, because a move costs
//! more than that harms. Where it has more, the plan goes all the way to a difference of one, so that it is not needed again soon. A plan that
//! was carried out is followed by none.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_raft::ProgressKind;
use flotilla_topology::{ClusterMap, Membership, NodeId, ShardId};

use super::errands::{HandOver, Planned};
use super::places::Places;
use super::plan::CAUGHT_UP_ENTRIES_MAX;
use super::seen::{FleetSeen, ShardSeen};

/// How many more replicas, or leaderships, the fullest node may have than the emptiest before anything is planned.
pub const SPREAD_MAX: usize = 2;

/// What would spread replicas and leaders evenly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evening {
    /// Moves, in an order in which each makes sense.
    pub moves: Vec<Planned>,
    /// Leaderships. Only planned where no replica has to move: who leads is known when they have.
    pub hand_overs: Vec<HandOver>,
}

/// The plan for the fleet as it is. Nodes that are down or leave take no part in it, nor do shards that move; what has no
/// room on its disk gets nothing.
#[must_use]
pub fn even(map: &ClusterMap, seen: &FleetSeen) -> Evening {
    let homes: BTreeSet<NodeId> = seen.up.iter().copied().filter(|node| map.is_home(*node)).collect();
    let moves = even_replicas(map, seen, &homes);
    let hand_overs = if moves.is_empty() { even_leaders(map, seen, &homes) } else { Vec::new() };
    Evening { moves, hand_overs }
}

fn even_replicas(map: &ClusterMap, seen: &FleetSeen, homes: &BTreeSet<NodeId>) -> Vec<Planned> {
    let mut room = Places::of(map, seen);
    let mut counts = room.loads().clone();
    counts.retain(|node, _| homes.contains(node));
    if spread(&counts) <= SPREAD_MAX {
        return Vec::new();
    }
    let resting = map.shards.keys().filter(|shard| map.move_of(**shard).is_none());
    let mut places: BTreeMap<ShardId, BTreeSet<NodeId>> = resting
        .map(|shard| (*shard, map.shards[shard].replicas.values().map(|placement| placement.node).collect()))
        .collect();
    let mut moves: Vec<Planned> = Vec::new();
    loop {
        let best = pairs(&counts).into_iter().find_map(|(from, to)| {
            let able = places.iter().filter(|(shard, nodes)| {
                nodes.contains(&from) && !nodes.contains(&to) && room.has_room(**shard, to)
            });
            let planned = able.map(|(shard, _)| planned(seen, *shard, from, to));
            planned.min_by_key(|it| (it.leads, it.bytes, it.shard))
        });
        let Some(it) = best else { return moves };
        if let Some(nodes) = places.get_mut(&it.shard) {
            nodes.remove(&it.from);
            nodes.insert(it.to);
        }
        shift(&mut counts, it.from, it.to);
        room.take(it.shard, it.to);
        moves.push(it);
    }
}

fn planned(seen: &FleetSeen, shard: ShardId, from: NodeId, to: NodeId) -> Planned {
    let leader = seen.shards.get(&shard).and_then(ShardSeen::leader);
    Planned { shard, from, to, bytes: seen.bytes(shard), leads: leader.is_some_and(|(at, _)| at == from) }
}

fn even_leaders(map: &ClusterMap, seen: &FleetSeen, homes: &BTreeSet<NodeId>) -> Vec<HandOver> {
    let mut counts: BTreeMap<NodeId, usize> = homes.iter().map(|node| (*node, 0)).collect();
    let mut leaders = BTreeMap::new();
    for (shard, shown) in &seen.shards {
        let Some((at, _)) = shown.leader().filter(|(at, _)| homes.contains(at)) else { continue };
        *counts.entry(at).or_default() += 1;
        if map.move_of(*shard).is_none() {
            leaders.insert(*shard, at);
        }
    }
    if spread(&counts) <= SPREAD_MAX {
        return Vec::new();
    }
    let mut hand_overs: Vec<HandOver> = Vec::new();
    loop {
        let open = |shard: ShardId| !hand_overs.iter().any(|it| it.shard == shard);
        let best = pairs(&counts).into_iter().find_map(|(at, to)| {
            let mut able = leaders.iter().filter(|(shard, leader)| {
                **leader == at && open(**shard) && could_lead(map, seen, **shard, to)
            });
            able.next().map(|(shard, _)| HandOver { shard: *shard, at, to })
        });
        let Some(it) = best else { return hand_overs };
        shift(&mut counts, it.at, it.to);
        hand_overs.push(it);
    }
}

/// Whether a node has a voter of a shard that could lead it at once.
fn could_lead(map: &ClusterMap, seen: &FleetSeen, shard: ShardId, node: NodeId) -> bool {
    let Some(replica) = map.replica_on(shard, node) else { return false };
    let votes =
        map.shards[&shard].replicas.get(&replica).is_some_and(|it| it.membership == Membership::Voter);
    let leader = seen.shards.get(&shard).and_then(ShardSeen::leader).map(|(_, leader)| leader);
    let follower = leader.and_then(|leader| leader.followers.get(&replica));
    votes
        && follower.is_some_and(|it| {
            it.active && it.state == ProgressKind::Replicate && it.lag <= CAUGHT_UP_ENTRIES_MAX
        })
}

fn spread(counts: &BTreeMap<NodeId, usize>) -> usize {
    counts.values().max().unwrap_or(&0) - counts.values().min().unwrap_or(&0)
}

fn shift(counts: &mut BTreeMap<NodeId, usize>, from: NodeId, to: NodeId) {
    *counts.entry(from).or_default() -= 1;
    *counts.entry(to).or_default() += 1;
}

/// From whom to whom one more step makes it more even, where the difference is greatest first.
fn pairs(counts: &BTreeMap<NodeId, usize>) -> Vec<(NodeId, NodeId)> {
    let each =
        counts.iter().flat_map(|(from, many)| counts.iter().map(move |(to, few)| (from, many, to, few)));
    let mut pairs: Vec<_> = each
        .filter_map(|(from, many, to, few)| Some((many.checked_sub(*few).filter(|it| *it > 1)?, *from, *to)))
        .collect();
    pairs.sort_by_key(|(difference, from, to)| (std::cmp::Reverse(*difference), *from, *to));
    pairs.into_iter().map(|(_, from, to)| (from, to)).collect()
}
