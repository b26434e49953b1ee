//! `Txn`: compare, then execute one of two lists of operations, all of it atomically.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_proto::v1::pipeline_operation::Operation as Forwarded;
use flotilla_proto::v1::pipeline_result::Outcome as Told;
use flotilla_proto::v1::txn_operation_result::Result as Kind;
use flotilla_proto::v1::txn_response::Outcome;
use flotilla_proto::v1::{self, TxnRequest, TxnResponse, TxnResult};
use flotilla_store::{Action, Operation, Outcome as Applied, RequestId, TxnOutcome, TxnResult as Part};
use flotilla_topology::ShardId;
use tonic::Status;

use super::answers::{applied, record, stamp, unexpected_outcome};
use super::front::{Routed, Verb};
use super::gate;
use crate::config::Limits;
use crate::host::{Answer, Served, Token};
use crate::metrics::{Op, Outcome as Counted};
use crate::runtime::Input;

/// What a compare or an operation takes beside its key and its value.
const PART_BYTES: usize = size_of::<flotilla_store::TxnOperation>();

/// A transaction within all limits.
#[derive(Clone, Debug)]
pub(super) struct Txn {
    /// As it came, to be forwarded.
    asked: Arc<TxnRequest>,
    parsed: Arc<flotilla_store::Txn>,
    key: Bytes,
    request: Option<RequestId>,
    route_mode: v1::RouteMode,
}

impl Verb for Txn {
    type Request = TxnRequest;
    type Result = TxnResult;
    type Response = TxnResponse;

    const OP: Op = Op::Txn;

    fn parse(limits: &Limits, asked: TxnRequest) -> Result<Self, Status> {
        let (key, parsed) = gate::txn(limits, &asked)?;
        Ok(Self {
            request: gate::request(asked.request)?,
            route_mode: gate::route_mode(asked.route_mode)?,
            key,
            parsed: Arc::new(parsed),
            asked: Arc::new(asked),
        })
    }

    /// Its first key: all are of one slot.
    fn key(&self) -> &Bytes {
        &self.key
    }

    fn bytes(&self) -> usize {
        self.parsed.payload_bytes() + self.parsed.parts() * PART_BYTES
    }

    fn route_mode(&self) -> v1::RouteMode {
        self.route_mode
    }

    fn input(self, shard: ShardId, token: Token) -> Input {
        let action = Action::Txn(Arc::unwrap_or_clone(self.parsed));
        Input::Write { shard, token, operation: Operation { request: self.request, action } }
    }

    fn result(answer: Answer) -> Result<TxnResult, Status> {
        match applied(answer)? {
            (served, Applied::Txn(outcome)) => Ok(result(served, outcome)),
            (served, outcome) => Err(unexpected_outcome(served, outcome)),
        }
    }

    fn outcome(result: &TxnResult) -> Counted {
        if result.succeeded { Counted::Ok } else { Counted::Conflict }
    }

    fn response(routed: Routed<TxnResult>) -> TxnResponse {
        let outcome = match routed {
            Routed::Done(result) => Outcome::Result(result),
            Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
        };
        TxnResponse { outcome: Some(outcome) }
    }

    fn operation(&self) -> Forwarded {
        let route_mode = v1::RouteMode::Redirect.into();
        Forwarded::Txn(TxnRequest { route_mode, ..TxnRequest::clone(&self.asked) })
    }

    fn routed(outcome: Told) -> Option<Routed<TxnResult>> {
        let Told::Txn(response) = outcome else { return None };
        Some(match response.outcome? {
            Outcome::Result(result) => Routed::Done(result),
            Outcome::Redirect(redirect) => Routed::Elsewhere(redirect),
        })
    }
}

fn result(served: Served, outcome: TxnOutcome) -> TxnResult {
    let TxnOutcome { succeeded, version, results, values_forgotten } = outcome;
    let part = |part: Part| {
        let kind = match part {
            Part::Got(found) => Kind::Get(v1::TxnGetResult { record: found.map(record) }),
            Part::Put => Kind::Put(v1::TxnPutResult { version }),
            Part::Deleted { existed } => Kind::Delete(v1::TxnDeleteResult { existed }),
        };
        v1::TxnOperationResult { result: Some(kind) }
    };
    TxnResult {
        succeeded,
        results: results.into_iter().map(part).collect(),
        values_forgotten,
        stamp: Some(stamp(served, version)),
    }
}
