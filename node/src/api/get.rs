//! `Get`: the record of one key.

use bytes::Bytes;
use flotilla_proto::v1::get_response::Outcome;
use flotilla_proto::v1::pipeline_operation::Operation as Forwarded;
use flotilla_proto::v1::pipeline_result::Outcome as Told;
use flotilla_proto::v1::{self, GetRequest, GetResponse, GetResult};
use flotilla_topology::ShardId;
use tonic::Status;

use super::answers::{lag, record, stamp_of_read, unexpected};
use super::front::{Routed, Verb};
use super::gate;
use crate::config::Limits;
use crate::host::{Answer, Consistency, Token};
use crate::metrics::{Op, Outcome as Counted};
use crate::runtime::Input;

/// A read of one key within all limits.
#[derive(Clone, Debug)]
pub(super) struct Get {
    key: Bytes,
    consistency: Consistency,
    route_mode: v1::RouteMode,
}

impl Verb for Get {
    type Request = GetRequest;
    type Result = GetResult;
    type Response = GetResponse;

    const OP: Op = Op::Get;

    fn parse(limits: &Limits, asked: GetRequest) -> Result<Self, Status> {
        Ok(Self {
            key: gate::key(limits, asked.key)?,
            consistency: gate::consistency(asked.consistency)?,
            route_mode: gate::route_mode(asked.route_mode)?,
        })
    }

    fn key(&self) -> &Bytes {
        &self.key
    }

    fn bytes(&self) -> usize {
        self.key.len()
    }

    fn route_mode(&self) -> v1::RouteMode {
        self.route_mode
    }

    fn needs_leader(&self) -> bool {
        self.consistency == Consistency::Linearizable
    }

    fn input(self, shard: ShardId, token: Token) -> Input {
        Input::Get { shard, token, key: self.key, consistency: self.consistency }
    }

    fn result(answer: Answer) -> Result<GetResult, Status> {
        let Answer::Got(served, found) = answer else { return Err(unexpected(&answer)) };
        Ok(GetResult { stamp: Some(stamp_of_read(served)), record: found.map(record), lag: lag(served) })
    }

    fn outcome(result: &GetResult) -> Counted {
        if result.record.is_some() { Counted::Ok } else { Counted::NotFound }
    }

    fn response(routed: Routed<GetResult>) -> GetResponse {
        let outcome = match routed {
            Routed::Done(result) => Outcome::Result(result),
            Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
        };
        GetResponse { outcome: Some(outcome) }
    }

    fn operation(&self) -> Forwarded {
        let consistency = match self.consistency {
            Consistency::Linearizable => v1::Consistency::Linearizable,
            Consistency::Stale => v1::Consistency::Stale,
        };
        Forwarded::Get(GetRequest {
            key: self.key.clone(),
            route_mode: v1::RouteMode::Redirect.into(),
            consistency: consistency.into(),
        })
    }

    fn routed(outcome: Told) -> Option<Routed<GetResult>> {
        let Told::Get(response) = outcome else { return None };
        Some(match response.outcome? {
            Outcome::Result(result) => Routed::Done(result),
            Outcome::Redirect(redirect) => Routed::Elsewhere(redirect),
        })
    }
}
