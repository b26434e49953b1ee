//! What goes in and comes out: plain values, none of them tied to the wire.

use std::time::Duration;

use bytes::Bytes;
use flotilla_proto::v1;

/// The version of a value, from a counter per shard: each write of a shard makes a greater one. 0 is no version: as the
/// expected one of a compare-and-swap it means "must not exist".
pub type Version = u64;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes that were put.
    pub bytes: Bytes,
    /// The version that the put made.
    pub version: Version,
    /// When it ends, in ms of shard time (the shard's clock, ms since the Unix epoch); nothing: never.
    pub expires: Option<u64>,
}

/// What came of a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The comparison held; this is the new version.
    Swapped(Version),
    /// It did not, and nothing changed. What is there; nothing: no such key.
    Conflict(Option<Value>),
}

/// What a replica answered that may be behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// What the key held there; nothing: there was no such key.
    pub value: Option<Value>,
    /// Entries that the replica knew to be committed and had not applied yet.
    pub lag_entries: u64,
    /// How long ago it had last heard from its leader; zero on a leader.
    pub silence: Duration,
}

/// A key and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// What it holds.
    pub value: Value,
}

/// The keys of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanRange {
    /// The first key, inclusive; empty: from the start.
    pub from: Bytes,
    /// The end, exclusive; nothing: to the last key.
    pub to: Option<Bytes>,
    /// From the greatest key down.
    pub reverse: bool,
    /// At most so many records; nothing: all.
    pub limit: Option<u64>,
}

impl ScanRange {
    /// Whether no key can lie in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limit == Some(0) || self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

impl From<v1::Record> for Value {
    fn from(record: v1::Record) -> Self {
        Self { bytes: record.value, version: record.version, expires: record.expires_ms }
    }
}

/// A time to live as the wire has it, in whole ms.
pub(crate) fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
