//! `ChangeNode`, `PlanEvening`: served where the meta shard is led.

use std::sync::Arc;

use flotilla_proto::v1::{
    self, ChangeNodeRequest, ChangeNodeResponse, ChangeNodeResult, PlanEveningRequest, PlanEveningResponse,
    PlanEveningResult,
};
use flotilla_topology::{ClusterMap, NodeId};
use tonic::{Response, Status};

use super::answers::incomplete;
use super::front::{Front, Routed};
use super::gate;
use super::maps::at_meta;
use super::moves::pass_on;
use crate::controller::{HandOver, Planned};
use crate::moves::{Mover, NodeChange};

pub(super) async fn change(
    front: &Arc<Front>,
    mover: &Mover,
    request: ChangeNodeRequest,
) -> Result<Response<ChangeNodeResponse>, Status> {
    use v1::change_node_response::Outcome;
    let route_mode = gate::route_mode(request.route_mode)?;
    let what = what(&request)?;
    let send = pass_on!(front, request, change_node, v1::change_node_response::Outcome);
    let here = async |map: ClusterMap| {
        let node = NodeId(request.node);
        let moves = mover.plan_change(&map, node, what).await?;
        let epoch = if request.dry_run { map.epoch } else { mover.change_node(node, what).await?.epoch };
        Ok(ChangeNodeResult { moves: moves.iter().map(encode_planned).collect(), epoch: epoch.0 })
    };
    let outcome = match at_meta(front, route_mode, here, send).await? {
        Routed::Done(result) => Outcome::Result(result),
        Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
    };
    Ok(Response::new(ChangeNodeResponse { outcome: Some(outcome) }))
}

/// A change that this version does not know must not be taken for another one.
fn what(request: &ChangeNodeRequest) -> Result<NodeChange, Status> {
    match v1::NodeChange::try_from(request.change) {
        Ok(v1::NodeChange::Drain) => Ok(NodeChange::Drain),
        Ok(v1::NodeChange::Undrain) => Ok(NodeChange::Undrain),
        Ok(v1::NodeChange::Remove) => Ok(NodeChange::Remove),
        Ok(v1::NodeChange::RemoveByForce) => Ok(NodeChange::RemoveByForce),
        Err(_) => Err(flotilla_proto::status::invalid("change", "there is none that this version knows")),
    }
}

pub(super) async fn plan_evening(
    front: &Arc<Front>,
    mover: &Mover,
    request: PlanEveningRequest,
) -> Result<Response<PlanEveningResponse>, Status> {
    use v1::plan_evening_response::Outcome;
    let route_mode = gate::route_mode(request.route_mode)?;
    let send = pass_on!(front, request, plan_evening, v1::plan_evening_response::Outcome);
    let here = async |map: ClusterMap| {
        let plan = mover.plan_evening(&map).await;
        Ok(PlanEveningResult {
            moves: plan.moves.iter().map(encode_planned).collect(),
            hand_overs: plan.hand_overs.iter().map(encode_hand_over).collect(),
            epoch: map.epoch.0,
        })
    };
    let outcome = match at_meta(front, route_mode, here, send).await? {
        Routed::Done(result) => Outcome::Result(result),
        Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
    };
    Ok(Response::new(PlanEveningResponse { outcome: Some(outcome) }))
}

fn encode_planned(it: &Planned) -> v1::PlannedMove {
    v1::PlannedMove {
        shard: it.shard.0,
        from_node: it.from.0,
        to_node: it.to.0,
        bytes: it.bytes,
        leads: it.leads,
    }
}

fn encode_hand_over(it: &HandOver) -> v1::PlannedHandOver {
    v1::PlannedHandOver { shard: it.shard.0, from_node: it.at.0, to_node: it.to.0 }
}
