//! What a worker answered, in the words of the wire.

use flotilla_proto::{status, v1};
use flotilla_store::{Outcome, Record};
use tonic::Status;

use super::refusals;
use crate::host::{Answer, Served};

/// The stamp of a write that made this version.
pub(super) fn stamp(served: Served, version: u64) -> v1::Stamp {
    v1::Stamp { shard: served.shard.0, term: served.term.0, version, shard_time_ms: served.time_ms }
}

/// The stamp of a read: the version counter of the state that was read.
pub(super) fn stamp_of_read(served: Served) -> v1::Stamp {
    stamp(served, served.version)
}

/// How far a stale answer may be behind; absent in linearizable ones.
pub(super) fn lag(served: Served) -> Option<v1::Lag> {
    served.lag_entries.map(|entries| v1::Lag { entries, silence_ms: served.silence_ms })
}

/// A record.
pub(super) fn record(record: Record) -> v1::Record {
    v1::Record { value: record.value, version: record.version, expires_ms: record.expires_ms }
}

/// The outcome of a write that was applied; refusals of the state machine are statuses.
pub(super) fn applied(answer: Answer) -> Result<(Served, Outcome), Status> {
    match answer {
        Answer::Written(served, Outcome::Refused(refusal)) => Err(refusals::not_again(served.shard, refusal)),
        Answer::Written(served, Outcome::WrongSlot { .. }) => Err(refusals::wrong_slot(served.shard)),
        Answer::Written(_, Outcome::SeveralSlots { first, other }) => {
            Err(refusals::several_slots(first, other))
        }
        Answer::Written(served, outcome) => Ok((served, outcome)),
        answer => Err(unexpected(&answer)),
    }
}

/// An outcome of another kind of write: the same request id was used for two different writes.
pub(super) fn unexpected_outcome(served: Served, outcome: Outcome) -> Status {
    let shard = served.shard;
    refusals::precondition(
        Some(shard.0),
        format!("this request id was used for another kind of write before, which ended in {outcome:?}"),
    )
}

/// An answer to another question.
pub(super) fn unexpected(answer: &Answer) -> Status {
    unreachable!("a worker answered another question than was asked: {answer:?}")
}

/// A response without an outcome: a node of a newer version, or no node of ours.
pub(super) fn incomplete() -> Status {
    status::unknown(None, "the other node's response has no outcome that this version knows")
}
