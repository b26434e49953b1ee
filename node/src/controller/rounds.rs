//! A round of the controller: what it has to ask about, and what follows from the answers.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_topology::{ClusterMap, Leaving, MoveId, NodeId, ShardId};

use super::errands::{Errands, errands};
use super::plan::{Decision, next};
use super::seen::{FleetSeen, ShardSeen};

/// What a round shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// What begins by itself.
    pub errands: Errands,
    /// The next step of each move that is under way.
    pub moves: Vec<(MoveId, ShardId, Decision)>,
}

impl Orders {
    /// Whether anything is under way or about to be.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.moves.is_empty() || !self.errands.changes.is_empty() || !self.errands.hand_overs.is_empty()
    }
}

/// Whether there is anything to do beside asking who is alive.
#[must_use]
pub fn is_work(map: &ClusterMap) -> bool {
    let is_unfinished = |node: &NodeId| {
        map.leaving.get(node) == Some(&Leaving::Removed) || map.replicas_on(*node).next().is_some()
    };
    !map.moves.is_empty() || map.leaving.keys().any(is_unfinished)
}

/// The shards that move or should: those of moves, of nodes that leave, and of nodes that are dead.
#[must_use]
pub fn concerned(map: &ClusterMap, dead: &BTreeSet<NodeId>) -> BTreeSet<ShardId> {
    let from = map.leaving.keys().chain(dead).flat_map(|node| map.replicas_on(*node));
    let moving = map.moves.values().map(|moving| moving.shard);
    from.map(|(shard, _)| shard).chain(moving).collect()
}

/// What is out of service and was not asked about: only the answers told of it. What the others see of these shards is asked in a
/// second look.
#[must_use]
pub fn overlooked(asked: &BTreeSet<ShardId>, seen: &FleetSeen) -> BTreeSet<ShardId> {
    let out = seen.quarantined.values().flat_map(BTreeMap::keys);
    out.filter(|shard| !asked.contains(shard)).copied().collect()
}

/// What shall be done now. `seen` was observed before the map was read: whoever saw what came of a cancellation reads the
/// cancellation.
#[must_use]
pub fn orders(map: &ClusterMap, seen: &FleetSeen) -> Orders {
    let nothing = ShardSeen::default();
    let decide = |(id, moving): (&MoveId, &flotilla_topology::Move)| {
        let seen = seen.shards.get(&moving.shard).unwrap_or(&nothing);
        (*id, moving.shard, next(map, moving, seen))
    };
    Orders { errands: errands(map, seen), moves: map.moves.iter().map(decide).collect() }
}
