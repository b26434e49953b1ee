//! A remembered result: what is kept of an outcome, and its bytes (`docs/formats/base.md`).
//!
//! Values are kept up to a bound only, because they are kept in memory for as long as a client may ask again. They are
//! copied: a slice would keep the whole entry alive that wrote the value.

use bytes::{BufMut, Bytes, BytesMut};

use crate::encoding::{DecodeError, Reader, put_bytes, put_varint};
use crate::layout;
use crate::outcome::{
    CONFLICT_VALUE_BYTES_MAX, Outcome, Record, TXN_VALUES_BYTES_MAX, TxnOutcome, TxnResult,
};

/// A remembered result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Written {
        version: u64,
    },
    Deleted {
        existed: bool,
        version: u64,
    },
    Swapped {
        version: u64,
    },
    Conflict {
        current: Option<Box<Record>>,
    },
    /// The record was too big to keep.
    ConflictForgotten {
        version: u64,
    },
    /// Boxed, because most results are of single writes and stay small.
    Txn(Box<TxnAnswer>),
}

/// What is kept of a transaction. Its results stay encoded: a read takes a few bytes so, and a decoded one
/// sixty-four.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TxnAnswer {
    version: u64,
    results: Bytes,
}

const ANSWER_WRITTEN: u8 = 1;
const ANSWER_DELETED: u8 = 2;
const ANSWER_MISSING: u8 = 3;
const ANSWER_SWAPPED: u8 = 4;
const ANSWER_CONFLICT: u8 = 5;
const ANSWER_CONFLICT_ABSENT: u8 = 6;
const ANSWER_CONFLICT_FORGOTTEN: u8 = 7;
const ANSWER_TXN: u8 = 8;

impl Answer {
    /// What is kept of an outcome; `None`: nothing, the operation was not executed.
    pub(super) fn of(outcome: &Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Written { version } => Self::Written { version: *version },
            Outcome::Deleted { existed, version } => Self::Deleted { existed: *existed, version: *version },
            Outcome::Swapped { version } => Self::Swapped { version: *version },
            Outcome::Conflict { current: None } => Self::Conflict { current: None },
            Outcome::Conflict { current: Some(record) } if record.value.len() > CONFLICT_VALUE_BYTES_MAX => {
                Self::ConflictForgotten { version: record.version }
            }
            Outcome::Conflict { current: Some(record) } => {
                // Copied: a slice would keep the whole entry that wrote the value in memory.
                let value = Bytes::copy_from_slice(&record.value);
                Self::Conflict { current: Some(Box::new(Record { value, ..record.clone() })) }
            }
            Outcome::Txn(txn) => {
                Self::Txn(Box::new(TxnAnswer { version: txn.version, results: encode_results(txn) }))
            }
            Outcome::ConflictForgotten { .. }
            | Outcome::SeveralSlots { .. }
            | Outcome::WrongSlot { .. }
            | Outcome::Refused(_) => return None,
        })
    }

    /// What a later attempt is told.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Written { version } => Outcome::Written { version: *version },
            Self::Deleted { existed, version } => Outcome::Deleted { existed: *existed, version: *version },
            Self::Swapped { version } => Outcome::Swapped { version: *version },
            Self::Conflict { current } => Outcome::Conflict { current: current.as_deref().cloned() },
            Self::ConflictForgotten { version } => Outcome::ConflictForgotten { version: *version },
            Self::Txn(txn) => match decode_results(txn.version, txn.results.clone()) {
                Ok(outcome) => Outcome::Txn(outcome),
                Err(error) => {
                    unreachable!("results that were encoded or checked here cannot be read: {error}")
                }
            },
        }
    }

    /// What it takes in memory beside its place, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Conflict { current: Some(record) } => record.value.len() + 64,
            Self::Txn(txn) => txn.results.len() + 64,
            _ => 0,
        }
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let (tag, version) = match self {
            Self::Written { version } => (ANSWER_WRITTEN, *version),
            Self::Deleted { existed: true, version } => (ANSWER_DELETED, *version),
            Self::Deleted { existed: false, version } => (ANSWER_MISSING, *version),
            Self::Swapped { version } => (ANSWER_SWAPPED, *version),
            Self::ConflictForgotten { version } => (ANSWER_CONFLICT_FORGOTTEN, *version),
            Self::Conflict { current: None } => (ANSWER_CONFLICT_ABSENT, 0),
            Self::Conflict { current: Some(record) } => {
                out.put_u8(ANSWER_CONFLICT);
                put_bytes(out, &layout::encode_record(record));
                return;
            }
            Self::Txn(txn) => {
                out.put_u8(ANSWER_TXN);
                put_varint(out, txn.version);
                put_bytes(out, &txn.results);
                return;
            }
        };
        out.put_u8(tag);
        put_varint(out, version);
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let tag = reader.u8("result")?;
        if tag == ANSWER_CONFLICT {
            let record = layout::decode_record(reader.bytes("record")?)?;
            return Ok(Self::Conflict { current: Some(Box::new(record)) });
        }
        let version = reader.varint("version")?;
        Ok(match tag {
            ANSWER_WRITTEN => Self::Written { version },
            ANSWER_DELETED => Self::Deleted { existed: true, version },
            ANSWER_MISSING => Self::Deleted { existed: false, version },
            ANSWER_SWAPPED => Self::Swapped { version },
            ANSWER_CONFLICT_ABSENT => Self::Conflict { current: None },
            ANSWER_CONFLICT_FORGOTTEN => Self::ConflictForgotten { version },
            ANSWER_TXN => {
                let results = reader.bytes("results of a txn")?;
                decode_results(version, results.clone())?;
                Self::Txn(Box::new(TxnAnswer { version, results }))
            }
            tag => return Err(DecodeError::Unknown { what: "result", tag: u64::from(tag) }),
        })
    }
}

const FLAG_SUCCEEDED: u8 = 1;
const FLAG_VALUES_FORGOTTEN: u8 = 2;

const RESULT_PUT: u8 = 1;
const RESULT_DELETED: u8 = 2;
const RESULT_MISSING: u8 = 3;
const RESULT_GOT: u8 = 4;
const RESULT_GOT_NOTHING: u8 = 5;

/// What is kept of a transaction's results: all of it, or all but the values when they are too big together.
fn encode_results(txn: &TxnOutcome) -> Bytes {
    let txn = txn.clone().with_values_of_at_most(TXN_VALUES_BYTES_MAX);
    let mut out = BytesMut::new();
    let succeeded = if txn.succeeded { FLAG_SUCCEEDED } else { 0 };
    out.put_u8(succeeded | if txn.values_forgotten { FLAG_VALUES_FORGOTTEN } else { 0 });
    for result in &txn.results {
        match result {
            TxnResult::Put => out.put_u8(RESULT_PUT),
            TxnResult::Deleted { existed: true } => out.put_u8(RESULT_DELETED),
            TxnResult::Deleted { existed: false } => out.put_u8(RESULT_MISSING),
            TxnResult::Got(None) => out.put_u8(RESULT_GOT_NOTHING),
            TxnResult::Got(Some(record)) => {
                out.put_u8(RESULT_GOT);
                put_bytes(&mut out, &layout::encode_record(record));
            }
        }
    }
    // Without the room that growing left unused: this stays in memory.
    Bytes::copy_from_slice(&out)
}

fn decode_results(version: u64, bytes: Bytes) -> Result<TxnOutcome, DecodeError> {
    let mut reader = Reader::new(bytes);
    let flags = reader.u8("flags of a txn")?;
    if flags > FLAG_SUCCEEDED | FLAG_VALUES_FORGOTTEN {
        return Err(DecodeError::Unknown { what: "flags of a txn", tag: u64::from(flags) });
    }
    let mut results = Vec::new();
    while reader.remaining() > 0 {
        results.push(match reader.u8("result of a txn")? {
            RESULT_PUT => TxnResult::Put,
            RESULT_DELETED => TxnResult::Deleted { existed: true },
            RESULT_MISSING => TxnResult::Deleted { existed: false },
            RESULT_GOT => TxnResult::Got(Some(layout::decode_record(reader.bytes("record")?)?)),
            RESULT_GOT_NOTHING => TxnResult::Got(None),
            tag => return Err(DecodeError::Unknown { what: "result of a txn", tag: u64::from(tag) }),
        });
    }
    Ok(TxnOutcome {
        succeeded: flags & FLAG_SUCCEEDED != 0,
        version,
        results,
        values_forgotten: flags & FLAG_VALUES_FORGOTTEN != 0,
    })
}
