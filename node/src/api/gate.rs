//! The gate: what a client sent becomes types of ours, or INVALID_ARGUMENT with the name of the field.

mod txn;

use std::fmt::Display;

use bytes::Bytes;
use flotilla_proto::{status, v1};
use flotilla_store::RequestId;
use tonic::Status;

pub(super) use txn::txn;

use crate::config::Limits;
use crate::host::Consistency;

/// A key within its limits.
pub(super) fn key(limits: &Limits, key: Bytes) -> Result<Bytes, Status> {
    key_in(limits, &"key", key)
}

/// A key that stands in this field.
fn key_in(limits: &Limits, field: &dyn Display, key: Bytes) -> Result<Bytes, Status> {
    if key.is_empty() {
        return Err(status::invalid(field.to_string(), format!("the {field} is empty")));
    }
    at_most(field, key.len(), limits.key_bytes_max.as_usize())?;
    Ok(key)
}

/// A value within its limits; it may be empty.
pub(super) fn value(limits: &Limits, value: Bytes) -> Result<Bytes, Status> {
    value_in(limits, &"value", value)
}

/// A value that stands in this field.
fn value_in(limits: &Limits, field: &dyn Display, value: Bytes) -> Result<Bytes, Status> {
    at_most(field, value.len(), limits.value_bytes_max.as_usize())?;
    Ok(value)
}

/// A time to live. One of nothing is refused: a value that is gone before it was there is nobody's wish, but what becomes
/// of half a millisecond that was rounded down. One beyond the end of time is for ever.
pub(super) fn ttl(ttl_ms: Option<u64>) -> Result<Option<u64>, Status> {
    ttl_in(&"ttl_ms", ttl_ms)
}

/// A time to live that stands in this field.
fn ttl_in(field: &dyn Display, ttl_ms: Option<u64>) -> Result<Option<u64>, Status> {
    if ttl_ms == Some(0) {
        return Err(status::invalid(
            field.to_string(),
            format!("the {field} is 0: a value lives for at least 1 ms, or for ever without it"),
        ));
    }
    Ok(ttl_ms)
}

/// The bound of a scan; empty stands for "no bound".
pub(super) fn bound(limits: &Limits, field: &'static str, bound: Bytes) -> Result<Bytes, Status> {
    // One byte more than a key: "after this key" is the key and a zero.
    at_most(&field, bound.len(), limits.key_bytes_max.as_usize().saturating_add(1))?;
    Ok(bound)
}

/// The id that makes a write happen at most once. Without one it is executed unremembered.
pub(super) fn request(request: Option<v1::RequestId>) -> Result<Option<RequestId>, Status> {
    request.map(request_id).transpose()
}

/// A request id as the state machine takes it.
///
/// # Errors
/// INVALID_ARGUMENT, naming the field.
pub fn request_id(request: v1::RequestId) -> Result<RequestId, Status> {
    let client = request.client.map(u128::from).unwrap_or_default();
    if client == 0 {
        return Err(status::invalid("request.client", "a request id needs a client, drawn at random"));
    }
    if request.sequence == 0 {
        return Err(status::invalid("request.sequence", "sequences begin with 1"));
    }
    if request.deadline_ms == 0 {
        return Err(status::invalid(
            "request.deadline_ms",
            "a request id needs a deadline, in ms of shard time",
        ));
    }
    if request.acknowledged >= request.sequence {
        return Err(status::invalid(
            "request.acknowledged",
            "a write that the client has the answer of must not be sent again",
        ));
    }
    Ok(RequestId {
        client,
        sequence: request.sequence,
        // On the wire: answered up to and including. In the state machine: answered below.
        acknowledged: request.acknowledged + 1,
        deadline_ms: request.deadline_ms,
    })
}

/// How fresh a read must be.
pub(super) fn consistency(number: i32) -> Result<Consistency, Status> {
    match v1::Consistency::try_from(number) {
        Ok(v1::Consistency::Linearizable) => Ok(Consistency::Linearizable),
        Ok(v1::Consistency::Stale) => Ok(Consistency::Stale),
        Err(_) => Err(status::invalid("consistency", format!("there is no consistency {number}"))),
    }
}

/// What to do with a request for another node.
pub(super) fn route_mode(number: i32) -> Result<v1::RouteMode, Status> {
    v1::RouteMode::try_from(number)
        .map_err(|_| status::invalid("route_mode", format!("there is no route mode {number}")))
}

fn at_most(field: &dyn Display, bytes: usize, bytes_max: usize) -> Result<(), Status> {
    if bytes > bytes_max {
        let text = format!("the {field} has {bytes} bytes, more than {bytes_max}");
        return Err(status::invalid(field.to_string(), text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::config::Bytes as Size;

    fn limits() -> Limits {
        Limits {
            key_bytes_max: Size(4),
            value_bytes_max: Size(8),
            batch_bytes_max: Size(64),
            deadline_max_ms: 60_000,
        }
    }

    #[track_caller]
    fn refused<T>(result: Result<T, Status>, field: &str) {
        let Err(refusal) = result else { panic!("a wrong {field} was accepted") };
        assert_eq!(refusal.code(), Code::InvalidArgument);
        let detail = status::detail(&refusal).expect("our errors carry a detail");
        assert_eq!((detail.field.as_str(), detail.definite), (field, true));
    }

    #[test]
    fn what_is_over_a_limit_is_named() {
        let limits = limits();
        refused(key(&limits, Bytes::new()), "key");
        refused(key(&limits, Bytes::from_static(b"12345")), "key");
        assert!(key(&limits, Bytes::from_static(b"1234")).is_ok());
        refused(value(&limits, Bytes::from_static(b"123456789")), "value");
        assert!(value(&limits, Bytes::new()).is_ok());
        refused(bound(&limits, "from", Bytes::from_static(b"123456")), "from");
        assert!(bound(&limits, "from", Bytes::from_static(b"12345")).is_ok());
        refused(ttl(Some(0)), "ttl_ms");
        assert_eq!([ttl(None).unwrap(), ttl(Some(u64::MAX)).unwrap()], [None, Some(u64::MAX)]);
        refused(consistency(7), "consistency");
        refused(route_mode(7), "route_mode");
    }

    #[test]
    fn a_request_id_is_whole_or_refused() {
        let whole = v1::RequestId { client: Some(7.into()), sequence: 3, acknowledged: 2, deadline_ms: 9 };
        let id = request_id(whole).unwrap();
        assert_eq!((id.client, id.sequence, id.acknowledged, id.deadline_ms), (7, 3, 3, 9));
        refused(request_id(v1::RequestId { client: None, ..whole }), "request.client");
        refused(request_id(v1::RequestId { sequence: 0, ..whole }), "request.sequence");
        refused(request_id(v1::RequestId { deadline_ms: 0, ..whole }), "request.deadline_ms");
        refused(request_id(v1::RequestId { acknowledged: 3, ..whole }), "request.acknowledged");
    }
}
