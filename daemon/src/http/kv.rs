//! `/v1/kv/{key}`: one key, over the unary methods of `Kv`.
//!
//! A write begins when its whole body is here, so that one that breaks off writes nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_proto::v1::kv_server::Kv;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use tonic::Status;

use super::question::{Expected, Question};
use super::refusal::Refusal;
use super::{Face, Process};

/// The version of the value that was read, written, or met by a comparison (0: there is no such key).
pub(super) const VERSION: HeaderName = HeaderName::from_static("flotilla-version");
/// When the value ends, in ms of shard time; absent: never.
const EXPIRES: HeaderName = HeaderName::from_static("flotilla-expires-ms");
/// The shard that answered.
const SHARD: HeaderName = HeaderName::from_static("flotilla-shard");
/// How many entries a stale answer may be behind.
const LAG: HeaderName = HeaderName::from_static("flotilla-lag-entries");

/// How long a body may take to come.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Answers a request for a key.
pub(super) async fn serve<P: Process>(State(face): State<Arc<Face<P>>>, request: Request) -> Response {
    let answered = answer(&face, request).await;
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What was stored is bytes: no browser shall take it for a page of ours.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn answer<P: Process>(face: &Face<P>, request: Request) -> Result<Response, Refusal> {
    let _room = face.requests.try_acquire().map_err(|_| Refusal::overloaded())?;
    let method = request.method().clone();
    if ![Method::GET, Method::HEAD, Method::PUT, Method::DELETE].contains(&method) {
        return Err(Refusal::verb());
    }
    let question = Question::read(&method, request.uri(), request.headers())?;
    let kv = face.process.kv().ok_or_else(Refusal::unready)?;
    if method == Method::PUT {
        let (parts, body) = request.into_parts();
        let (value, _held) = face.body(&parts.headers, body).await?;
        return match question.version {
            Some(expected) => face.swap(&kv, question, expected, value).await,
            None => face.put(&kv, question, value).await,
        };
    }
    if method == Method::DELETE {
        return match question.version {
            Some(expected) => face.delete_if(&kv, question, expected).await,
            None => face.delete(&kv, question).await,
        };
    }
    face.get(&kv, question).await
}

impl<P: Process> Face<P> {
    /// The whole body, if it is not longer than a value may be.
    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, SemaphorePermit<'_>), Refusal> {
        let bytes_max = self.options.value_bytes_max;
        let stated = headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
        let stated = stated.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if stated.is_some_and(|bytes| bytes > bytes_max) {
            return Err(Refusal::too_large(bytes_max));
        }
        let room = u32::try_from(stated.unwrap_or(bytes_max)).unwrap_or(u32::MAX);
        let held = self.bodies.try_acquire_many(room).map_err(|_| Refusal::overloaded())?;
        let collected = timeout(BODY_PATIENCE, Limited::new(body, bytes_max).collect()).await;
        match collected.map_err(|_| Refusal::slow_body())? {
            Ok(whole) => Ok((whole.to_bytes(), held)),
            Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large(bytes_max)),
            Err(_) => Err(Refusal::wrong("the body broke off; nothing was written")),
        }
    }

    async fn get(&self, kv: &P::Kv, question: Question) -> Result<Response, Refusal> {
        let consistency = if question.stale { v1::Consistency::Stale } else { v1::Consistency::Linearizable };
        let request = v1::GetRequest {
            key: question.key,
            route_mode: v1::RouteMode::Proxy.into(),
            consistency: consistency.into(),
        };
        let answer = self.within(true, kv.get(tonic::Request::new(request))).await?;
        let Some(v1::get_response::Outcome::Result(result)) = answer.outcome else {
            return Err(Refusal::strange());
        };
        let record = result.record.ok_or_else(Refusal::missing)?;
        let mut response = if question.known == Some(record.version) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(CONTENT_TYPE, "application/octet-stream")], record.value).into_response()
        };
        let headers = response.headers_mut();
        state_version(headers, record.version);
        state_shard(headers, result.stamp.as_ref());
        if let Some(expires_ms) = record.expires_ms {
            headers.insert(EXPIRES, HeaderValue::from(expires_ms));
        }
        if let Some(lag) = result.lag {
            headers.insert(LAG, HeaderValue::from(lag.entries));
        }
        Ok(response)
    }

    async fn put(&self, kv: &P::Kv, question: Question, value: Bytes) -> Result<Response, Refusal> {
        let request = v1::PutRequest {
            key: question.key,
            value,
            ttl_ms: question.ttl_ms,
            route_mode: v1::RouteMode::Proxy.into(),
            request: None,
        };
        let answer = self.within(false, kv.put(tonic::Request::new(request))).await?;
        let Some(v1::put_response::Outcome::Result(result)) = answer.outcome else {
            return Err(Refusal::strange());
        };
        Ok(written(result.version, result.stamp.as_ref()))
    }

    async fn swap(
        &self,
        kv: &P::Kv,
        question: Question,
        expected: Expected,
        value: Bytes,
    ) -> Result<Response, Refusal> {
        let request = v1::CompareAndSwapRequest {
            key: question.key,
            value,
            ttl_ms: question.ttl_ms,
            expected_version: expected.version,
            route_mode: v1::RouteMode::Proxy.into(),
            request: None,
        };
        let answer = self.within(false, kv.compare_and_swap(tonic::Request::new(request))).await?;
        let Some(v1::compare_and_swap_response::Outcome::Result(result)) = answer.outcome else {
            return Err(Refusal::strange());
        };
        if !result.swapped {
            let current = result.current.map_or(0, |record| record.version);
            return Err(Refusal::conflict(current, expected.precondition));
        }
        Ok(written(result.version, result.stamp.as_ref()))
    }

    async fn delete(&self, kv: &P::Kv, question: Question) -> Result<Response, Refusal> {
        let request =
            v1::DeleteRequest { key: question.key, route_mode: v1::RouteMode::Proxy.into(), request: None };
        let answer = self.within(false, kv.delete(tonic::Request::new(request))).await?;
        let Some(v1::delete_response::Outcome::Result(result)) = answer.outcome else {
            return Err(Refusal::strange());
        };
        Ok(deleted(result.existed, result.stamp.as_ref()))
    }

    /// A deletion that compares is a transaction: there is no such verb.
    async fn delete_if(
        &self,
        kv: &P::Kv,
        question: Question,
        expected: Expected,
    ) -> Result<Response, Refusal> {
        use v1::txn_operation::Operation;
        let key = question.key;
        let operation = |operation| vec![v1::TxnOperation { operation: Some(operation) }];
        let condition = v1::compare::Condition::Version(expected.version);
        let request = v1::TxnRequest {
            compares: vec![v1::Compare { key: key.clone(), condition: Some(condition) }],
            then: operation(Operation::Delete(v1::TxnDelete { key: key.clone() })),
            otherwise: operation(Operation::Get(v1::TxnGet { key })),
            route_mode: v1::RouteMode::Proxy.into(),
            request: None,
        };
        let answer = self.within(false, kv.txn(tonic::Request::new(request))).await?;
        let Some(v1::txn_response::Outcome::Result(result)) = answer.outcome else {
            return Err(Refusal::strange());
        };
        match result.results.into_iter().next().and_then(|result| result.result) {
            Some(v1::txn_operation_result::Result::Delete(it)) => {
                Ok(deleted(it.existed, result.stamp.as_ref()))
            }
            Some(v1::txn_operation_result::Result::Get(it)) => {
                let current = it.record.map_or(0, |record| record.version);
                Err(Refusal::conflict(current, expected.precondition))
            }
            _ => Err(Refusal::strange()),
        }
    }

    /// The answer, if it comes in time.
    async fn within<T>(
        &self,
        read: bool,
        answer: impl Future<Output = Result<tonic::Response<T>, Status>> + Send,
    ) -> Result<T, Refusal> {
        let answered = timeout(self.options.patience, answer).await;
        Ok(answered.map_err(|_| Refusal::unanswered(read))??.into_inner())
    }
}

fn written(version: u64, stamp: Option<&v1::Stamp>) -> Response {
    let mut response = json(format!("{{\"version\":{version}}}\n"));
    state_version(response.headers_mut(), version);
    state_shard(response.headers_mut(), stamp);
    response
}

/// A deletion of what does not exist is done: its repetition must not look like a failure.
fn deleted(existed: bool, stamp: Option<&v1::Stamp>) -> Response {
    let mut response = json(format!("{{\"existed\":{existed}}}\n"));
    state_shard(response.headers_mut(), stamp);
    response
}

fn json(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

fn state_version(headers: &mut HeaderMap, version: u64) {
    headers.insert(VERSION, HeaderValue::from(version));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        headers.insert(ETAG, tag);
    }
}

fn state_shard(headers: &mut HeaderMap, stamp: Option<&v1::Stamp>) {
    if let Some(stamp) = stamp {
        headers.insert(SHARD, HeaderValue::from(stamp.shard));
    }
}
