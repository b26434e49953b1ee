//! `Delete`: remove a key, if it is there.

use bytes::Bytes;
use flotilla_proto::v1::delete_response::Outcome;
use flotilla_proto::v1::pipeline_operation::Operation as Forwarded;
use flotilla_proto::v1::pipeline_result::Outcome as Told;
use flotilla_proto::v1::{self, DeleteRequest, DeleteResponse, DeleteResult};
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

/// A delete within all limits.
#[derive(Clone, Debug)]
pub(super) struct Delete {
    asked: DeleteRequest,
    request: Option<RequestId>,
    route_mode: v1::RouteMode,
}

impl Verb for Delete {
    type Request = DeleteRequest;
    type Result = DeleteResult;
    type Response = DeleteResponse;

    const OP: Op = Op::Delete;

    fn parse(limits: &Limits, asked: DeleteRequest) -> Result<Self, Status> {
        Ok(Self {
            request: gate::request(asked.request)?,
            route_mode: gate::route_mode(asked.route_mode)?,
            asked: DeleteRequest { key: gate::key(limits, asked.key)?, ..asked },
        })
    }

    fn key(&self) -> &Bytes {
        &self.asked.key
    }

    fn bytes(&self) -> usize {
        self.asked.key.len()
    }

    fn route_mode(&self) -> v1::RouteMode {
        self.route_mode
    }

    fn input(self, shard: ShardId, token: Token) -> Input {
        let action = Action::Delete { key: self.asked.key };
        Input::Write { shard, token, operation: Operation { request: self.request, action } }
    }

    fn result(answer: Answer) -> Result<DeleteResult, Status> {
        match applied(answer)? {
            (served, Applied::Deleted { existed, version }) => {
                Ok(DeleteResult { existed, stamp: Some(stamp(served, version)) })
            }
            (served, outcome) => Err(unexpected_outcome(served, outcome)),
        }
    }

    fn outcome(result: &DeleteResult) -> Counted {
        if result.existed { Counted::Ok } else { Counted::NotFound }
    }

    fn response(routed: Routed<DeleteResult>) -> DeleteResponse {
        let outcome = match routed {
            Routed::Done(result) => Outcome::Result(result),
            Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
        };
        DeleteResponse { outcome: Some(outcome) }
    }

    fn operation(&self) -> Forwarded {
        let route_mode = v1::RouteMode::Redirect.into();
        Forwarded::Delete(DeleteRequest { route_mode, ..self.asked.clone() })
    }

    fn routed(outcome: Told) -> Option<Routed<DeleteResult>> {
        let Told::Delete(response) = outcome else { return None };
        Some(match response.outcome? {
            Outcome::Result(result) => Routed::Done(result),
            Outcome::Redirect(redirect) => Routed::Elsewhere(redirect),
        })
    }
}
