//! `Put`: write a value, whatever was there.

use bytes::Bytes;
use flotilla_proto::v1::pipeline_operation::Operation as Forwarded;
use flotilla_proto::v1::pipeline_result::Outcome as Told;
use flotilla_proto::v1::put_response::Outcome;
use flotilla_proto::v1::{self, PutRequest, PutResponse, PutResult};
use flotilla_store::{Action, Operation, Outcome as Applied, RequestId};
use flotilla_topology::ShardId;
use tonic::Status;

use super::answers::{applied, stamp, unexpected_outcome};
use super::front::{Routed, Verb};
use super::gate;
use crate::config::Limits;
use crate::host::{Answer, Token};
use crate::metrics::{Op, Outcome as Counted};
use crate::runtime::Input;

/// A put within all limits.
#[derive(Clone, Debug)]
pub(super) struct Put {
    asked: PutRequest,
    request: Option<RequestId>,
    route_mode: v1::RouteMode,
}

impl Verb for Put {
    type Request = PutRequest;
    type Result = PutResult;
    type Response = PutResponse;

    const OP: Op = Op::Put;

    fn parse(limits: &Limits, asked: PutRequest) -> Result<Self, Status> {
        Ok(Self {
            request: gate::request(asked.request)?,
            route_mode: gate::route_mode(asked.route_mode)?,
            asked: PutRequest {
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
        let PutRequest { key, value, ttl_ms, .. } = self.asked;
        let operation = Operation { request: self.request, action: Action::Put { key, value, ttl_ms } };
        Input::Write { shard, token, operation }
    }

    fn result(answer: Answer) -> Result<PutResult, Status> {
        match applied(answer)? {
            (served, Applied::Written { version }) => {
                Ok(PutResult { version, stamp: Some(stamp(served, version)) })
            }
            (served, outcome) => Err(unexpected_outcome(served, outcome)),
        }
    }

    fn outcome(_: &PutResult) -> Counted {
        Counted::Ok
    }

    fn response(routed: Routed<PutResult>) -> PutResponse {
        let outcome = match routed {
            Routed::Done(result) => Outcome::Result(result),
            Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
        };
        PutResponse { outcome: Some(outcome) }
    }

    fn operation(&self) -> Forwarded {
        let route_mode = v1::RouteMode::Redirect.into();
        Forwarded::Put(PutRequest { route_mode, ..self.asked.clone() })
    }

    fn routed(outcome: Told) -> Option<Routed<PutResult>> {
        let Told::Put(response) = outcome else { return None };
        Some(match response.outcome? {
            Outcome::Result(result) => Routed::Done(result),
            Outcome::Redirect(redirect) => Routed::Elsewhere(redirect),
        })
    }
}
