//! `CompareAndSwap`: write a value if the key has the expected version.

use bytes::Bytes;
use flotilla_proto::v1::compare_and_swap_response::Outcome;
use flotilla_proto::v1::pipeline_operation::Operation as Forwarded;
use flotilla_proto::v1::pipeline_result::Outcome as Told;
use flotilla_proto::v1::{self, CompareAndSwapRequest, CompareAndSwapResponse, CompareAndSwapResult};
use flotilla_store::{Action, Operation, Outcome as Applied, RequestId};
use flotilla_topology::ShardId;
use tonic::Status;

use super::answers::{applied, record, stamp, unexpected_outcome};
use super::front::{Routed, Verb};
use super::gate;
use crate::config::Limits;
use crate::host::{Answer, Token};
use crate::metrics::{Op, Outcome as Counted};
use crate::runtime::Input;

/// A comparison and a swap within all limits.
#[derive(Clone, Debug)]
pub(super) struct CompareAndSwap {
    asked: CompareAndSwapRequest,
    request: Option<RequestId>,
    route_mode: v1::RouteMode,
}

impl Verb for CompareAndSwap {
    type Request = CompareAndSwapRequest;
    type Result = CompareAndSwapResult;
    type Response = CompareAndSwapResponse;

    const OP: Op = Op::Cas;

    fn parse(limits: &Limits, asked: CompareAndSwapRequest) -> Result<Self, Status> {
        Ok(Self {
            request: gate::request(asked.request)?,
            route_mode: gate::route_mode(asked.route_mode)?,
            asked: CompareAndSwapRequest {
                key: gate::key(limits, asked.key)?,
                value: gate::value(limits, asked.value)?,
                ttl_ms: gate::ttl(asked.ttl_ms)?,
                ..asked
            },
        })
    }

    fn key(&self) -> &Bytes {
        &self.asked.key
    }

    fn bytes(&self) -> usize {
        self.asked.key.len() + self.asked.value.len()
    }

    fn route_mode(&self) -> v1::RouteMode {
        self.route_mode
    }

    fn input(self, shard: ShardId, token: Token) -> Input {
        let CompareAndSwapRequest { key, value, ttl_ms, expected_version: expected, .. } = self.asked;
        let action = Action::CompareAndSwap { key, expected, value, ttl_ms };
        Input::Write { shard, token, operation: Operation { request: self.request, action } }
    }

    fn result(answer: Answer) -> Result<CompareAndSwapResult, Status> {
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

    fn outcome(result: &CompareAndSwapResult) -> Counted {
        if result.swapped { Counted::Ok } else { Counted::Conflict }
    }

    fn response(routed: Routed<CompareAndSwapResult>) -> CompareAndSwapResponse {
        let outcome = match routed {
            Routed::Done(result) => Outcome::Result(result),
            Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
        };
        CompareAndSwapResponse { outcome: Some(outcome) }
    }

    fn operation(&self) -> Forwarded {
        let route_mode = v1::RouteMode::Redirect.into();
        Forwarded::CompareAndSwap(CompareAndSwapRequest { route_mode, ..self.asked.clone() })
    }

    fn routed(outcome: Told) -> Option<Routed<CompareAndSwapResult>> {
        let Told::CompareAndSwap(response) = outcome else { return None };
        Some(match response.outcome? {
            Outcome::Result(result) => Routed::Done(result),
            Outcome::Redirect(redirect) => Routed::Elsewhere(redirect),
        })
    }
}
