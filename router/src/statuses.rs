//! What an error of the SDK says on the wire.
//!
//! `definite` is true only where every attempt was surely not executed; the SDK has judged that (DESIGN §8). The code and
//! the hints are those of the last attempt where they speak of it, so that a refusal reads as if the client had asked the
//! node itself.

use flotilla_client::{Error, Unanswered};
use flotilla_proto::status;
use flotilla_proto::v1::ErrorDetail;
use tonic::{Code, Status};

/// The status of a request that was not answered.
#[must_use]
pub fn status_of(unanswered: &Unanswered) -> Status {
    let last = unanswered.last.as_ref();
    let shard = unanswered.shard.map(|shard| shard.0);
    match &unanswered.error {
        Error::Invalid { field, message } => {
            let detail =
                ErrorDetail { definite: true, shard, field: field.clone(), ..ErrorDetail::default() };
            status::with_detail(Code::InvalidArgument, message, &detail)
        }
        Error::NotExecuted { retry_after, message } => {
            // A lost read is not executed either, whatever the code of its last attempt.
            let said = last.filter(|last| last.definite).and_then(|last| last.code);
            let retry_after_ms =
                retry_after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            let detail = ErrorDetail { definite: true, retry_after_ms, shard, ..ErrorDetail::default() };
            status::with_detail(said.unwrap_or(Code::Unavailable), message, &detail)
        }
        Error::Unknown { message } => {
            // A deadline that passed in shard time passed for ever. Other codes of the last attempt say nothing of the one
            // that was lost.
            let passed = last.is_some_and(|last| last.code == Some(Code::DeadlineExceeded));
            let code = if passed { Code::DeadlineExceeded } else { Code::Unknown };
            let shard_time_ms = last.and_then(|last| last.shard_time_ms).unwrap_or_default();
            let detail = ErrorDetail { definite: false, shard, shard_time_ms, ..ErrorDetail::default() };
            status::with_detail(code, message, &detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flotilla_client::dispatch::Failure;
    use flotilla_topology::ShardId;

    use super::*;

    fn made(error: Error, last: Option<Failure>) -> (Code, ErrorDetail) {
        let made = status_of(&Unanswered { error, last, shard: Some(ShardId(3)) });
        (made.code(), status::detail(&made).unwrap())
    }

    fn not_executed() -> Error {
        Error::NotExecuted { retry_after: Some(Duration::from_millis(40)), message: "no".into() }
    }

    #[test]
    fn a_refusal_keeps_its_code_and_its_hints() {
        let full = Failure::from_status(&status::exhausted(Some(3), 40, "full"));
        let (code, detail) = made(not_executed(), Some(full));
        assert_eq!((code, detail.definite, detail.retry_after_ms), (Code::ResourceExhausted, true, 40));
        assert_eq!(detail.shard, Some(3));
        let nobody = made(not_executed(), Some(Failure::not_sent("refused")));
        assert_eq!((nobody.0, nobody.1.definite), (Code::Unavailable, true));
        let lost_read = Failure::from_status(&status::unknown(None, "lost office"));
        assert_eq!(made(not_executed(), Some(lost_read)).0, Code::Unavailable);
    }

    #[test]
    fn what_may_have_happened_is_never_definite() {
        let unknown = || Error::Unknown { message: "lost".into() };
        // The last attempt was surely not executed; an earlier one was lost.
        let full = Failure::from_status(&status::exhausted(Some(3), 40, "full"));
        let (code, detail) = made(unknown(), Some(full));
        assert_eq!((code, detail.definite), (Code::Unknown, false));

        let detail = ErrorDetail { shard_time_ms: 77, ..ErrorDetail::default() };
        let late = Failure::from_status(&status::with_detail(Code::DeadlineExceeded, "late", &detail));
        let (code, detail) = made(unknown(), Some(late));
        assert_eq!((code, detail.definite, detail.shard_time_ms), (Code::DeadlineExceeded, false, 77));
    }

    #[test]
    fn a_wrong_field_is_named() {
        let wrong = Error::Invalid { field: "key".into(), message: "it is empty".into() };
        let (code, detail) = made(wrong, None);
        assert_eq!((code, detail.definite, detail.field.as_str()), (Code::InvalidArgument, true, "key"));
    }
}
