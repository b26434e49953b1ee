//! What the host refuses, as gRPC says it.
//!
//! Every status made here carries our detail, and says truthfully whether the request was surely not executed.

use flotilla_proto::status;
use flotilla_proto::v1::ErrorDetail;
use flotilla_store::Refusal as Refused;
use flotilla_topology::{Refusal as MapRefusal, ShardId, Slot};
use tonic::{Code, Status};

use crate::host::Refusal;

/// Not worth asking again sooner: an election takes about as long.
const ELECTION_RETRY_MS: u64 = 50;
/// Not worth asking again sooner: a queue needs a moment.
const QUEUE_RETRY_MS: u64 = 20;

/// A refusal of the host.
#[must_use]
pub fn refused(shard: ShardId, refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    let shard = Some(shard.0);
    match refusal {
        Refusal::NotHosted { .. }
        | Refusal::NotLeader { .. }
        | Refusal::Transferring { .. }
        | Refusal::ReadLost { .. } => status::unavailable(shard, ELECTION_RETRY_MS, text),
        Refusal::Overloaded { .. } => status::exhausted(shard, QUEUE_RETRY_MS, text),
        Refusal::DeadlineTooFar { time_ms, .. } => deadline_too_far(*time_ms, text),
        Refusal::TooLarge { .. } => status::invalid("value", text),
        Refusal::Unknown { .. } => status::unknown(shard, text),
        Refusal::Impossible { .. } | Refusal::Members { .. } => precondition(shard, text),
    }
}

/// A change that the cluster map refuses: nothing was changed.
#[must_use]
pub fn map(refusal: MapRefusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        MapRefusal::UnknownShard { .. } => status::invalid("shard", text),
        MapRefusal::UnknownNode { .. } => status::invalid("node", text),
        MapRefusal::NotMember { .. } => status::invalid("from_node", text),
        MapRefusal::Member { .. } => status::invalid("to_node", text),
        MapRefusal::Moving { shard, .. } => precondition(Some(shard.0), text),
        _ => precondition(None, text),
    }
}

/// The client's clock is ahead of the shard's: it is told the shard time, to correct itself.
fn deadline_too_far(time_ms: u64, text: String) -> Status {
    let field = "request.deadline_ms".to_owned();
    let detail = ErrorDetail { definite: true, field, shard_time_ms: time_ms, ..ErrorDetail::default() };
    status::with_detail(Code::InvalidArgument, text, &detail)
}

/// A refusal of the state machine: an earlier attempt under the same request id may have been executed.
#[must_use]
pub fn not_again(shard: ShardId, refusal: Refused) -> Status {
    let (code, shard_time_ms, text) = match refusal {
        Refused::Stale { floor } => (
            Code::Unknown,
            0,
            format!(
                "the client has said that it has the answers of all writes below {floor}; this one is older"
            ),
        ),
        Refused::Expired { time_ms } => (
            Code::DeadlineExceeded,
            time_ms,
            format!("the request's deadline has passed: the shard time is {time_ms}"),
        ),
    };
    let detail =
        ErrorDetail { definite: false, shard: Some(shard.0), shard_time_ms, ..ErrorDetail::default() };
    status::with_detail(code, text, &detail)
}

/// The shard does not own the slot: this node's map and the shard's own state differ at the moment.
#[must_use]
pub fn wrong_slot(shard: ShardId) -> Status {
    status::unavailable(Some(shard.0), ELECTION_RETRY_MS, format!("{shard} does not own the slot of the key"))
}

/// The keys of a transaction are of several slots. The gate refuses it first; the shard does not trust the gate of another
/// version.
pub(super) fn several_slots(first: Slot, other: Slot) -> Status {
    let (first, other) = (first.number(), other.number());
    status::invalid("then", format!("the keys of a transaction are of the slots {first} and {other}"))
}

/// The node does not know the fleet yet.
pub(super) fn no_map() -> Status {
    status::unavailable(None, ELECTION_RETRY_MS, "this node has no cluster map yet")
}

/// Too much is on its way to other nodes.
pub(super) fn forwards_full(shard: ShardId) -> Status {
    let text = format!("{shard} is led elsewhere, and too much is on its way to other nodes");
    status::exhausted(Some(shard.0), QUEUE_RETRY_MS, text)
}

/// The request never left for the node that leads.
pub(super) fn unreachable(shard: ShardId, why: &str) -> Status {
    let text = format!("the leader of {shard} cannot be reached: {why}");
    status::unavailable(Some(shard.0), ELECTION_RETRY_MS, text)
}

/// The request left for the node that leads, and nothing came back.
pub(super) fn broken(shard: ShardId, why: &str) -> Status {
    status::unknown(Some(shard.0), format!("the connection to the leader of {shard} broke: {why}"))
}

/// Nobody is known to lead the shard.
pub(super) fn no_leader(shard: ShardId) -> Status {
    status::unavailable(Some(shard.0), ELECTION_RETRY_MS, format!("{shard} has no known leader"))
}

/// The node is about to end.
pub(crate) fn ending(shard: Option<ShardId>) -> Status {
    status::unavailable(shard.map(|shard| shard.0), 0, "this node is shutting down")
}

/// The node ended while a request was under way: nobody knows.
pub(crate) fn ended(shard: ShardId) -> Status {
    status::unknown(Some(shard.0), "this node ended while the request was under way")
}

/// The time that the asker gave is over. `definite`: the request had not left yet.
pub(super) fn too_late(shard: ShardId, definite: bool) -> Status {
    let detail = ErrorDetail { definite, shard: Some(shard.0), ..ErrorDetail::default() };
    status::with_detail(Code::DeadlineExceeded, "the time given for the operation is over", &detail)
}

/// An operation that this version does not know.
pub(super) fn no_such_operation() -> Status {
    let field = "operation".to_owned();
    let detail = ErrorDetail { definite: true, field, ..ErrorDetail::default() };
    status::with_detail(Code::Unimplemented, "this node does not know the operation", &detail)
}

/// It cannot be done as asked, and was not.
pub(crate) fn precondition(shard: Option<u64>, text: impl Into<String>) -> Status {
    let detail = ErrorDetail { definite: true, shard, ..ErrorDetail::default() };
    status::with_detail(Code::FailedPrecondition, text, &detail)
}

/// There is no such thing on this node.
pub(super) fn not_found(shard: ShardId, text: impl Into<String>) -> Status {
    let detail = ErrorDetail { definite: true, shard: Some(shard.0), ..ErrorDetail::default() };
    status::with_detail(Code::NotFound, text, &detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(3);

    #[test]
    fn only_what_nobody_knows_is_ambiguous() {
        let told = [
            (Refusal::NotHosted { shard: SHARD }, Code::Unavailable),
            (Refusal::Transferring { shard: SHARD }, Code::Unavailable),
            (Refusal::ReadLost { shard: SHARD }, Code::Unavailable),
            (Refusal::Overloaded { shard: SHARD, what: "x" }, Code::ResourceExhausted),
            (Refusal::DeadlineTooFar { time_ms: 1, deadline_max_ms: 2 }, Code::InvalidArgument),
            (Refusal::TooLarge { bytes: 2, bytes_max: 1 }, Code::InvalidArgument),
            (Refusal::Impossible { reason: "x".into() }, Code::FailedPrecondition),
            (Refusal::Unknown { shard: SHARD }, Code::Unknown),
        ];
        for (refusal, code) in told {
            let status = refused(SHARD, &refusal);
            assert_eq!(status.code(), code, "{refusal:?}");
            assert_eq!(status::definite(&status), refusal.definite(), "{refusal:?}");
        }
    }

    #[test]
    fn a_refused_repetition_is_ambiguous_because_the_first_attempt_may_have_run() {
        for refusal in [Refused::Stale { floor: 4 }, Refused::Expired { time_ms: 9 }] {
            assert!(!status::definite(&not_again(SHARD, refusal)), "{refusal:?}");
        }
    }
}
