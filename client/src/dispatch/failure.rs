//! What a failed attempt means.

use std::time::Duration;

use flotilla_proto::status;
use flotilla_proto::v1::{ErrorDetail, PipelineFailure};
use tonic::{Code, Status};

use super::Whereabouts;

/// How one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// This attempt was surely not executed and never will be.
    pub definite: bool,
    /// What to do about it.
    pub verdict: Verdict,
    /// Not worth trying again sooner.
    pub retry_after: Duration,
    /// What the fleet refused with; nothing where it was not the fleet that answered.
    pub code: Option<Code>,
    /// For people.
    pub message: String,
    /// The shard's clock in ms, where a refused deadline brought it along.
    pub shard_time_ms: Option<u64>,
}

/// What to do after a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask another replica: this one is gone, or cannot serve.
    Elsewhere,
    /// Ask the same one again, later: it leads, but is overloaded.
    Later,
    /// Nobody will answer differently.
    Stop,
    /// The request itself is wrong.
    Invalid {
        /// The field that is wrong; may be empty.
        field: String,
    },
}

impl Failure {
    /// The attempt never left: no connection could be made.
    #[must_use]
    pub fn not_sent(message: impl Into<String>) -> Self {
        Self { definite: true, ..Self::lost(message) }
    }

    /// The attempt left and nothing came back, in time or at all.
    #[must_use]
    pub fn lost(message: impl Into<String>) -> Self {
        Self {
            definite: false,
            verdict: Verdict::Elsewhere,
            retry_after: Duration::ZERO,
            code: None,
            message: message.into(),
            shard_time_ms: None,
        }
    }

    /// The attempt was answered with this status. Without our detail it may mean anything: gRPC itself makes statuses when a
    /// connection breaks, so the code then only chooses what to do next, never whether something happened.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        Self::told(status.code(), describe(status), status::detail(status))
    }

    /// The attempt was answered so in a pipeline: as by the status that a unary call would have had.
    #[must_use]
    pub fn from_pipeline(failure: PipelineFailure) -> Self {
        let code = Code::from_i32(failure.code);
        let message = Some(failure.message).filter(|message| !message.is_empty());
        Self::told(code, message.unwrap_or_else(|| code.description().to_owned()), failure.detail)
    }

    /// The stream that many attempts shared ended with this status. It speaks of the stream, not of any of them: it may forbid
    /// us to come, but it cannot call one of them wrong. A definite end is a promise of the fleet: everything that it read was
    /// answered before, so what has no answer by then was never read. What that means for each attempt, see [`Failure::befell`].
    #[must_use]
    pub fn of_stream(status: &Status) -> Self {
        let verdict = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Verdict::Stop,
            _ => Verdict::Elsewhere,
        };
        Self { verdict, ..Self::from_status(status) }
    }

    /// What this end of a stream means for an attempt that was there: what waited never left; of what had left only a definite
    /// end knows.
    #[must_use]
    pub fn befell(&self, whereabouts: Whereabouts) -> Self {
        let definite = match whereabouts {
            Whereabouts::Waiting => true,
            Whereabouts::Left => self.definite,
            Whereabouts::Gone => false,
        };
        Self { definite, ..self.clone() }
    }

    fn told(code: Code, message: String, detail: Option<ErrorDetail>) -> Self {
        let Some(detail) = detail else {
            return Self { verdict: verdict(code, false), ..Self::lost(message) };
        };
        let verdict = match verdict(code, true) {
            Verdict::Invalid { .. } => Verdict::Invalid { field: detail.field },
            other => other,
        };
        Self {
            definite: detail.definite,
            verdict,
            retry_after: Duration::from_millis(detail.retry_after_ms),
            code: Some(code),
            message,
            shard_time_ms: (detail.shard_time_ms > 0).then_some(detail.shard_time_ms),
        }
    }
}

/// `ours`: a node of the fleet made this status, not the gRPC layer.
fn verdict(code: Code, ours: bool) -> Verdict {
    match code {
        Code::InvalidArgument => Verdict::Invalid { field: String::new() },
        Code::ResourceExhausted if ours => Verdict::Later,
        // The deadline passed in shard time: the id will be refused for ever.
        Code::DeadlineExceeded if ours => Verdict::Stop,
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::OutOfRange => Verdict::Stop,
        _ => Verdict::Elsewhere,
    }
}

fn describe(status: &Status) -> String {
    let text = status.message();
    if text.is_empty() { status.code().description().to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_detail_makes_an_attempt_definite() {
        for code in [Code::Unavailable, Code::InvalidArgument, Code::Unauthenticated, Code::ResourceExhausted]
        {
            assert!(!Failure::from_status(&Status::new(code, "")).definite, "{code:?}");
        }
        assert!(Failure::from_status(&status::unavailable(None, 0, "no leader")).definite);
        assert!(!Failure::from_status(&status::unknown(None, "lost office")).definite);
        assert!(Failure::not_sent("refused").definite);
    }

    #[test]
    fn an_overloaded_leader_is_asked_again_and_a_lost_one_is_not() {
        let full = Failure::from_status(&status::exhausted(Some(1), 40, "full"));
        assert_eq!((full.verdict, full.retry_after), (Verdict::Later, Duration::from_millis(40)));
        let gone = Failure::from_status(&Status::unavailable("connection reset"));
        assert_eq!(gone.verdict, Verdict::Elsewhere);
        assert_eq!(gone.message, "connection reset");
    }

    #[test]
    fn a_refused_deadline_ends_the_operation_and_tells_the_time() {
        let detail = ErrorDetail { shard_time_ms: 77, ..ErrorDetail::default() };
        let refused = status::with_detail(Code::DeadlineExceeded, "the deadline has passed", &detail);
        let failure = Failure::from_status(&refused);
        assert_eq!((failure.verdict, failure.shard_time_ms), (Verdict::Stop, Some(77)));
        // The gRPC layer makes the same code when a timer of its own runs out.
        assert_eq!(Failure::from_status(&Status::deadline_exceeded("")).verdict, Verdict::Elsewhere);
    }

    #[test]
    fn a_wrong_field_is_named() {
        let failure = Failure::from_status(&status::invalid("key", "empty"));
        assert_eq!(failure.verdict, Verdict::Invalid { field: "key".into() });
    }

    #[test]
    fn a_failure_in_a_pipeline_means_what_its_status_would() {
        let detail = ErrorDetail { definite: true, retry_after_ms: 40, ..ErrorDetail::default() };
        let code = Code::ResourceExhausted as i32;
        let full = PipelineFailure { code, message: "full".into(), detail: Some(detail) };
        let unary = Failure::from_status(&status::exhausted(None, 40, "full"));
        assert_eq!(Failure::from_pipeline(full.clone()), unary);
        let bare = Failure::from_pipeline(PipelineFailure { detail: None, ..full });
        assert!(!bare.definite, "without our detail it is ambiguous");
    }

    #[test]
    fn the_end_of_a_stream_is_no_judgement_of_what_was_on_it() {
        let failure = Failure::of_stream(&status::invalid("operations", "too many"));
        assert_eq!(failure.verdict, Verdict::Elsewhere);
        assert_eq!(Failure::of_stream(&Status::permission_denied("")).verdict, Verdict::Stop);
    }

    #[test]
    fn only_a_definite_end_of_a_stream_tells_what_became_of_what_had_left() {
        let at = [Whereabouts::Waiting, Whereabouts::Left, Whereabouts::Gone];
        let known = |status: &Status| at.map(|at| Failure::of_stream(status).befell(at).definite);
        assert_eq!(known(&status::unavailable(None, 0, "this node is shutting down")), [true, true, false]);
        assert_eq!(known(&status::unknown(None, "lost")), [true, false, false]);
        for code in [Code::Ok, Code::Unavailable, Code::Cancelled, Code::Internal, Code::InvalidArgument] {
            assert_eq!(known(&Status::new(code, "made by somebody else")), [true, false, false], "{code:?}");
        }
    }
}
