//! The `Cluster` service: the cluster map, and what an operator asks of one node.

use std::pin::Pin;
use std::sync::Arc;

use flotilla_proto::v1::cluster_server::Cluster;
use flotilla_proto::v1::{
    CancelMoveRequest, CancelMoveResponse, ChangeNodeRequest, ChangeNodeResponse, GetMapRequest,
    GetMapResponse, ListMovesRequest, ListMovesResponse, PlanEveningRequest, PlanEveningResponse,
    ShardStatusRequest, ShardStatusResponse, StartMoveRequest, StartMoveResponse, StatusRequest,
    StatusResponse, TransferLeaderRequest, TransferLeaderResponse, WatchMapRequest, WatchMapResponse,
};
use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::front::Front;
use super::node_status::NodeStatus;
use super::{maps, moves, node_status, nodes, transfer_leader};
use crate::moves::Mover;

/// The `Cluster` service of a node.
#[derive(Clone, Debug)]
pub struct ClusterService {
    /// What it shares with the other services.
    pub front: Arc<Front>,
    /// What it says of the node itself.
    pub status: Arc<NodeStatus>,
    /// Who carries out moves.
    pub mover: Arc<Mover>,
}

type Maps = Pin<Box<dyn Stream<Item = Result<WatchMapResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Cluster for ClusterService {
    type WatchMapStream = Maps;

    async fn get_map(&self, request: Request<GetMapRequest>) -> Result<Response<GetMapResponse>, Status> {
        maps::get_map(&self.front, request.into_inner()).await
    }

    async fn watch_map(&self, request: Request<WatchMapRequest>) -> Result<Response<Maps>, Status> {
        let front = &self.front;
        let stream =
            flotilla_daemon::maps::watch(front.maps(), request.get_ref().known_epoch, front.ending());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        node_status::status(&self.front, &self.status).await
    }

    async fn shard_status(
        &self,
        request: Request<ShardStatusRequest>,
    ) -> Result<Response<ShardStatusResponse>, Status> {
        node_status::shard_status(&self.front, &self.status, request.into_inner()).await
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        transfer_leader::transfer_leader(&self.front, request.into_inner()).await
    }

    async fn start_move(
        &self,
        request: Request<StartMoveRequest>,
    ) -> Result<Response<StartMoveResponse>, Status> {
        moves::start(&self.front, &self.mover, request.into_inner()).await
    }

    async fn list_moves(
        &self,
        request: Request<ListMovesRequest>,
    ) -> Result<Response<ListMovesResponse>, Status> {
        moves::list(&self.front, &self.mover, request.into_inner()).await
    }

    async fn cancel_move(
        &self,
        request: Request<CancelMoveRequest>,
    ) -> Result<Response<CancelMoveResponse>, Status> {
        moves::cancel(&self.front, &self.mover, request.into_inner()).await
    }

    async fn change_node(
        &self,
        request: Request<ChangeNodeRequest>,
    ) -> Result<Response<ChangeNodeResponse>, Status> {
        nodes::change(&self.front, &self.mover, request.into_inner()).await
    }

    async fn plan_evening(
        &self,
        request: Request<PlanEveningRequest>,
    ) -> Result<Response<PlanEveningResponse>, Status> {
        nodes::plan_evening(&self.front, &self.mover, request.into_inner()).await
    }
}
