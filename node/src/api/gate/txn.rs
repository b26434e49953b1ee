//! The gate of transactions: every compare has a condition, every operation a kind, all keys are of one slot, and all of
//! it together is no bigger than a batch.

use std::fmt;

use bytes::Bytes;
use flotilla_proto::limits::TXN_OPERATIONS_MAX;
use flotilla_proto::v1::txn_operation::Operation as Kind;
use flotilla_proto::{status, v1};
use flotilla_store::{Compare, Condition, Txn, TxnOperation};
use flotilla_topology::Slot;
use tonic::Status;

use super::{key_in, ttl_in, value_in};
use crate::config::Limits;

/// A transaction within all limits, and its first key, which stands for the slot of all.
pub(in crate::api) fn txn(limits: &Limits, asked: &v1::TxnRequest) -> Result<(Bytes, Txn), Status> {
    let parts = asked.compares.len() + asked.then.len() + asked.otherwise.len();
    if parts > TXN_OPERATIONS_MAX {
        let text = format!("{parts} compares and operations are more than {TXN_OPERATIONS_MAX}");
        return Err(status::invalid("then", text));
    }
    let mut gate = Gate { limits, first: None };
    let compares = asked.compares.iter().enumerate();
    let compares = compares.map(|(place, it)| gate.compare(place, it)).collect::<Result<_, _>>()?;
    let then = gate.operations("then", &asked.then)?;
    let otherwise = gate.operations("otherwise", &asked.otherwise)?;
    let Some(First { key, .. }) = gate.first else {
        return Err(status::invalid(
            "then",
            "a transaction needs a compare or an operation: it names no key",
        ));
    };
    let txn = Txn { compares, then, otherwise };
    let (bytes, bytes_max) = (txn.payload_bytes(), limits.batch_bytes_max.as_usize());
    if bytes > bytes_max {
        let text =
            format!("the keys and values of the transaction have {bytes} bytes, more than {bytes_max}");
        return Err(status::invalid("then", text));
    }
    Ok((key, txn))
}

/// Where in the request something stands, as errors name it.
#[derive(Clone, Copy)]
struct Place {
    list: &'static str,
    number: usize,
    field: &'static str,
}

impl Place {
    fn is(self, field: &'static str) -> Self {
        Self { field, ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { list, number, field } = self;
        let dot = if field.is_empty() { "" } else { "." };
        write!(f, "{list}[{number}]{dot}{field}")
    }
}

struct Gate<'a> {
    limits: &'a Limits,
    first: Option<First>,
}

/// The first key, and where it stood.
struct First {
    key: Bytes,
    slot: Slot,
    at: Place,
}

impl Gate<'_> {
    fn compare(&mut self, number: usize, asked: &v1::Compare) -> Result<Compare, Status> {
        let at = Place { list: "compares", number, field: "" };
        let key = self.key(at.is("key"), &asked.key)?;
        let condition = match &asked.condition {
            Some(v1::compare::Condition::Version(version)) => Condition::Version(*version),
            Some(v1::compare::Condition::Value(value)) => {
                Condition::Value(value_in(self.limits, &at.is("value"), value.clone())?)
            }
            Some(v1::compare::Condition::Exists(true)) => Condition::Exists,
            Some(v1::compare::Condition::Exists(false)) => Condition::Absent,
            None => {
                let text = format!("{at} has no condition: version, value or exists");
                return Err(status::invalid(at.to_string(), text));
            }
        };
        Ok(Compare { key, condition })
    }

    fn operations(
        &mut self,
        list: &'static str,
        asked: &[v1::TxnOperation],
    ) -> Result<Vec<TxnOperation>, Status> {
        let places = (0..).map(|number| Place { list, number, field: "" });
        places.zip(asked).map(|(at, operation)| self.operation(at, operation)).collect()
    }

    fn operation(&mut self, at: Place, asked: &v1::TxnOperation) -> Result<TxnOperation, Status> {
        match &asked.operation {
            Some(Kind::Get(get)) => Ok(TxnOperation::Get { key: self.key(at.is("get.key"), &get.key)? }),
            Some(Kind::Put(put)) => Ok(TxnOperation::Put {
                key: self.key(at.is("put.key"), &put.key)?,
                value: value_in(self.limits, &at.is("put.value"), put.value.clone())?,
                ttl_ms: ttl_in(&at.is("put.ttl_ms"), put.ttl_ms)?,
            }),
            Some(Kind::Delete(delete)) => {
                Ok(TxnOperation::Delete { key: self.key(at.is("delete.key"), &delete.key)? })
            }
            None => {
                let text = format!("{at} is no operation: get, put or delete");
                Err(status::invalid(at.to_string(), text))
            }
        }
    }

    fn key(&mut self, at: Place, key: &Bytes) -> Result<Bytes, Status> {
        let key = key_in(self.limits, &at, key.clone())?;
        let slot = Slot::of(&key);
        let first = self.first.get_or_insert_with(|| First { key: key.clone(), slot, at });
        if slot == first.slot {
            return Ok(key);
        }
        let text = format!(
            "the keys of a transaction must be of one slot: {} is of slot {}, {at} of slot {}; a common part in \
             braces, as in {{user7}}name and {{user7}}mail, keeps keys together",
            first.at,
            first.slot.number(),
            slot.number()
        );
        Err(status::invalid(at.to_string(), text))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::config::Bytes as Size;

    fn limits() -> Limits {
        Limits {
            key_bytes_max: Size(8),
            value_bytes_max: Size(16),
            batch_bytes_max: Size(64),
            deadline_max_ms: 60_000,
        }
    }

    fn compare(key: &'static str, condition: v1::compare::Condition) -> v1::Compare {
        v1::Compare { key: key.into(), condition: Some(condition) }
    }

    fn get(key: &'static str) -> v1::TxnOperation {
        v1::TxnOperation { operation: Some(Kind::Get(v1::TxnGet { key: key.into() })) }
    }

    fn put(key: &'static str, value: &'static str, ttl_ms: Option<u64>) -> v1::TxnOperation {
        let put = v1::TxnPut { key: key.into(), value: value.into(), ttl_ms };
        v1::TxnOperation { operation: Some(Kind::Put(put)) }
    }

    fn delete(key: &'static str) -> v1::TxnOperation {
        v1::TxnOperation { operation: Some(Kind::Delete(v1::TxnDelete { key: key.into() })) }
    }

    fn then(operations: impl Into<Vec<v1::TxnOperation>>) -> v1::TxnRequest {
        v1::TxnRequest { then: operations.into(), ..v1::TxnRequest::default() }
    }

    #[track_caller]
    fn refused(asked: &v1::TxnRequest, field: &str) -> String {
        let Err(refusal) = txn(&limits(), asked) else { panic!("a wrong {field} was accepted") };
        assert_eq!(refusal.code(), Code::InvalidArgument);
        let detail = status::detail(&refusal).expect("our errors carry a detail");
        assert_eq!((detail.field.as_str(), detail.definite), (field, true));
        refusal.message().to_string()
    }

    #[test]
    fn every_part_becomes_what_it_says() {
        use v1::compare::Condition as Asked;
        let asked = v1::TxnRequest {
            compares: vec![
                compare("{t}a", Asked::Version(0)),
                compare("{t}b", Asked::Value("v".into())),
                compare("{t}c", Asked::Exists(true)),
                compare("{t}d", Asked::Exists(false)),
            ],
            then: vec![get("{t}a"), put("{t}b", "", Some(5))],
            otherwise: vec![delete("{t}c")],
            ..v1::TxnRequest::default()
        };
        let (key, parsed) = txn(&limits(), &asked).unwrap();
        assert_eq!(key, "{t}a");
        let conditions: Vec<_> = parsed.compares.into_iter().map(|compare| compare.condition).collect();
        let value = Condition::Value("v".into());
        assert_eq!(conditions, [Condition::Version(0), value, Condition::Exists, Condition::Absent]);
        let put = TxnOperation::Put { key: "{t}b".into(), value: Bytes::new(), ttl_ms: Some(5) };
        assert_eq!(parsed.then, [TxnOperation::Get { key: "{t}a".into() }, put]);
        assert_eq!(parsed.otherwise, [TxnOperation::Delete { key: "{t}c".into() }]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        refused(&then([]), "then");
        refused(&then([get("a"), v1::TxnOperation::default()]), "then[1]");
        refused(&then([get("")]), "then[0].get.key");
        refused(&then([get("123456789")]), "then[0].get.key");
        refused(&then([put("a", "12345678901234567", None)]), "then[0].put.value");
        refused(&then([put("a", "", Some(0))]), "then[0].put.ttl_ms");
        refused(
            &v1::TxnRequest { otherwise: vec![delete("")], ..then([get("a")]) },
            "otherwise[0].delete.key",
        );
        let bare = v1::Compare { key: "a".into(), condition: None };
        refused(&v1::TxnRequest { compares: vec![bare], ..then([get("a")]) }, "compares[0]");
        let long = compare("a", v1::compare::Condition::Value("12345678901234567".into()));
        refused(&v1::TxnRequest { compares: vec![long], ..then([]) }, "compares[0].value");
    }

    #[test]
    fn keys_of_two_slots_are_refused_with_both() {
        let asked = v1::TxnRequest { otherwise: vec![get("{t}b"), get("foo")], ..then([get("{t}a")]) };
        let text = refused(&asked, "otherwise[1].get.key");
        for part in ["then[0].get.key", "12182", &Slot::of(b"t").number().to_string()] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn too_much_is_refused_and_as_much_as_may_be_is_not() {
        let full = vec![get("a"); TXN_OPERATIONS_MAX / 2];
        let mut asked = v1::TxnRequest { otherwise: full.clone(), ..then(full) };
        let roomy = Limits { batch_bytes_max: Size(1 << 10), ..limits() };
        assert_eq!(txn(&roomy, &asked).unwrap().1.parts(), TXN_OPERATIONS_MAX);
        asked.compares = vec![compare("a", v1::compare::Condition::Exists(true))];
        refused(&asked, "then");
        let value = "123456789012345";
        assert!(txn(&limits(), &then(vec![put("a", value, None); 4])).is_ok(), "64 bytes");
        refused(&then([vec![put("a", value, None); 4], vec![get("a")]].concat()), "then");
    }
}
