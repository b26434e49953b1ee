//! The keys and records of the base (`docs/formats/base.md`).
//!
//! Every key is `shard u64 BE ‖ generation u64 BE ‖ tag u8 ‖ rest`, so that a shard is one range, a
//! generation is one range in it, and user keys sort in their own order. Generation 0 holds only the pointer
//! to the current generation.

use bytes::{BufMut, Bytes, BytesMut};
use flotilla_raft::{Configuration, Index, LogId, Term};
use flotilla_topology::ShardId;

use crate::base::View;
use crate::digest::{Digest, Member, Tally};
use crate::encoding::{DecodeError, Reader, put_varint};
use crate::error::Error;
use crate::genesis::{put_configuration, read_configuration};
use crate::outcome::Record;
use crate::slots::Slots;

/// Where the rest of a key begins.
pub(crate) const KEY_OFFSET: usize = 17;

const FORMAT: u8 = 1;
const RECORD_PLAIN: u8 = 0;
const RECORD_EXPIRES: u8 = 1;

/// The kinds of records of a generation, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tag {
    /// Generation 0 only: which generation is current.
    Pointer = 0,
    /// [`Meta`].
    Meta = 1,
    /// A client's floor; rest = client.
    Floor = 2,
    /// The results of one entry; rest = index.
    Results = 3,
    /// A key that expires; rest = time ‖ key.
    Expiry = 4,
    /// A user key; rest = the key.
    Data = 5,
}

/// A key of the base.
pub(crate) fn key(shard: ShardId, generation: u64, tag: Tag, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(KEY_OFFSET + rest.len());
    out.put_u64(shard.0);
    out.put_u64(generation);
    out.put_u8(tag as u8);
    out.put_slice(rest);
    out.freeze()
}

/// All keys of one kind: from (included), to (excluded).
pub(crate) fn all(shard: ShardId, generation: u64, tag: Tag) -> (Bytes, Bytes) {
    let from = key(shard, generation, tag, b"");
    let mut to = BytesMut::from(&from[..]);
    to[KEY_OFFSET - 1] += 1;
    (from, to.freeze())
}

/// The shard and the generation of a key, if it has both.
pub(crate) fn place(key: &[u8]) -> Option<(ShardId, u64)> {
    let shard = key.first_chunk::<8>()?;
    let generation = key.get(8..)?.first_chunk::<8>()?;
    Some((ShardId(u64::from_be_bytes(*shard)), u64::from_be_bytes(*generation)))
}

pub(crate) fn expiry_key(shard: ShardId, generation: u64, expires_ms: u64, user_key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(KEY_OFFSET + 8 + user_key.len());
    out.put_u64(shard.0);
    out.put_u64(generation);
    out.put_u8(Tag::Expiry as u8);
    out.put_u64(expires_ms);
    out.put_slice(user_key);
    out.freeze()
}

/// The keys of the expiry index that fall due from `from_ms` (included) to `to_ms` (included).
pub(crate) fn expiries(shard: ShardId, generation: u64, from_ms: u64, to_ms: u64) -> (Bytes, Bytes) {
    let from = expiry_key(shard, generation, from_ms, b"");
    let to = match to_ms.checked_add(1) {
        Some(after_ms) => expiry_key(shard, generation, after_ms, b""),
        None => all(shard, generation, Tag::Expiry).1,
    };
    (from, to)
}

/// Time and user key of an entry of the expiry index.
pub(crate) fn read_expiry_key(key: &Bytes) -> Result<(u64, Bytes), DecodeError> {
    let rest = key.get(KEY_OFFSET..).and_then(|rest| rest.first_chunk::<8>());
    let Some(time) = rest else { return Err(DecodeError::Short { what: "expiry key" }) };
    Ok((u64::from_be_bytes(*time), key.slice(KEY_OFFSET + 8..)))
}

pub(crate) fn encode_record(record: &Record) -> Bytes {
    let mut out = BytesMut::with_capacity(24 + record.value.len());
    out.put_u8(if record.expires_ms.is_some() { RECORD_EXPIRES } else { RECORD_PLAIN });
    put_varint(&mut out, record.version);
    if let Some(expires_ms) = record.expires_ms {
        put_varint(&mut out, expires_ms);
    }
    out.put_slice(&record.value);
    out.freeze()
}

pub(crate) fn decode_record(bytes: Bytes) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(bytes);
    let flags = reader.u8("record")?;
    if flags > RECORD_EXPIRES {
        return Err(DecodeError::Unknown { what: "record", tag: u64::from(flags) });
    }
    let version = reader.varint("version")?;
    let expires_ms = if flags == RECORD_EXPIRES { Some(reader.varint("expiry")?) } else { None };
    Ok(Record { value: reader.rest(), version, expires_ms })
}

/// A record's share of the tally: `encoded` is what [`encode_record`] makes of it.
pub(crate) fn member(user_key: &[u8], record: &Record, encoded: &[u8]) -> Member {
    Member { digest: Digest::of(user_key, encoded), bytes: (user_key.len() + record.value.len()) as u64 }
}

pub(crate) fn encode_member(member: Member) -> Bytes {
    let mut out = BytesMut::with_capacity(26);
    out.put_u128(member.digest.0);
    put_varint(&mut out, member.bytes);
    out.freeze()
}

pub(crate) fn decode_member(bytes: Bytes) -> Result<Member, DecodeError> {
    let mut reader = Reader::new(bytes);
    let member = Member { digest: Digest(reader.u128("digest")?), bytes: reader.varint("bytes")? };
    reader.end("expiry index entry")?;
    Ok(member)
}

/// The state of a shard apart from keys, results and floors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) applied: LogId,
    pub(crate) time_ms: u64,
    pub(crate) version: u64,
    pub(crate) configuration: Configuration,
    pub(crate) configuration_index: Index,
    pub(crate) slots: Slots,
    /// Over the remembered results and floors.
    pub(crate) remembered: Digest,
    /// Over all records that are stored, the expired ones that are not removed yet included.
    pub(crate) stored: Tally,
    /// No entry of the expiry index falls due before this time: there are only tombstones.
    pub(crate) cleared_ms: u64,
}

impl Meta {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        self.encode_state(&mut out);
        put_tally(&mut out, self.stored);
        put_varint(&mut out, self.cleared_ms);
        out.freeze()
    }

    fn encode_state(&self, out: &mut BytesMut) {
        put_varint(out, self.applied.index.0);
        put_varint(out, self.applied.term.0);
        put_varint(out, self.time_ms);
        put_varint(out, self.version);
        put_configuration(out, &self.configuration);
        put_varint(out, self.configuration_index.0);
        self.slots.encode(out);
        out.put_u128(self.remembered.0);
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("state")?;
        if format != FORMAT {
            return Err(DecodeError::Unknown { what: "state format", tag: u64::from(format) });
        }
        let applied = LogId::new(Index(reader.varint("index")?), Term(reader.varint("term")?));
        let meta = Self {
            applied,
            time_ms: reader.varint("time")?,
            version: reader.varint("version counter")?,
            configuration: read_configuration(&mut reader)?,
            configuration_index: Index(reader.varint("configuration index")?),
            slots: Slots::decode(&mut reader)?,
            remembered: Digest(reader.u128("digest")?),
            stored: read_tally(&mut reader)?,
            cleared_ms: reader.varint("cleared time")?,
        };
        reader.end("state")?;
        Ok(meta)
    }

    /// The digest of everything, given the keys that have not expired. What depends on when flushes took
    /// place (`stored`, `cleared_ms`) is not in it.
    pub(crate) fn digest(&self, keys: Tally) -> Digest {
        let mut out = BytesMut::new();
        self.encode_state(&mut out);
        put_tally(&mut out, keys);
        Digest::of(b"state", &out)
    }

    /// The state that the base holds of a generation.
    pub(crate) fn read(view: &impl View, shard: ShardId, generation: u64) -> Result<Option<Self>, Error> {
        let Some(bytes) = view.get(&key(shard, generation, Tag::Meta, b""))? else { return Ok(None) };
        Self::decode(bytes).map(Some).map_err(|source| Error::Record { shard, record: "state", source })
    }
}

fn put_tally(out: &mut BytesMut, tally: Tally) {
    out.put_u128(tally.digest.0);
    put_varint(out, tally.keys);
    put_varint(out, tally.bytes);
}

fn read_tally(reader: &mut Reader) -> Result<Tally, DecodeError> {
    Ok(Tally {
        digest: Digest(reader.u128("digest")?),
        keys: reader.varint("keys")?,
        bytes: reader.varint("bytes")?,
    })
}

pub(crate) fn encode_tally(tally: Tally) -> Bytes {
    let mut out = BytesMut::new();
    put_tally(&mut out, tally);
    out.freeze()
}

pub(crate) fn decode_tally(bytes: Bytes) -> Result<Tally, DecodeError> {
    let mut reader = Reader::new(bytes);
    let tally = read_tally(&mut reader)?;
    reader.end("tally")?;
    Ok(tally)
}

/// The key of the pointer to the current generation.
pub(crate) fn pointer_key(shard: ShardId) -> Bytes {
    key(shard, 0, Tag::Pointer, b"")
}

pub(crate) fn encode_pointer(generation: u64) -> Bytes {
    Bytes::copy_from_slice(&generation.to_be_bytes())
}

/// The generation that is current, if the shard was ever flushed here.
pub(crate) fn read_pointer(view: &impl View, shard: ShardId) -> Result<Option<u64>, Error> {
    let Some(bytes) = view.get(&pointer_key(shard))? else { return Ok(None) };
    match <[u8; 8]>::try_from(&bytes[..]) {
        Ok(array) => Ok(Some(u64::from_be_bytes(array))),
        Err(_) => {
            let source = DecodeError::Short { what: "generation" };
            Err(Error::Record { shard, record: "pointer", source })
        }
    }
}
