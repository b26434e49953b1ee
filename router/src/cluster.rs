//! `Cluster`: the map (forwarded, and watched for others) and the transfer of leaderships, forwarded. What a node says of itself only that node can say.

use std::pin::Pin;

use flotilla_client::dispatch::Target;
use flotilla_proto::status;
use flotilla_proto::v1::cluster_server::Cluster;
use flotilla_proto::v1::{self, ErrorDetail};
use flotilla_topology::ShardId;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use crate::door::Door;
use crate::fleet::Fleet;
use crate::statuses::status_of;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ClusterService(pub(crate) Fleet);

type Maps = Pin<Box<dyn Stream<Item = Result<v1::WatchMapResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn get_map(
        &self,
        request: Request<v1::GetMapRequest>,
    ) -> Result<Response<v1::GetMapResponse>, Status> {
        use v1::get_map_response::Outcome;
        let (door, message) = Door::open_for(&self.0, request)?;
        let redirect = door.redirect(message.route_mode, Target::Shard(ShardId::META))?;
        let outcome = match redirect.filter(|_| message.linearizable) {
            Some(redirect) => Outcome::Redirect(redirect),
            None => {
                let answered = door.forwarder.map(message.linearizable).await;
                Outcome::Result(answered.map_err(|unanswered| status_of(&unanswered))?)
            }
        };
        Ok(Response::new(v1::GetMapResponse { outcome: Some(outcome) }))
    }

    type WatchMapStream = Maps;

    /// From the map that the router itself watches.
    async fn watch_map(&self, request: Request<v1::WatchMapRequest>) -> Result<Response<Maps>, Status> {
        let known = request.get_ref().known_epoch;
        Ok(Response::new(Box::pin(flotilla_daemon::maps::watch(self.0.maps(), known, self.0.ending()))))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Err(only_nodes("a router is no node and has no such status"))
    }

    async fn shard_status(
        &self,
        _: Request<v1::ShardStatusRequest>,
    ) -> Result<Response<v1::ShardStatusResponse>, Status> {
        Err(only_nodes("a router has no replicas"))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        use v1::transfer_leader_response::Outcome;
        let (door, message) = Door::open_for(&self.0, request)?;
        let target = Target::Shard(ShardId(message.shard));
        let outcome = match door.redirect(message.route_mode, target)? {
            Some(redirect) => Outcome::Redirect(redirect),
            None => {
                let answered = door.forwarder.transfer_leader(message).await;
                Outcome::Result(answered.map_err(|unanswered| status_of(&unanswered))?)
            }
        };
        Ok(Response::new(v1::TransferLeaderResponse { outcome: Some(outcome) }))
    }

    async fn start_move(
        &self,
        _: Request<v1::StartMoveRequest>,
    ) -> Result<Response<v1::StartMoveResponse>, Status> {
        Err(only_nodes("a router moves no replicas"))
    }

    async fn list_moves(
        &self,
        _: Request<v1::ListMovesRequest>,
    ) -> Result<Response<v1::ListMovesResponse>, Status> {
        Err(only_nodes("a router knows of no moves"))
    }

    async fn cancel_move(
        &self,
        _: Request<v1::CancelMoveRequest>,
    ) -> Result<Response<v1::CancelMoveResponse>, Status> {
        Err(only_nodes("a router moves no replicas"))
    }

    async fn change_node(
        &self,
        _: Request<v1::ChangeNodeRequest>,
    ) -> Result<Response<v1::ChangeNodeResponse>, Status> {
        Err(only_nodes("a router moves no replicas"))
    }

    async fn plan_evening(
        &self,
        _: Request<v1::PlanEveningRequest>,
    ) -> Result<Response<v1::PlanEveningResponse>, Status> {
        Err(only_nodes("a router moves no replicas"))
    }
}

fn only_nodes(what: &str) -> Status {
    let detail = ErrorDetail { definite: true, ..ErrorDetail::default() };
    status::with_detail(
        Code::Unimplemented,
        format!("{what}; ask a node, the cluster map names them"),
        &detail,
    )
}
