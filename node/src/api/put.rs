//! `Put`: write a value, whatever was there.

use bytes::Bytes;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::put_response::Outcome;
use flotilla_proto::v1::{self, PutRequest, PutResponse, PutResult};
use flotilla_store::{Action, Operation, Outcome as Applied};
use flotilla_topology::ShardId;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::answers::{applied, incomplete, stamp, unexpected_outcome};
use super::front::{Front, Routed, Verb};
use super::gate;
use crate::host::{Answer, Token};
use crate::runtime::Input;

struct Put {
    request: PutRequest,
    operation: Operation,
    route_mode: v1::RouteMode,
}

pub(super) async fn put(front: &Front, request: PutRequest) -> Result<Response<PutResponse>, Status> {
    let action = Action::Put {
        key: gate::key(&front.limits, request.key.clone())?,
        value: gate::value(&front.limits, request.value.clone())?,
        ttl_ms: request.ttl_ms,
    };
    let verb = Put {
        operation: gate::operation(action, request.request)?,
        route_mode: gate::route_mode(request.route_mode)?,
        request,
    };
    let outcome = match front.serve(verb).await? {
        Routed::Done(result) => Outcome::Result(result),
        Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
    };
    Ok(Response::new(PutResponse { outcome: Some(outcome) }))
}

impl Verb for Put {
    type Result = PutResult;

    fn key(&self) -> &Bytes {
        &self.request.key
    }

    fn bytes(&self) -> usize {
        self.request.key.len() + self.request.value.len()
    }

    fn route_mode(&self) -> v1::RouteMode {
        self.route_mode
    }

    fn input(&self, shard: ShardId, token: Token) -> Input {
        Input::Write { shard, token, operation: self.operation.clone() }
    }

    fn result(&self, answer: Answer) -> Result<PutResult, Status> {
        match applied(answer)? {
            (served, Applied::Written { version }) => {
                Ok(PutResult { version, stamp: Some(stamp(served, version)) })
            }
            (served, outcome) => Err(unexpected_outcome(served, outcome)),
        }
    }

    async fn forward(&self, mut node: KvClient<Channel>) -> Result<Routed<PutResult>, Status> {
        let request = PutRequest { route_mode: v1::RouteMode::Redirect.into(), ..self.request.clone() };
        match node.put(request).await?.into_inner().outcome {
            Some(Outcome::Result(result)) => Ok(Routed::Done(result)),
            Some(Outcome::Redirect(redirect)) => Ok(Routed::Elsewhere(redirect)),
            None => Err(incomplete()),
        }
    }
}
