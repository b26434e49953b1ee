//! Commands: what a log entry of a shard holds, and its bytes (`docs/formats/entry.md`).
//!
//! One entry carries many operations: all that were ready for the shard when the leader turned. The bytes are
//! hand-written because every put passes them four times (leader, two followers, restart): decoding slices
//! the entry and copies nothing. A command with no operations only advances shard time (a *time entry*).

mod txn;

use bytes::{BufMut, Bytes, BytesMut};

pub use txn::{Compare, Condition, Txn, TxnOperation};

use crate::encoding::{DecodeError, Reader, put_bytes, put_varint};

/// The first byte of every command.
const FORMAT: u8 = 1;

const TAG_PUT: u8 = 1;
const TAG_DELETE: u8 = 2;
const TAG_COMPARE_AND_SWAP: u8 = 3;
const TAG_TXN: u8 = 4;
/// Only inside a transaction.
const TAG_GET: u8 = 5;
// Reserved, see docs/formats/entry.md: 16..=31 = slot moves. Unknown until then, so that a release that does
// not know them refuses the entry instead of skipping it: replicas would part ways.

/// Set in the tag's byte when a request id follows.
const FLAG_REQUEST: u8 = 0x80;
/// Set in the tag's byte when a ttl follows.
const FLAG_TTL: u8 = 0x40;

/// Names one write of one client; all attempts carry the same one, and no hop recomputes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The client: random, drawn once per client.
    pub client: u128,
    /// The number of the operation, drawn in rising order by the client.
    pub sequence: u64,
    /// The client has the answers of all operations *below* this sequence.
    pub acknowledged: u64,
    /// From this shard time on (milliseconds) the operation is refused and its result forgotten. Not bounded
    /// here: the gate refuses what lies further ahead than `deadline_max`, because results are remembered
    /// that long.
    pub deadline_ms: u64,
}

/// One operation of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `None`: executed without being remembered, every attempt anew.
    pub request: Option<RequestId>,
    /// What to do.
    pub action: Action,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the value, whatever was there.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// Lives this long from the shard time of its apply, in milliseconds.
        ttl_ms: Option<u64>,
    },
    /// Remove the key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Write the value if the key's version is the expected one.
    CompareAndSwap {
        /// The key.
        key: Bytes,
        /// The version that must be there; 0: the key must not exist.
        expected: u64,
        /// The value.
        value: Bytes,
        /// As in [`Action::Put`].
        ttl_ms: Option<u64>,
    },
    /// Compare, then execute one of two lists of operations, atomically.
    Txn(Txn),
}

impl Action {
    /// Calls back with each key whose present value the outcome may depend on. A key may come several times.
    pub fn for_each_key_read(&self, mut found: impl FnMut(&Bytes)) {
        match self {
            Self::Put { .. } => {}
            Self::Delete { key } | Self::CompareAndSwap { key, .. } => found(key),
            Self::Txn(txn) => txn.keys_read().for_each(found),
        }
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } | Self::CompareAndSwap { key, value, .. } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
            Self::Txn(txn) => txn.payload_bytes(),
        }
    }
}

/// What the data of a log entry says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The leader's clock when it proposed, in milliseconds since 1970. Shard time becomes at least this.
    pub stamp_ms: u64,
    /// Applied in this order.
    pub operations: Vec<Operation>,
}

impl Command {
    /// The bytes of the entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let size: usize = self.operations.iter().map(|operation| operation.size_hint()).sum();
        let mut out = BytesMut::with_capacity(16 + size);
        out.put_u8(FORMAT);
        put_varint(&mut out, self.stamp_ms);
        put_varint(&mut out, self.operations.len() as u64);
        for operation in &self.operations {
            operation.encode(&mut out);
        }
        out.freeze()
    }

    /// Reads the bytes of an entry; keys and values are slices of it.
    ///
    /// # Errors
    ///
    /// Any form, tag or version that this release does not write.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("command")?;
        if format != FORMAT {
            return Err(DecodeError::Unknown { what: "command format", tag: u64::from(format) });
        }
        let stamp_ms = reader.varint("stamp")?;
        let count = reader.varint("operation count")?;
        // The count is not trusted: an operation takes at least two bytes, so this reserves at most what was
        // sent.
        let fits = usize::try_from(count).ok().filter(|&count| count <= reader.remaining() / 2);
        let Some(count) = fits else { return Err(DecodeError::Short { what: "operations" }) };
        let mut operations = Vec::with_capacity(count.min(OPERATIONS_RESERVED));
        for _ in 0..count {
            operations.push(Operation::decode(&mut reader)?);
        }
        reader.end("command")?;
        Ok(Self { stamp_ms, operations })
    }
}

/// Operations for which room is reserved at once: a decoded operation is some forty times as big as its
/// shortest form.
const OPERATIONS_RESERVED: usize = 1024;

impl Operation {
    fn size_hint(&self) -> usize {
        64 + self.action.payload_bytes()
    }

    fn encode(&self, out: &mut BytesMut) {
        let (tag, ttl) = match &self.action {
            Action::Put { ttl_ms, .. } => (TAG_PUT, *ttl_ms),
            Action::Delete { .. } => (TAG_DELETE, None),
            Action::CompareAndSwap { ttl_ms, .. } => (TAG_COMPARE_AND_SWAP, *ttl_ms),
            Action::Txn(_) => (TAG_TXN, None),
        };
        let request = if self.request.is_some() { FLAG_REQUEST } else { 0 };
        out.put_u8(tag | request | if ttl.is_some() { FLAG_TTL } else { 0 });
        if let Some(request) = &self.request {
            out.put_u128(request.client);
            put_varint(out, request.sequence);
            put_varint(out, request.acknowledged);
            put_varint(out, request.deadline_ms);
        }
        if let Some(ttl_ms) = ttl {
            put_varint(out, ttl_ms);
        }
        match &self.action {
            Action::Put { key, value, .. } => {
                put_bytes(out, key);
                put_bytes(out, value);
            }
            Action::Delete { key } => put_bytes(out, key),
            Action::CompareAndSwap { key, expected, value, .. } => {
                put_bytes(out, key);
                put_varint(out, *expected);
                put_bytes(out, value);
            }
            Action::Txn(txn) => txn.encode(out),
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let head = reader.u8("operation")?;
        let request = if head & FLAG_REQUEST == 0 { None } else { Some(RequestId::decode(reader)?) };
        let ttl_ms = if head & FLAG_TTL == 0 { None } else { Some(reader.varint("ttl")?) };
        let action = match head & !(FLAG_REQUEST | FLAG_TTL) {
            TAG_PUT => Action::Put { key: reader.bytes("key")?, value: reader.bytes("value")?, ttl_ms },
            TAG_DELETE if ttl_ms.is_none() => Action::Delete { key: reader.bytes("key")? },
            TAG_COMPARE_AND_SWAP => Action::CompareAndSwap {
                key: reader.bytes("key")?,
                expected: reader.varint("expected version")?,
                value: reader.bytes("value")?,
                ttl_ms,
            },
            TAG_TXN if ttl_ms.is_none() => Action::Txn(Txn::decode(reader)?),
            _ => return Err(DecodeError::Unknown { what: "operation", tag: u64::from(head) }),
        };
        Ok(Self { request, action })
    }
}

impl RequestId {
    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            client: reader.u128("client")?,
            sequence: reader.varint("sequence")?,
            acknowledged: reader.varint("acknowledged")?,
            deadline_ms: reader.varint("deadline")?,
        })
    }
}
