//! Which keys a shard owns: replicated state, checked at apply and at every read.
//!
//! The data path is right even when the meta shard is down or a route is stale, because the shard itself
//! knows. A user shard owns slots, each in a state; the meta shard owns no slot, only the keys under
//! [`META_PREFIX`].

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use flotilla_topology::{Epoch, SLOTS, Slot};

use crate::encoding::{DecodeError, Reader, put_varint};

/// What the keys of the meta shard start with. User shards treat such keys as any other.
pub const META_PREFIX: &[u8] = b"\0flotilla/";

/// What a shard owns when it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The meta shard: the keys under [`META_PREFIX`] and nothing else.
    Meta,
    /// A user shard: these slots, in rising order, without overlap. May be empty.
    Slots(Vec<SlotSpan>),
}

/// Neighbouring slots, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSpan {
    /// The first slot.
    pub first: Slot,
    /// The last slot, not below the first.
    pub last: Slot,
}

/// What a shard may do with a slot. The states of a move (exporting, frozen, moved, importing, sealed) come
/// with the moves; their tags are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Serves it, since this epoch of the cluster map.
    Owned(Epoch),
}

/// Neighbouring slots in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// The slots.
    pub span: SlotSpan,
    /// Their state.
    pub state: SlotState,
}

/// Why a shard does not serve some keys together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// It does not own the slot of one of them.
    Foreign(Slot),
    /// They are of several slots.
    Several {
        /// The slot of the first key.
        first: Slot,
        /// The slot of the first key of another slot.
        other: Slot,
    },
}

const WORDS: usize = SLOTS as usize / 64;
const TAG_META: u8 = 0;
const TAG_SLOTS: u8 = 1;
const STATE_OWNED: u8 = 1;

/// The keys that a shard owns. Cheap to clone; a change makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    meta: bool,
    ranges: Arc<[SlotRange]>,
    /// One bit per slot that is served: a ring interleaves shards, so a search among thousands of ranges per
    /// operation would cost more than the operation.
    served: Arc<[u64; WORDS]>,
    /// How many bits are set: asked for with every status.
    count: usize,
}

impl Slots {
    /// What a new shard owns.
    #[must_use]
    pub fn new(scope: &Scope, epoch: Epoch) -> Self {
        match scope {
            Scope::Meta => Self::from_ranges(true, Vec::new()),
            Scope::Slots(spans) => {
                let owned = |&span| SlotRange { span, state: SlotState::Owned(epoch) };
                Self::from_ranges(false, spans.iter().map(owned).collect())
            }
        }
    }

    fn from_ranges(meta: bool, ranges: Vec<SlotRange>) -> Self {
        let mut served = [0_u64; WORDS];
        for range in &ranges {
            let SlotState::Owned(_) = range.state;
            for slot in range.span.first.number()..=range.span.last.number() {
                served[usize::from(slot / 64)] |= 1 << (slot % 64);
            }
        }
        let count = served.iter().map(|word| word.count_ones() as usize).sum();
        Self { meta, ranges: ranges.into(), served: Arc::new(served), count }
    }

    /// Whether the shard serves this key.
    ///
    /// # Errors
    ///
    /// The key's slot, when it does not.
    pub fn check(&self, key: &[u8]) -> Result<(), Slot> {
        let slot = Slot::of(key);
        if self.owns(key, slot) { Ok(()) } else { Err(slot) }
    }

    fn owns(&self, key: &[u8], slot: Slot) -> bool {
        if self.meta { key.starts_with(META_PREFIX) } else { self.serves(slot) }
    }

    /// Whether the shard serves these keys as those of one transaction: all of one slot, so that they stay
    /// together whatever moves. The keys of the meta shard are of no slot, and never move.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn check_together<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<(), Misplaced> {
        let (mut first, mut foreign) = (None, None);
        for key in keys {
            let slot = Slot::of(key);
            let first = *first.get_or_insert(slot);
            if slot != first && !self.meta {
                return Err(Misplaced::Several { first, other: slot });
            }
            if !self.owns(key, slot) {
                foreign.get_or_insert(slot);
            }
        }
        foreign.map_or(Ok(()), |slot| Err(Misplaced::Foreign(slot)))
    }

    /// Whether the shard serves this slot. The meta shard serves none.
    #[must_use]
    pub fn serves(&self, slot: Slot) -> bool {
        self.served[usize::from(slot.number() / 64)] & (1 << (slot.number() % 64)) != 0
    }

    /// The slots with their states, in rising order.
    #[must_use]
    pub fn ranges(&self) -> &[SlotRange] {
        &self.ranges
    }

    /// How many slots the shard serves.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        if self.meta {
            out.put_u8(TAG_META);
            return;
        }
        out.put_u8(TAG_SLOTS);
        put_varint(out, self.ranges.len() as u64);
        for range in self.ranges.iter() {
            put_span(out, range.span);
            let SlotState::Owned(epoch) = range.state;
            out.put_u8(STATE_OWNED);
            put_varint(out, epoch.0);
        }
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        match reader.u8("slots")? {
            TAG_META => Ok(Self::from_ranges(true, Vec::new())),
            TAG_SLOTS => {
                let mut ranges = Vec::new();
                let mut after = None;
                for _ in 0..reader.varint("slot range count")? {
                    let span = read_span(reader, &mut after)?;
                    let state = match reader.u8("slot state")? {
                        STATE_OWNED => SlotState::Owned(Epoch(reader.varint("slot epoch")?)),
                        tag => {
                            return Err(DecodeError::Unknown { what: "slot state", tag: u64::from(tag) });
                        }
                    };
                    ranges.push(SlotRange { span, state });
                }
                Ok(Self::from_ranges(false, ranges))
            }
            tag => Err(DecodeError::Unknown { what: "slots", tag: u64::from(tag) }),
        }
    }
}

impl Scope {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Meta => out.put_u8(TAG_META),
            Self::Slots(spans) => {
                out.put_u8(TAG_SLOTS);
                put_varint(out, spans.len() as u64);
                for span in spans {
                    put_span(out, *span);
                }
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        match reader.u8("scope")? {
            TAG_META => Ok(Self::Meta),
            TAG_SLOTS => {
                let mut spans = Vec::new();
                let mut after = None;
                for _ in 0..reader.varint("slot span count")? {
                    spans.push(read_span(reader, &mut after)?);
                }
                Ok(Self::Slots(spans))
            }
            tag => Err(DecodeError::Unknown { what: "scope", tag: u64::from(tag) }),
        }
    }
}

fn put_span(out: &mut BytesMut, span: SlotSpan) {
    put_varint(out, u64::from(span.first.number()));
    put_varint(out, u64::from(span.last.number()));
}

/// Reads a span that begins after the last one: rising order bounds the count by the number of slots.
fn read_span(reader: &mut Reader, after: &mut Option<Slot>) -> Result<SlotSpan, DecodeError> {
    let mut slot = || {
        let number = reader.varint("slot")?;
        let slot = u16::try_from(number).ok().and_then(Slot::new);
        slot.ok_or(DecodeError::Range { what: "slot" })
    };
    let span = SlotSpan { first: slot()?, last: slot()? };
    if span.last < span.first || after.is_some_and(|after| span.first <= after) {
        return Err(DecodeError::Range { what: "slot span" });
    }
    *after = Some(span.last);
    Ok(span)
}
