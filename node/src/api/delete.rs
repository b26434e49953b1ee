//! `Delete`: remove a key, if it is there.

use bytes::Bytes;
use flotilla_proto::v1::delete_response::Outcome;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::{self, DeleteRequest, DeleteResponse, DeleteResult};
use flotilla_store::{Action, Operation, Outcome as Applied};
use flotilla_topology::ShardId;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::answers::{applied, incomplete, stamp, unexpected_outcome};
use super::front::{Front, Routed, Verb};
use super::gate;
use crate::host::{Answer, Token};
use crate::runtime::Input;

struct Delete {
    request: DeleteRequest,
    operation: Operation,
    route_mode: v1::RouteMode,
}

pub(super) async fn delete(
    front: &Front,
    request: DeleteRequest,
) -> Result<Response<DeleteResponse>, Status> {
    let action = Action::Delete { key: gate::key(&front.limits, request.key.clone())? };
    let verb = Delete {
        operation: gate::operation(action, request.request)?,
        route_mode: gate::route_mode(request.route_mode)?,
        request,
    };
    let outcome = match front.serve(verb).await? {
        Routed::Done(result) => Outcome::Result(result),
        Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
    };
    Ok(Response::new(DeleteResponse { outcome: Some(outcome) }))
}

impl Verb for Delete {
    type Result = DeleteResult;

    fn key(&self) -> &Bytes {
        &self.request.key
    }

    fn bytes(&self) -> usize {
        self.request.key.len()
    }

    fn route_mode(&self) -> v1::RouteMode {
        self.route_mode
    }

    fn input(&self, shard: ShardId, token: Token) -> Input {
        Input::Write { shard, token, operation: self.operation.clone() }
    }

    fn result(&self, answer: Answer) -> Result<DeleteResult, Status> {
        match applied(answer)? {
            (served, Applied::Deleted { existed, version }) => {
                Ok(DeleteResult { existed, stamp: Some(stamp(served, version)) })
            }
            (served, outcome) => Err(unexpected_outcome(served, outcome)),
        }
    }

    async fn forward(&self, mut node: KvClient<Channel>) -> Result<Routed<DeleteResult>, Status> {
        let request = DeleteRequest { route_mode: v1::RouteMode::Redirect.into(), ..self.request.clone() };
        match node.delete(request).await?.into_inner().outcome {
            Some(Outcome::Result(result)) => Ok(Routed::Done(result)),
            Some(Outcome::Redirect(redirect)) => Ok(Routed::Elsewhere(redirect)),
            None => Err(incomplete()),
        }
    }
}
