//! Ordered scans, a page at a time.
//!
//! The worker takes a *slice*: the overlay's part of the range, limited in count, and with it a view of the
//! base; the reader pool merges the two. The page shows one moment: that of slice and view. The next page
//! shows a later one.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Bound;

use bytes::{BufMut, Bytes, BytesMut};
use flotilla_topology::ShardId;

use crate::base::{BaseError, View};
use crate::error::Error;
use crate::layout::{self, KEY_OFFSET, Tag};
use crate::outcome::Record;
use crate::overlay::{Layer, Overlay};
use crate::slots::Slots;

/// Overlay entries that a slice takes beyond the records that the page may hold: room for tombstones.
const SLICE_EXTRA: usize = 128;

/// Which keys, in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanRange {
    /// The first key (included). Empty: from the beginning.
    pub from: Bytes,
    /// The end (excluded). `None`: to the end.
    pub to: Option<Bytes>,
    /// From the end to the beginning.
    pub reverse: bool,
}

impl ScanRange {
    /// What is left of the range after a page that named `next`.
    #[must_use]
    pub fn resume(&self, next: Bytes) -> Self {
        if self.reverse {
            Self { to: Some(next), ..self.clone() }
        } else {
            Self { from: next, ..self.clone() }
        }
    }

    fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

/// How much a page may hold. A page that could hold something holds at least one record, however big.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records; at least 1.
    pub records_max: usize,
    /// Keys and values together, in bytes.
    pub bytes_max: usize,
    /// Keys looked at, the deleted and expired ones included; at least 1. Bounds the work of one page.
    pub examined_max: usize,
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The records in the order of the scan; none that is deleted or expired.
    pub records: Vec<(Bytes, Record)>,
    /// For [`ScanRange::resume`]; `None`: the range is finished. A page may be empty and yet have a next one.
    pub next: Option<Bytes>,
    /// What the shard owned at the moment that the page shows.
    pub slots: Slots,
}

/// The overlay's part of a page.
#[derive(Clone, Debug)]
pub struct ScanSlice {
    shard: ShardId,
    generation: u64,
    time_ms: u64,
    slots: Slots,
    overlay: Vec<(Bytes, Option<Record>)>,
    /// Narrowed to what `overlay` covers.
    range: ScanRange,
    /// Where the covered part ends, if before the end of the range.
    cut: Option<Bytes>,
    limits: Limits,
}

impl ScanSlice {
    pub(crate) fn new(
        shard: ShardId,
        generation: u64,
        time_ms: u64,
        slots: &Slots,
        overlay: &Overlay,
        range: &ScanRange,
        limits: Limits,
    ) -> Self {
        assert!(
            limits.records_max > 0 && limits.examined_max > 0,
            "a page of nothing never ends: {limits:?}"
        );
        let mut slice = Self {
            shard,
            generation,
            time_ms,
            slots: slots.clone(),
            overlay: Vec::new(),
            range: range.clone(),
            cut: None,
            limits,
        };
        if !range.is_empty() {
            slice.collect(overlay);
        }
        slice
    }

    /// Takes the overlay's entries, newest layer first where both have the key. The clean layer is not
    /// needed: the view holds it.
    fn collect(&mut self, overlay: &Overlay) {
        let count_max = self.limits.records_max.saturating_add(SLICE_EXTRA).min(self.limits.examined_max);
        let empty = Layer::default();
        let frozen = overlay.frozen.as_deref().unwrap_or(&empty);
        let mut active = layer_range(&overlay.active, &self.range).peekable();
        let mut frozen = layer_range(frozen, &self.range).peekable();
        let mut bytes = 0;
        while let Some((key, record)) = next_of_both(&mut active, &mut frozen, self.range.reverse) {
            bytes += key.len() + record.as_ref().map_or(0, |record| record.value.len());
            self.overlay.push((key.clone(), record.clone()));
            // What lies beyond the last entry taken is left to the next page, the base's part of it too.
            if self.overlay.len() >= count_max || bytes > self.limits.bytes_max {
                self.cut = Some(after(key, self.range.reverse));
                break;
            }
        }
        if let Some(cut) = &self.cut {
            match self.range.reverse {
                true => self.range.from = cut.clone(),
                false => self.range.to = Some(cut.clone()),
            }
        }
    }

    /// Merges the slice with the base. May block on I/O.
    ///
    /// # Errors
    ///
    /// The base fails, or a record cannot be read.
    pub fn run(self, view: &impl View) -> Result<Page, Error> {
        if self.range.is_empty() {
            return Ok(Page { records: Vec::new(), next: self.cut_next(), slots: self.slots });
        }
        let key = |user: &[u8]| layout::key(self.shard, self.generation, Tag::Data, user);
        let from = key(&self.range.from);
        let to = match &self.range.to {
            Some(to) => key(to),
            None => layout::all(self.shard, self.generation, Tag::Data).1,
        };
        let reverse = self.range.reverse;
        let mut overlay = self.overlay.iter().peekable();
        let mut base = view.range(&from, &to, reverse).map(base_entry).peekable();
        let mut records = Vec::new();
        let (mut bytes, mut examined) = (0, 0);
        loop {
            let heavy = !records.is_empty() && bytes >= self.limits.bytes_max;
            let full = heavy || records.len() >= self.limits.records_max;
            if full || examined >= self.limits.examined_max {
                // The next entry is where the next page begins, so that a finished range is known to be
                // finished.
                let next = match next_key(&mut overlay, &mut base, reverse)? {
                    Some(key) if reverse => Some(successor(&key)),
                    Some(key) => Some(key),
                    None => self.cut_next(),
                };
                return Ok(Page { records, next, slots: self.slots });
            }
            let Some((key, record)) = next_record(self.shard, &mut overlay, &mut base, reverse)? else {
                return Ok(Page { records, next: self.cut_next(), slots: self.slots });
            };
            examined += 1;
            if let Some(record) = record
                && !record.expired(self.time_ms)
            {
                let more = key.len() + record.value.len();
                if !records.is_empty() && bytes + more > self.limits.bytes_max {
                    let next = if reverse { successor(&key) } else { key };
                    return Ok(Page { records, next: Some(next), slots: self.slots });
                }
                bytes += more;
                records.push((key, record));
            }
        }
    }

    fn cut_next(&self) -> Option<Bytes> {
        self.cut.clone()
    }
}

type BaseEntry = Result<(Bytes, Bytes), BaseError>;

/// A record of the base under its user key.
fn base_entry(entry: BaseEntry) -> BaseEntry {
    entry.map(|(key, value)| (key.slice(KEY_OFFSET..), value))
}

/// Where a scan goes on behind `key`: the first key after it or, in reverse, the excluded end that the key
/// itself is.
fn after(key: &Bytes, reverse: bool) -> Bytes {
    if reverse { key.clone() } else { successor(key) }
}

/// The least key that is greater.
fn successor(key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(key.len() + 1);
    out.put_slice(key);
    out.put_u8(0);
    out.freeze()
}

type LayerEntry<'a> = (&'a Bytes, &'a Option<Record>);

fn layer_range<'a>(layer: &'a Layer, range: &ScanRange) -> Box<dyn Iterator<Item = LayerEntry<'a>> + 'a> {
    let to = range.to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let entries = layer.records.range::<[u8], _>((Bound::Included(&range.from[..]), to));
    if range.reverse { Box::new(entries.rev()) } else { Box::new(entries) }
}

/// How two keys follow each other in the order of the scan.
fn order(a: &[u8], b: &[u8], reverse: bool) -> Ordering {
    if reverse { b.cmp(a) } else { a.cmp(b) }
}

fn next_of_both<'a>(
    newer: &mut Peekable<impl Iterator<Item = LayerEntry<'a>>>,
    older: &mut Peekable<impl Iterator<Item = LayerEntry<'a>>>,
    reverse: bool,
) -> Option<LayerEntry<'a>> {
    match (newer.peek(), older.peek()) {
        (Some(a), Some(b)) => match order(a.0, b.0, reverse) {
            Ordering::Less => newer.next(),
            Ordering::Greater => older.next(),
            Ordering::Equal => {
                older.next();
                newer.next()
            }
        },
        (Some(_), None) => newer.next(),
        (None, _) => older.next(),
    }
}

type OverlayPart<'a> = Peekable<std::slice::Iter<'a, (Bytes, Option<Record>)>>;

/// The key that [`next_record`] would take next.
fn next_key(
    overlay: &mut OverlayPart<'_>,
    base: &mut Peekable<impl Iterator<Item = BaseEntry>>,
    reverse: bool,
) -> Result<Option<Bytes>, Error> {
    if let Some(Err(_)) = base.peek() {
        return base.next().transpose().map(|_| None).map_err(Error::from);
    }
    let below = base.peek().and_then(|entry| entry.as_ref().ok()).map(|entry| &entry.0);
    let above = overlay.peek().map(|entry| &entry.0);
    Ok(match (above, below) {
        (Some(a), Some(b)) if order(a, b, reverse) == Ordering::Greater => Some(b.clone()),
        (Some(a), _) => Some(a.clone()),
        (None, b) => b.cloned(),
    })
}

/// Takes the next key of overlay and base; the overlay knows better where both have it.
fn next_record(
    shard: ShardId,
    overlay: &mut OverlayPart<'_>,
    base: &mut Peekable<impl Iterator<Item = BaseEntry>>,
    reverse: bool,
) -> Result<Option<(Bytes, Option<Record>)>, Error> {
    let Some(key) = next_key(overlay, base, reverse)? else { return Ok(None) };
    let in_base = base.next_if(|entry| entry.as_ref().is_ok_and(|entry| entry.0 == key)).transpose()?;
    if let Some((_, record)) = overlay.next_if(|entry| entry.0 == key) {
        return Ok(Some((key, record.clone())));
    }
    let Some((_, value)) = in_base else { unreachable!("key {key:?} is in neither part of the slice") };
    let record = layout::decode_record(value);
    let record = record.map_err(|source| Error::Record { shard, record: "key", source })?;
    Ok(Some((key, Some(record))))
}
