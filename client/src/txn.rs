//! Transactions: comparisons, then one of two lists of operations, all of it atomic.
//!
//! A transaction is one write operation of one shard: it has one request id, makes one version, and nobody sees a part of it.
//! Therefore all its keys must be of one slot. Keys that belong together get there by a hash tag: of `{order7}:head` and
//! `{order7}:lines` only `order7` is hashed.
//!
//! What can be known to be wrong without asking is refused here: no key, an empty one, keys of several slots, too many
//! operations, too many bytes. The fleet's own limits may be lower, and it will say so.
//!
//! What it does not do: transactions over several slots.

use std::time::Duration;

use bytes::Bytes;
use flotilla_proto::limits::{BATCH_BYTES_MAX, TXN_OPERATIONS_MAX};
use flotilla_proto::v1;
use flotilla_proto::v1::compare::Condition;
use flotilla_proto::v1::txn_operation::Operation;
use flotilla_proto::v1::txn_operation_result::Result as Answered;
use flotilla_topology::Slot;

use crate::value::ttl_ms;
use crate::{Client, Error, Value, Version};

/// A transaction, put together step by step.
///
/// ```
/// use flotilla_client::Txn;
///
/// // Moves the flag from one ship to another, if it is still where we saw it.
/// let txn = Txn::new()
///     .when_version("{flag}:bounty", 7)
///     .when_absent("{flag}:pinta")
///     .delete("{flag}:bounty")
///     .put("{flag}:pinta", "here")
///     .otherwise_get("{flag}:bounty");
/// # let _ = txn;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "it does nothing until it is given to Client::txn"]
pub struct Txn {
    compares: Vec<v1::Compare>,
    then: Vec<v1::TxnOperation>,
    otherwise: Vec<v1::TxnOperation>,
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// The version that it made; all its puts carry it.
    pub version: Version,
    /// One for each operation of the list that was executed, in its order.
    pub results: Vec<TxnAnswer>,
    /// The answer to the first attempt was lost, and the values that it read were too big to be remembered: the values in
    /// `results` are then empty, though their versions are right. What was written was written once all the same.
    pub values_forgotten: bool,
}

/// What came of one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnAnswer {
    /// Of a get: what was there; nothing: no such key.
    Got(Option<Value>),
    /// Of a put: the version that it wrote.
    Put(Version),
    /// Of a delete: whether the key existed.
    Deleted(bool),
}

impl Txn {
    /// Compares nothing and does nothing yet. Without comparisons they hold.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the key has this version; 0: if there is no such key.
    pub fn when_version(self, key: impl Into<Bytes>, version: Version) -> Self {
        self.when(key, Condition::Version(version))
    }

    /// Only if the key exists and holds exactly this.
    pub fn when_value(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.when(key, Condition::Value(value.into()))
    }

    /// Only if the key exists.
    pub fn when_exists(self, key: impl Into<Bytes>) -> Self {
        self.when(key, Condition::Exists(true))
    }

    /// Only if there is no such key.
    pub fn when_absent(self, key: impl Into<Bytes>) -> Self {
        self.when(key, Condition::Exists(false))
    }

    /// When all comparisons hold: reads a key. Sees what the operations before it did, as all operations do.
    pub fn get(mut self, key: impl Into<Bytes>) -> Self {
        self.then.push(get(key));
        self
    }

    /// When all comparisons hold: writes a value.
    pub fn put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.then.push(put(key, value, None));
        self
    }

    /// When all comparisons hold: writes a value that ends after `ttl` of shard time, in whole ms; `None`: it stays.
    pub fn put_with_ttl(
        mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Self {
        self.then.push(put(key, value, ttl));
        self
    }

    /// When all comparisons hold: deletes a key.
    pub fn delete(mut self, key: impl Into<Bytes>) -> Self {
        self.then.push(delete(key));
        self
    }

    /// When a comparison fails: reads a key.
    pub fn otherwise_get(mut self, key: impl Into<Bytes>) -> Self {
        self.otherwise.push(get(key));
        self
    }

    /// When a comparison fails: writes a value.
    pub fn otherwise_put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.otherwise.push(put(key, value, None));
        self
    }

    /// When a comparison fails: writes a value that ends after `ttl` of shard time, in whole ms; `None`: it stays.
    pub fn otherwise_put_with_ttl(
        mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Self {
        self.otherwise.push(put(key, value, ttl));
        self
    }

    /// When a comparison fails: deletes a key.
    pub fn otherwise_delete(mut self, key: impl Into<Bytes>) -> Self {
        self.otherwise.push(delete(key));
        self
    }

    fn when(mut self, key: impl Into<Bytes>, condition: Condition) -> Self {
        self.compares.push(v1::Compare { key: key.into(), condition: Some(condition) });
        self
    }
}

impl Client {
    /// Executes a transaction. That its comparisons failed is a result, not an error: see [`TxnResult::succeeded`].
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        let Txn { compares, then, otherwise } = txn;
        let route_mode = self.crew.route_mode();
        let mut request = v1::TxnRequest { compares, then, otherwise, route_mode, request: None };
        let write = self.begin_write(check(&request)?);
        request.request = Some(write.id);
        read(write.run(&request).await?)
    }
}

fn get(key: impl Into<Bytes>) -> v1::TxnOperation {
    operation(Operation::Get(v1::TxnGet { key: key.into() }))
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>, ttl: Option<Duration>) -> v1::TxnOperation {
    operation(Operation::Put(v1::TxnPut { key: key.into(), value: value.into(), ttl_ms: ttl.map(ttl_ms) }))
}

fn delete(key: impl Into<Bytes>) -> v1::TxnOperation {
    operation(Operation::Delete(v1::TxnDelete { key: key.into() }))
}

const fn operation(operation: Operation) -> v1::TxnOperation {
    v1::TxnOperation { operation: Some(operation) }
}

/// Checks what can be known here. Returns the slot of all its keys.
pub(crate) fn check(txn: &v1::TxnRequest) -> Result<Slot, Error> {
    let count = txn.compares.len() + txn.then.len() + txn.otherwise.len();
    if count > TXN_OPERATIONS_MAX {
        let message = format!("{count} compares and operations, at most {TXN_OPERATIONS_MAX} are allowed");
        return Err(Error::invalid("operations", message));
    }
    let bytes = bytes(txn);
    if bytes > BATCH_BYTES_MAX {
        let message =
            format!("keys and values have {bytes} bytes, at most {BATCH_BYTES_MAX} fit into a message");
        return Err(Error::invalid("operations", message));
    }
    let mut keys = parts(txn).map(|(key, _)| key);
    let first = keys.next().ok_or_else(|| Error::invalid("key", "a transaction needs at least one"))?;
    let slot = Slot::of(first);
    for key in std::iter::once(first).chain(keys) {
        if key.is_empty() {
            return Err(Error::invalid("key", "it is empty"));
        }
        if Slot::of(key) != slot {
            let (first, key) = (first.escape_ascii(), key.escape_ascii());
            let message =
                format!("all keys of a transaction must be of one slot: \"{first}\" and \"{key}\" are not");
            return Err(Error::invalid("key", message));
        }
    }
    Ok(slot)
}

/// Its keys and values together.
pub(crate) fn bytes(txn: &v1::TxnRequest) -> usize {
    parts(txn).fold(0, |sum, (key, value)| sum.saturating_add(key.len() + value))
}

/// Each key, and how many bytes come with it. What says nothing (a request of a later release) is left to the nodes to judge.
fn parts(txn: &v1::TxnRequest) -> impl Iterator<Item = (&Bytes, usize)> {
    let compares = txn.compares.iter().map(|compare| match &compare.condition {
        Some(Condition::Value(value)) => (&compare.key, value.len()),
        _ => (&compare.key, 0),
    });
    let operations = txn.then.iter().chain(&txn.otherwise);
    let operations = operations.filter_map(|operation| match operation.operation.as_ref()? {
        Operation::Get(get) => Some((&get.key, 0)),
        Operation::Put(put) => Some((&put.key, put.value.len())),
        Operation::Delete(delete) => Some((&delete.key, 0)),
    });
    compares.chain(operations)
}

fn read(result: v1::TxnResult) -> Result<TxnResult, Error> {
    let results: Option<Vec<TxnAnswer>> =
        result.results.into_iter().map(|it| it.result.map(answer)).collect();
    // It was executed, but what came of it cannot be told.
    let results =
        results.ok_or_else(|| Error::Unknown { message: "the answer cannot be read".to_owned() })?;
    let version = result.stamp.map_or(0, |stamp| stamp.version);
    Ok(TxnResult { succeeded: result.succeeded, version, results, values_forgotten: result.values_forgotten })
}

fn answer(result: Answered) -> TxnAnswer {
    match result {
        Answered::Get(get) => TxnAnswer::Got(get.record.map(Value::from)),
        Answered::Put(put) => TxnAnswer::Put(put.version),
        Answered::Delete(delete) => TxnAnswer::Deleted(delete.existed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(txn: Txn) -> Result<Slot, String> {
        let Txn { compares, then, otherwise } = txn;
        let request = v1::TxnRequest { compares, then, otherwise, ..v1::TxnRequest::default() };
        check(&request).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_of_one_slot_are_one_transaction_and_others_are_named() {
        let txn = Txn::new().when_absent("{a}1").put("{a}2", "").otherwise_delete("{a}3");
        assert_eq!(checked(txn.clone()), Ok(Slot::of(b"a")));
        let refused = checked(txn.otherwise_get("b\n")).unwrap_err();
        assert!(refused.contains("\"{a}1\" and \"b\\n\""), "{refused}");
    }

    #[test]
    fn what_is_never_right_is_refused() {
        assert!(checked(Txn::new()).unwrap_err().contains("at least one"));
        assert!(checked(Txn::new().get("a").delete("")).unwrap_err().contains("empty"));
        let many = |count| (0..count).fold(Txn::new().when_exists("a"), |txn, _| txn.get("a"));
        assert!(checked(many(TXN_OPERATIONS_MAX - 1)).is_ok());
        assert!(checked(many(TXN_OPERATIONS_MAX)).unwrap_err().contains("129"));
        let long = |bytes| Txn::new().when_value("a", "12").put("b{a}", vec![0; bytes]);
        assert!(checked(long(BATCH_BYTES_MAX - 7)).is_ok());
        assert!(checked(long(BATCH_BYTES_MAX - 6)).unwrap_err().contains("bytes"));
    }
}
