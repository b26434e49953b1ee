//! Transactions: compares, then one of two lists of operations, all of it as one operation of the shard.
//!
//! All keys are of one slot: the gate says so to the client, apply says so again. An operation of a list is
//! written like one of a command, without a request id of its own (`docs/formats/entry.md`).

use bytes::{BufMut, Bytes, BytesMut};

use super::{FLAG_TTL, TAG_DELETE, TAG_GET, TAG_PUT};
use crate::encoding::{DecodeError, Reader, put_bytes, put_varint};
use crate::outcome::Record;

const CONDITION_VERSION: u8 = 1;
const CONDITION_VALUE: u8 = 2;
const CONDITION_EXISTS: u8 = 3;
const CONDITION_ABSENT: u8 = 4;

/// The shortest compare, and the shortest operation: a tag and an empty key.
const PART_BYTES_MIN: usize = 2;
/// Parts for which room is reserved at once: as many as the gate lets a client send. A decoded part is some forty
/// times as big as its shortest form.
const PARTS_RESERVED: usize = 128;

/// What a transaction does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold, else `otherwise` is executed. None: they hold.
    pub compares: Vec<Compare>,
    /// Executed in this order when the compares hold; a later operation sees what an earlier one did.
    pub then: Vec<TxnOperation>,
    /// Executed when they do not.
    pub otherwise: Vec<TxnOperation>,
}

/// What a key must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// The condition.
    pub condition: Condition,
}

/// A condition on what a key holds at the shard time of the apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has this version; 0: it does not exist.
    Version(u64),
    /// It exists and holds exactly these bytes.
    Value(Bytes),
    /// It exists.
    Exists,
    /// It does not exist.
    Absent,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOperation {
    /// Tell what the key holds.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Write the value, whatever was there.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// As in [`Action::Put`](super::Action::Put).
        ttl_ms: Option<u64>,
    },
    /// Remove the key.
    Delete {
        /// The key.
        key: Bytes,
    },
}

impl Txn {
    /// All operations, of both lists.
    fn operations(&self) -> impl Iterator<Item = &TxnOperation> {
        self.then.iter().chain(&self.otherwise)
    }

    /// The keys of all compares and operations. A key may come several times.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let compared = self.compares.iter().map(|compare| &compare.key);
        compared.chain(self.operations().map(TxnOperation::key))
    }

    /// The keys whose present value the outcome may depend on. A key may come several times.
    pub fn keys_read(&self) -> impl Iterator<Item = &Bytes> {
        let compared = self.compares.iter().map(|compare| &compare.key);
        let reading = self.operations().filter(|operation| operation.reads());
        compared.chain(reading.map(TxnOperation::key))
    }

    /// How many compares and operations there are, both lists counted.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.compares.len() + self.then.len() + self.otherwise.len()
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        let compared: usize = self.compares.iter().map(Compare::payload_bytes).sum();
        compared + self.operations().map(TxnOperation::payload_bytes).sum::<usize>()
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_varint(out, self.compares.len() as u64);
        for compare in &self.compares {
            compare.encode(out);
        }
        for list in [&self.then, &self.otherwise] {
            put_varint(out, list.len() as u64);
            for operation in list {
                operation.encode(out);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            compares: decode_list(reader, "compares", Compare::decode)?,
            then: decode_list(reader, "operations if they hold", TxnOperation::decode)?,
            otherwise: decode_list(reader, "operations otherwise", TxnOperation::decode)?,
        })
    }
}

/// Reads a count and so many parts. The count is not trusted: it reserves at most what was sent.
fn decode_list<T>(
    reader: &mut Reader,
    what: &'static str,
    decode: impl Fn(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.varint(what)?;
    let fits = usize::try_from(count).ok().filter(|&count| count <= reader.remaining() / PART_BYTES_MIN);
    let Some(count) = fits else { return Err(DecodeError::Short { what }) };
    let mut parts = Vec::with_capacity(count.min(PARTS_RESERVED));
    for _ in 0..count {
        parts.push(decode(reader)?);
    }
    Ok(parts)
}

impl Condition {
    /// Whether it holds for what the key holds.
    #[must_use]
    pub fn holds(&self, found: Option<&Record>) -> bool {
        match self {
            Self::Version(version) => found.map_or(0, |record| record.version) == *version,
            Self::Value(value) => found.is_some_and(|record| record.value == value),
            Self::Exists => found.is_some(),
            Self::Absent => found.is_none(),
        }
    }
}

impl Compare {
    fn payload_bytes(&self) -> usize {
        let value = if let Condition::Value(value) = &self.condition { value.len() } else { 0 };
        self.key.len() + value
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self.condition {
            Condition::Version(_) => CONDITION_VERSION,
            Condition::Value(_) => CONDITION_VALUE,
            Condition::Exists => CONDITION_EXISTS,
            Condition::Absent => CONDITION_ABSENT,
        });
        put_bytes(out, &self.key);
        match &self.condition {
            Condition::Version(version) => put_varint(out, *version),
            Condition::Value(value) => put_bytes(out, value),
            Condition::Exists | Condition::Absent => {}
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let tag = reader.u8("compare")?;
        let key = reader.bytes("key")?;
        let condition = match tag {
            CONDITION_VERSION => Condition::Version(reader.varint("expected version")?),
            CONDITION_VALUE => Condition::Value(reader.bytes("expected value")?),
            CONDITION_EXISTS => Condition::Exists,
            CONDITION_ABSENT => Condition::Absent,
            tag => return Err(DecodeError::Unknown { what: "compare", tag: u64::from(tag) }),
        };
        Ok(Self { key, condition })
    }
}

impl TxnOperation {
    /// The key that the operation is about.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    const fn reads(&self) -> bool {
        match self {
            Self::Put { .. } => false,
            Self::Get { .. } | Self::Delete { .. } => true,
        }
    }

    fn payload_bytes(&self) -> usize {
        let value = if let Self::Put { value, .. } = self { value.len() } else { 0 };
        self.key().len() + value
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Get { key } => {
                out.put_u8(TAG_GET);
                put_bytes(out, key);
            }
            Self::Put { key, value, ttl_ms } => {
                out.put_u8(if ttl_ms.is_some() { TAG_PUT | FLAG_TTL } else { TAG_PUT });
                if let Some(ttl_ms) = ttl_ms {
                    put_varint(out, *ttl_ms);
                }
                put_bytes(out, key);
                put_bytes(out, value);
            }
            Self::Delete { key } => {
                out.put_u8(TAG_DELETE);
                put_bytes(out, key);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        const TAG_PUT_WITH_TTL: u8 = TAG_PUT | FLAG_TTL;
        let head = reader.u8("operation")?;
        let ttl_ms = if head == TAG_PUT_WITH_TTL { Some(reader.varint("ttl")?) } else { None };
        Ok(match head {
            TAG_GET => Self::Get { key: reader.bytes("key")? },
            TAG_PUT | TAG_PUT_WITH_TTL => {
                Self::Put { key: reader.bytes("key")?, value: reader.bytes("value")?, ttl_ms }
            }
            TAG_DELETE => Self::Delete { key: reader.bytes("key")? },
            _ => return Err(DecodeError::Unknown { what: "operation of a txn", tag: u64::from(head) }),
        })
    }
}
