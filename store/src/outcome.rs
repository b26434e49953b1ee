//! What operations answer, and what a key holds.

use bytes::Bytes;
use flotilla_topology::Slot;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: Bytes,
    /// The step of the shard's counter that wrote it; at least 1.
    pub version: u64,
    /// From this shard time on (milliseconds) the key does not exist.
    pub expires_ms: Option<u64>,
}

impl Record {
    /// Whether the record is gone at this shard time.
    #[must_use]
    pub fn expired(&self, time_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= time_ms)
    }
}

/// What one operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A put took place.
    Written {
        /// The new version of the key.
        version: u64,
    },
    /// A delete took place; the key does not exist now.
    Deleted {
        /// Whether it existed before.
        existed: bool,
        /// The step of the counter that removed it; when there was nothing to remove, the counter as it
        /// stood.
        version: u64,
    },
    /// A comparison held and the value was written.
    Swapped {
        /// The new version of the key.
        version: u64,
    },
    /// A comparison failed; nothing was written.
    Conflict {
        /// What the key held then.
        current: Option<Record>,
    },
    /// The same, answered to a later attempt under the same request id: the record was too big to be
    /// remembered ([`CONFLICT_VALUE_BYTES_MAX`]) and the key has changed since.
    ConflictForgotten {
        /// The version that the key had then.
        version: u64,
    },
    /// A transaction took place: its compares were made, and one of its lists was executed.
    Txn(TxnOutcome),
    /// The keys of a transaction are of several slots: surely not executed, and not remembered.
    SeveralSlots {
        /// The slot of its first key.
        first: Slot,
        /// The slot of the first key of another slot.
        other: Slot,
    },
    /// The shard does not own the key's slot: surely not executed here, and not remembered.
    WrongSlot {
        /// The slot of the key.
        slot: Slot,
    },
    /// Refused without being executed now; an earlier attempt under the same request id may have been.
    Refused(Refusal),
}

/// What a transaction answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOutcome {
    /// Whether the compares held.
    pub succeeded: bool,
    /// Its step of the shard's counter, which all its puts carry. Every transaction takes one, whatever it does: so
    /// transactions that only read have their place among the writes too.
    pub version: u64,
    /// One for each operation of the list that was executed, in its order.
    pub results: Vec<TxnResult>,
    /// The values that were read are empty here: together they were too big to be remembered for a later attempt
    /// under the same request id ([`TXN_VALUES_BYTES_MAX`]), or to be sent at all.
    pub values_forgotten: bool,
}

impl TxnOutcome {
    /// The bytes of the values that were read.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        let bytes = |result: &TxnResult| match result {
            TxnResult::Got(Some(record)) => record.value.len(),
            TxnResult::Got(None) | TxnResult::Put | TxnResult::Deleted { .. } => 0,
        };
        self.results.iter().map(bytes).sum()
    }

    /// The same without the values, if together they have more than so many bytes.
    #[must_use]
    pub fn with_values_of_at_most(mut self, bytes_max: usize) -> Self {
        if self.value_bytes() > bytes_max {
            self.values_forgotten = true;
            for result in &mut self.results {
                if let TxnResult::Got(Some(record)) = result {
                    record.value = Bytes::new();
                }
            }
        }
        self
    }
}

/// What one operation of a transaction answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnResult {
    /// What the key held.
    Got(Option<Record>),
    /// The key was written, with the version of the transaction.
    Put,
    /// The key does not exist now.
    Deleted {
        /// Whether it existed before.
        existed: bool,
    },
}

/// Why an attempt was refused. Both are ambiguous: an earlier attempt may have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sequence is below the client's floor: the client said that it has this answer already.
    Stale {
        /// The greatest `acknowledged` seen from the client.
        floor: u64,
    },
    /// The deadline has passed in shard time.
    Expired {
        /// The shard time of the refusal, in milliseconds.
        time_ms: u64,
    },
}

/// A conflict remembers the record that it met when its value has at most this many bytes, else only the
/// version. One entry may hold many thousand comparisons that meet the same mebibyte.
pub const CONFLICT_VALUE_BYTES_MAX: usize = 1024;

/// A transaction remembers the values that it read when together they have at most this many bytes, else only
/// their versions and expiries. An entry may hold many transactions, and each may read many keys.
pub const TXN_VALUES_BYTES_MAX: usize = 1024;
