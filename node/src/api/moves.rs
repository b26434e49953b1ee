//! `StartMove`, `ListMoves`, `CancelMove`: served where the meta shard is led.

use std::sync::Arc;

use flotilla_proto::v1::{
    self, CancelMoveRequest, CancelMoveResponse, CancelMoveResult, ListMovesRequest, ListMovesResponse,
    ListMovesResult, StartMoveRequest, StartMoveResponse, StartMoveResult,
};
use flotilla_topology::{ClusterMap, Move, MoveId, NodeId, ShardId};
use tonic::{Response, Status};

use super::answers::incomplete;
use super::front::{Front, Routed};
use super::gate;
use super::maps::at_meta;
use crate::controller::{Decision, Phase};
use crate::moves::Mover;

/// Makes the question to another node, in REDIRECT mode, and sorts out what it answers.
macro_rules! pass_on {
    ($front:ident, $request:ident, $method:ident, $outcome:path) => {
        |address: String| async move {
            use $outcome as Told;
            let route_mode = v1::RouteMode::Redirect.into();
            let mut client = $front.backends.cluster(&address)?;
            match client
                .$method({
                    let mut it = $request;
                    it.route_mode = route_mode;
                    it
                })
                .await?
                .into_inner()
                .outcome
            {
                Some(Told::Result(result)) => Ok(Routed::Done(result)),
                Some(Told::Redirect(redirect)) => Ok(Routed::Elsewhere(redirect)),
                None => Err(incomplete()),
            }
        }
    };
}

pub(super) use pass_on;

pub(super) async fn start(
    front: &Arc<Front>,
    mover: &Mover,
    request: StartMoveRequest,
) -> Result<Response<StartMoveResponse>, Status> {
    use v1::start_move_response::Outcome;
    let route_mode = gate::route_mode(request.route_mode)?;
    let send = pass_on!(front, request, start_move, v1::start_move_response::Outcome);
    let outcome =
        match at_meta(front, route_mode, async |map| begin(mover, &map, request).await, send).await? {
            Routed::Done(result) => Outcome::Result(result),
            Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
        };
    Ok(Response::new(StartMoveResponse { outcome: Some(outcome) }))
}

async fn begin(
    mover: &Mover,
    map: &ClusterMap,
    request: StartMoveRequest,
) -> Result<StartMoveResult, Status> {
    let (shard, from, to) = (ShardId(request.shard), NodeId(request.from_node), NodeId(request.to_node));
    let readied = mover.ready(map, shard, from, to).await?;
    let result = StartMoveResult {
        r#move: None,
        leaving: readied.moving.leaving.0,
        arriving: readied.moving.arriving.0,
        bytes: readied.bytes,
        leads: readied.leads,
        epoch: map.epoch.0,
    };
    if request.dry_run {
        return Ok(result);
    }
    let (id, map) = mover.start(shard, from, to).await?;
    Ok(StartMoveResult { r#move: Some(id.0), epoch: map.epoch.0, ..result })
}

pub(super) async fn list(
    front: &Arc<Front>,
    mover: &Mover,
    request: ListMovesRequest,
) -> Result<Response<ListMovesResponse>, Status> {
    use v1::list_moves_response::Outcome;
    let route_mode = gate::route_mode(request.route_mode)?;
    let send = pass_on!(front, request, list_moves, v1::list_moves_response::Outcome);
    let told = async |map: ClusterMap| {
        let progress = mover.progress();
        let moves = map.moves.iter().map(|(id, moving)| encode(*id, moving, progress.get(id)));
        let waiting = mover.waiting().into_iter().map(|(node, why)| v1::NodeWaiting { node: node.0, why });
        Ok(ListMovesResult { moves: moves.collect(), epoch: map.epoch.0, waiting: waiting.collect() })
    };
    let outcome = match at_meta(front, route_mode, told, send).await? {
        Routed::Done(result) => Outcome::Result(result),
        Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
    };
    Ok(Response::new(ListMovesResponse { outcome: Some(outcome) }))
}

pub(super) async fn cancel(
    front: &Arc<Front>,
    mover: &Mover,
    request: CancelMoveRequest,
) -> Result<Response<CancelMoveResponse>, Status> {
    use v1::cancel_move_response::Outcome;
    let route_mode = gate::route_mode(request.route_mode)?;
    let send = pass_on!(front, request, cancel_move, v1::cancel_move_response::Outcome);
    let undo = async |_| {
        let map = mover.cancel(MoveId(request.r#move)).await?;
        Ok(CancelMoveResult { epoch: map.epoch.0 })
    };
    let outcome = match at_meta(front, route_mode, undo, send).await? {
        Routed::Done(result) => Outcome::Result(result),
        Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
    };
    Ok(Response::new(CancelMoveResponse { outcome: Some(outcome) }))
}

fn encode(id: MoveId, moving: &Move, decision: Option<&Decision>) -> v1::Move {
    let phase = decision.map_or(v1::MovePhase::Unobserved, |decision| match decision.phase {
        Phase::Creating => v1::MovePhase::Creating,
        Phase::Copying => v1::MovePhase::Copying,
        Phase::HandingOver => v1::MovePhase::HandingOver,
        Phase::Joint => v1::MovePhase::Joint,
        Phase::Settling => v1::MovePhase::Settling,
        Phase::Undoing => v1::MovePhase::Undoing,
    });
    v1::Move {
        r#move: id.0,
        shard: moving.shard.0,
        from_node: moving.from.0,
        to_node: moving.to.0,
        leaving: moving.leaving.0,
        arriving: moving.arriving.0,
        cancelled: moving.cancelled,
        phase: phase.into(),
        waiting: decision.map(|decision| decision.waiting.clone()).unwrap_or_default(),
        bytes_sent: decision.map_or(0, |decision| decision.bytes_sent),
        bytes_total: decision.map_or(0, |decision| decision.bytes_total),
        lag: decision.map_or(0, |decision| decision.lag),
    }
}
