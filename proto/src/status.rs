//! Errors on the wire: a [`tonic::Status`] that carries an [`ErrorDetail`] in the standard place.
//!
//! The trailer `grpc-status-details-bin` holds a `google.rpc.Status`, whose details are a list of `Any`; ours is one of
//! them, found by its type URL. Clients of any language find it there.
//!
//! The one rule that matters (DESIGN §8): **a status without our detail is ambiguous, whatever its code.** gRPC itself
//! makes UNAVAILABLE when a connection breaks, and then the request may have been executed. [`definite`] knows this;
//! nobody should look at the code to learn whether something happened.

use crate::v1::ErrorDetail;
use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

/// The type URL of [`ErrorDetail`] inside an `Any`.
pub const TYPE_URL: &str = "type.googleapis.com/flotilla.v1.ErrorDetail";

/// `google.rpc.Status` (google/rpc/status.proto), by its field numbers.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// A status that carries `detail`.
#[must_use]
pub fn with_detail(code: Code, message: impl Into<String>, detail: &ErrorDetail) -> Status {
    let message = message.into();
    let any = prost_types::Any { type_url: TYPE_URL.to_owned(), value: detail.encode_to_vec() };
    let whole = RpcStatus { code: code as i32, message: message.clone(), details: vec![any] };
    Status::with_details(code, message, Bytes::from(whole.encode_to_vec()))
}

/// The detail of a status, if it carries ours intact.
#[must_use]
pub fn detail(status: &Status) -> Option<ErrorDetail> {
    let whole = RpcStatus::decode(status.details()).ok()?;
    let any = whole.details.iter().find(|any| any.type_url == TYPE_URL)?;
    ErrorDetail::decode(any.value.as_slice()).ok()
}

/// Whether the attempt that ended in this status was surely not executed and never will be.
#[must_use]
pub fn definite(status: &Status) -> bool {
    detail(status).is_some_and(|detail| detail.definite)
}

/// INVALID_ARGUMENT, surely not executed: `field` names the request field that was wrong.
#[must_use]
pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Status {
    let detail = ErrorDetail { definite: true, field: field.into(), ..ErrorDetail::default() };
    with_detail(Code::InvalidArgument, message, &detail)
}

/// UNAVAILABLE, surely not executed: no leader, shutting down, slot frozen.
#[must_use]
pub fn unavailable(shard: Option<u64>, retry_after_ms: u64, message: impl Into<String>) -> Status {
    let detail = ErrorDetail { definite: true, retry_after_ms, shard, ..ErrorDetail::default() };
    with_detail(Code::Unavailable, message, &detail)
}

/// RESOURCE_EXHAUSTED, surely not executed: overload, disk watermark.
#[must_use]
pub fn exhausted(shard: Option<u64>, retry_after_ms: u64, message: impl Into<String>) -> Status {
    let detail = ErrorDetail { definite: true, retry_after_ms, shard, ..ErrorDetail::default() };
    with_detail(Code::ResourceExhausted, message, &detail)
}

/// UNKNOWN: it may have been executed, or may yet be. The leader lost office with the proposal in its log, or the
/// backend of a proxy went away in mid-request.
#[must_use]
pub fn unknown(shard: Option<u64>, message: impl Into<String>) -> Status {
    let detail = ErrorDetail { definite: false, shard, ..ErrorDetail::default() };
    with_detail(Code::Unknown, message, &detail)
}

/// What a server says when the stream of requests failed so. tonic refuses a message that is too long by its header, but
/// without our detail: it was not read, so surely nothing of it was executed.
#[must_use]
pub fn of_unread(failure: Status) -> Status {
    match failure.code() {
        Code::OutOfRange if detail(&failure).is_none() => invalid("", failure.message()),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataMap;

    #[test]
    fn a_detail_survives_the_trailers() {
        let detail = ErrorDetail {
            definite: true,
            retry_after_ms: 70,
            shard: Some(3),
            field: "key".into(),
            shard_time_ms: 5,
        };
        let sent = with_detail(Code::Unavailable, "no leader", &detail);
        let mut trailers = http_headers(&sent);
        let received = Status::from_header_map(&trailers).unwrap();
        assert_eq!(received.code(), Code::Unavailable);
        assert_eq!(received.message(), "no leader");
        assert_eq!(super::detail(&received), Some(detail));
        assert!(definite(&received));

        trailers.remove("grpc-status-details-bin");
        let bare = Status::from_header_map(&trailers).unwrap();
        assert!(!definite(&bare), "what lost its detail is ambiguous");
    }

    fn http_headers(status: &Status) -> tonic::codegen::http::HeaderMap {
        let mut headers = tonic::codegen::http::HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        assert!(!MetadataMap::from_headers(headers.clone()).is_empty());
        headers
    }

    #[test]
    fn a_status_without_our_detail_is_ambiguous_whatever_its_code() {
        for code in [Code::Unavailable, Code::InvalidArgument, Code::ResourceExhausted, Code::Unauthenticated]
        {
            assert!(!definite(&Status::new(code, "made by somebody else")), "{code:?}");
        }
    }

    #[test]
    fn garbage_and_foreign_details_are_no_detail() {
        let garbage = Status::with_details(Code::Unavailable, "", Bytes::from_static(&[0xFF, 0x01, 0x02]));
        assert_eq!(detail(&garbage), None);
        let foreign = prost_types::Any { type_url: "type.googleapis.com/x.Y".into(), value: vec![8, 1] };
        let whole = RpcStatus { code: 14, message: String::new(), details: vec![foreign] };
        let status = Status::with_details(Code::Unavailable, "", Bytes::from(whole.encode_to_vec()));
        assert!(!definite(&status));
    }

    #[test]
    fn a_message_that_was_too_long_to_be_read_was_surely_not_executed() {
        let told = of_unread(Status::out_of_range("found 7 bytes, the limit is: 5 bytes"));
        assert_eq!((told.code(), definite(&told)), (Code::InvalidArgument, true));
        assert_eq!(told.message(), "found 7 bytes, the limit is: 5 bytes");
        assert!(!definite(&of_unread(Status::internal("broken"))), "of other ends nobody knows");
    }

    #[test]
    fn each_maker_says_what_it_knows() {
        assert!(definite(&invalid("key", "empty")));
        assert_eq!(detail(&invalid("key", "empty")).unwrap().field, "key");
        assert!(definite(&unavailable(Some(1), 50, "no leader")));
        assert!(definite(&exhausted(None, 10, "full")));
        let lost = unknown(Some(0), "lost office");
        assert!(!definite(&lost));
        assert_eq!(detail(&lost).unwrap().shard, Some(0), "shard 0 is a shard, not an absence");
    }
}
