//! What operators ask of whole nodes: to be emptied, to stay after all, to leave the fleet; and of all nodes: to be even.

use std::collections::BTreeSet;

use flotilla_topology::{Change, ClusterMap, NodeId, Refusal, ShardId};
use tonic::Status;
use tracing::info;

use super::driver::Mover;
use crate::api::refusals;
use crate::controller::{Evening, FleetSeen, Obstacle, Planned, check_force, even, plan_emptying};
use crate::runtime::NotChanged;

/// What shall become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// It shall be empty.
    Drain,
    /// It stays after all.
    Undrain,
    /// It is empty, and shall be no member.
    Remove,
    /// It is dead: its replicas shall be replaced, and it be no member then.
    RemoveByForce,
}

impl Mover {
    /// Where the replicas of a node would go, on a map that was read from the meta shard. Nothing, where none has to.
    ///
    /// # Errors
    /// INVALID_ARGUMENT where the node is none; FAILED_PRECONDITION where it could not be done, or should not.
    pub async fn plan_change(
        &self,
        map: &ClusterMap,
        node: NodeId,
        what: NodeChange,
    ) -> Result<Vec<Planned>, Status> {
        map.apply(as_change(node, what)).map(drop).or_else(unless_so_already)?;
        if matches!(what, NodeChange::Undrain | NodeChange::Remove) {
            return Ok(Vec::new());
        }
        // What is on its way to the same disks needs room too.
        let moving = map.moves.values().map(|it| it.shard);
        let shards: BTreeSet<ShardId> = map.replicas_on(node).map(|(shard, _)| shard).chain(moving).collect();
        let seen = self.look_at(map, &shards).await;
        if what == NodeChange::RemoveByForce {
            check_force(map, &seen, node).map_err(in_the_way)?;
        }
        plan_emptying(map, &seen, node).map_err(in_the_way)
    }

    /// Records what shall become of a node. The map that says so.
    ///
    /// # Errors
    /// The map refuses it, or it cannot be written; the status says whether it surely was not.
    pub async fn change_node(&self, node: NodeId, what: NodeChange) -> Result<ClusterMap, Status> {
        match self.record().change(&as_change(node, what)).await {
            Ok(map) => {
                info!(%node, ?what, "an operator changes what shall become of a node");
                Ok(map)
            }
            Err(NotChanged::Refused { refusal: Refusal::Unchanged, map }) => Ok(*map),
            Err(other) => Err(other.status()),
        }
    }

    /// What would spread replicas and leaders evenly.
    pub async fn plan_evening(&self, map: &ClusterMap) -> Evening {
        let seen: FleetSeen = self.look_at(map, &map.shards.keys().copied().collect()).await;
        even(map, &seen)
    }
}

const fn as_change(node: NodeId, what: NodeChange) -> Change {
    match what {
        NodeChange::Drain => Change::Drain { node },
        NodeChange::Undrain => Change::Undrain { node },
        NodeChange::Remove => Change::RemoveNode { node },
        NodeChange::RemoveByForce => Change::RemoveByForce { node },
    }
}

/// What the map says already is no error: an answer may have been lost.
fn unless_so_already(refusal: Refusal) -> Result<(), Status> {
    if refusal == Refusal::Unchanged { Ok(()) } else { Err(refusals::map(refusal)) }
}

fn in_the_way(obstacle: Obstacle) -> Status {
    let shard = match &obstacle {
        Obstacle::Shard { shard, .. } => Some(shard.0),
        Obstacle::Homeless(_) | Obstacle::Answers { .. } => None,
    };
    refusals::precondition(shard, obstacle.to_string())
}
