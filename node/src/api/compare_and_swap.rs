//! `CompareAndSwap`: write a value if the key has the expected version.

use bytes::Bytes;
use flotilla_proto::v1::compare_and_swap_response::Outcome;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::{self, CompareAndSwapRequest, CompareAndSwapResponse, CompareAndSwapResult};
use flotilla_store::{Action, Operation, Outcome as Applied};
use flotilla_topology::ShardId;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::answers::{applied, incomplete, record, stamp, unexpected_outcome};
use super::front::{Front, Routed, Verb};
use super::gate;
use crate::host::{Answer, Token};
use crate::runtime::Input;

struct CompareAndSwap {
    request: CompareAndSwapRequest,
    operation: Operation,
    route_mode: v1::RouteMode,
}

pub(super) async fn compare_and_swap(
    front: &Front,
    request: CompareAndSwapRequest,
) -> Result<Response<CompareAndSwapResponse>, Status> {
    let action = Action::CompareAndSwap {
        key: gate::key(&front.limits, request.key.clone())?,
        expected: request.expected_version,
        value: gate::value(&front.limits, request.value.clone())?,
        ttl_ms: request.ttl_ms,
    };
    let verb = CompareAndSwap {
        operation: gate::operation(action, request.request)?,
        route_mode: gate::route_mode(request.route_mode)?,
        request,
    };
    let outcome = match front.serve(verb).await? {
        Routed::Done(result) => Outcome::Result(result),
        Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
    };
    Ok(Response::new(CompareAndSwapResponse { outcome: Some(outcome) }))
}

impl Verb for CompareAndSwap {
    type Result = CompareAndSwapResult;

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

    fn result(&self, answer: Answer) -> Result<CompareAndSwapResult, Status> {
        let (served, outcome) = applied(answer)?;
        match outcome {
            Applied::Swapped { version } => {
                let stamp = Some(stamp(served, version));
                Ok(CompareAndSwapResult { swapped: true, version, current: None, stamp })
            }
            Applied::Conflict { current } => {
                let version = current.as_ref().map_or(0, |current| current.version);
                let stamp = Some(stamp(served, version));
                Ok(CompareAndSwapResult { swapped: false, version, current: current.map(record), stamp })
            }
            // The version still says that the comparison failed, and against what; the value is no longer known.
            Applied::ConflictForgotten { version } => {
                let stamp = Some(stamp(served, version));
                Ok(CompareAndSwapResult { swapped: false, version, current: None, stamp })
            }
            outcome => Err(unexpected_outcome(served, outcome)),
        }
    }

    async fn forward(&self, mut node: KvClient<Channel>) -> Result<Routed<CompareAndSwapResult>, Status> {
        let request =
            CompareAndSwapRequest { route_mode: v1::RouteMode::Redirect.into(), ..self.request.clone() };
        match node.compare_and_swap(request).await?.into_inner().outcome {
            Some(Outcome::Result(result)) => Ok(Routed::Done(result)),
            Some(Outcome::Redirect(redirect)) => Ok(Routed::Elsewhere(redirect)),
            None => Err(incomplete()),
        }
    }
}
