//! An error, as HTTP says it: a status code and `{"error": {…}}`.
//!
//! `definite` says the same as in gRPC: true only where the request was surely not executed and never will be.

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flotilla_proto::status;
use serde::Serialize;
use tonic::{Code, Status};

use super::kv::VERSION;

/// Not worth asking again sooner while the process is full, in ms.
const FULL_RETRY_MS: u64 = 100;

/// Why a request has no result.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: Error,
}

#[derive(Debug, Serialize)]
struct Error {
    code: &'static str,
    message: String,
    definite: bool,
    retry_after_ms: u64,
    /// The version that a comparison met; 0: there is no such key.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

impl Refusal {
    /// Surely not executed.
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let error = Error { code, message: message.into(), definite: true, retry_after_ms: 0, version: None };
        Self { status, error }
    }

    /// The request itself is wrong.
    pub(super) fn wrong(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
    }

    /// There is no such path.
    pub(super) fn nowhere() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this path")
    }

    /// Nothing that is secret is told to who showed no certificate.
    pub(super) fn unknown_caller() -> Self {
        let message = "show a certificate of the fleet's authority; without one there are /healthz, /readyz and /metrics";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    /// There is no such key.
    pub(super) fn missing() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such key")
    }

    /// A verb that keys do not know.
    pub(super) fn verb() -> Self {
        let message = "a key knows GET, HEAD, PUT and DELETE";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNIMPLEMENTED", message)
    }

    /// A comparison met this version; nothing was written. `precondition`: it stood in a header.
    pub(super) fn conflict(version: u64, precondition: bool) -> Self {
        let message = match version {
            0 => "there is no such key".to_owned(),
            version => format!("the key has version {version}"),
        };
        let status = if precondition { StatusCode::PRECONDITION_FAILED } else { StatusCode::CONFLICT };
        let mut this = Self::new(status, "CONFLICT", message);
        this.error.version = Some(version);
        this
    }

    /// The value is too long.
    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("a value may have {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_ARGUMENT", message)
    }

    /// The body came too slowly.
    pub(super) fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "DEADLINE_EXCEEDED", "the body did not come in time")
    }

    /// Too much is under way here.
    pub(super) fn overloaded() -> Self {
        let message = "too many requests are under way over HTTP";
        let mut this = Self::new(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", message);
        this.error.retry_after_ms = FULL_RETRY_MS;
        this
    }

    /// The process has no fleet yet.
    pub(super) fn unready() -> Self {
        let message = "this process does not serve keys yet";
        let mut this = Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message);
        this.error.retry_after_ms = FULL_RETRY_MS;
        this
    }

    /// No answer came in time. Only of a read can be said that nothing happened.
    pub(super) fn unanswered(definite: bool) -> Self {
        let mut this = Self::new(StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", "no answer came in time");
        this.error.definite = definite;
        this
    }

    /// The answer is none that this version knows.
    pub(super) fn strange() -> Self {
        let message = "the answer has no outcome that this version knows";
        let mut this = Self::new(StatusCode::GATEWAY_TIMEOUT, "UNKNOWN", message);
        this.error.definite = false;
        this
    }
}

impl From<Status> for Refusal {
    fn from(failure: Status) -> Self {
        let detail = status::detail(&failure).unwrap_or_default();
        let (status, code) = match failure.code() {
            // The one thing that can be wrong with a value is its length.
            Code::InvalidArgument if detail.field == "value" => {
                (StatusCode::PAYLOAD_TOO_LARGE, "INVALID_ARGUMENT")
            }
            Code::InvalidArgument | Code::OutOfRange => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
            Code::FailedPrecondition => (StatusCode::BAD_REQUEST, "FAILED_PRECONDITION"),
            Code::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            Code::PermissionDenied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
            Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
            Code::Unknown | Code::Cancelled | Code::Aborted => (StatusCode::GATEWAY_TIMEOUT, "UNKNOWN"),
            Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
            Code::Ok | Code::AlreadyExists | Code::Internal | Code::DataLoss => {
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL")
            }
        };
        let mut this = Self::new(status, code, failure.message());
        this.error.definite = detail.definite;
        this.error.retry_after_ms = detail.retry_after_ms;
        this
    }
}

#[derive(Serialize)]
struct Body {
    error: Error,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, error } = self;
        let (retry_after_ms, version) = (error.retry_after_ms, error.version);
        // A structure of texts and numbers always becomes JSON.
        let text = serde_json::to_string(&Body { error }).unwrap_or_default() + "\n";
        let mut response = (status, [(CONTENT_TYPE, "application/json")], text).into_response();
        let headers = response.headers_mut();
        if retry_after_ms > 0 {
            // HTTP knows whole seconds only; the exact hint stands in the body.
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1000)));
        }
        if let Some(version) = version {
            headers.insert(VERSION, HeaderValue::from(version));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, DELETE"));
        }
        response
    }
}
