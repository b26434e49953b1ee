//! The book: which segment holds what is still needed.
//!
//! Per shard it keeps the small state itself (hard state, birth, marks) with the segment that holds its newest
//! record, and the live entries as ranges of one segment and one term. Per segment it counts what pins it. It is
//! how the garbage collector knows that a segment is dead, and what to write again when a little of it lives.
//!
//! An entry is named by index and term: Raft never writes two different entries under one name.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use flotilla_raft::{Entry, HardState, Index, LogId, ReplicaId, Term};
use flotilla_topology::ShardId;

use crate::codec::entry_bytes;
use crate::record::{Record, RotAt};

/// A value and the segment that holds its newest record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pinned<T> {
    pub value: T,
    pub segment: u64,
}

/// Live entries that lie in one segment and have one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    segment: u64,
    term: Term,
    first: Index,
    last: Index,
    bytes: u64,
}

/// What a shard needs from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    birth: Pinned<(ReplicaId, Bytes)>,
    hard_state: Option<Pinned<HardState>>,
    compacted: Option<Pinned<LogId>>,
    intent: Option<Pinned<LogId>>,
    ranges: VecDeque<Range>,
}

/// What remains of the replicas of a shard that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The greatest id.
    pub replica: ReplicaId,
    /// It is out of service because of this damage, and was neither removed nor replaced since.
    pub quarantine: Option<RotAt>,
}

impl Ended {
    /// What a record that ends a shard leaves behind. Nothing: it says no more than earlier ones did.
    pub fn after(before: Option<Self>, replica: ReplicaId, quarantine: Option<RotAt>) -> Option<Self> {
        match before {
            Some(before) if quarantine.or(before.quarantine).is_none() && replica <= before.replica => None,
            Some(before) => Some(Self { replica: replica.max(before.replica), quarantine }),
            None => Some(Self { replica, quarantine }),
        }
    }

    /// As a record to write again.
    const fn record(self) -> Record {
        match self.quarantine {
            Some(at) => Record::Quarantine { replica: self.replica, at },
            None => Record::Tombstone { replica: self.replica },
        }
    }
}

/// What pins a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Live {
    pins: usize,
    ranges: usize,
    bytes: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    shards: BTreeMap<ShardId, Held>,
    ended: BTreeMap<ShardId, Pinned<Ended>>,
    live: Tally,
}

/// Live things by segment; a segment without any is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally(BTreeMap<u64, Live>);

impl Tally {
    fn change(&mut self, segment: u64, change: impl FnOnce(&mut Live)) {
        let live = self.0.entry(segment).or_default();
        change(live);
        if *live == Live::default() {
            self.0.remove(&segment);
        }
    }

    fn pin(&mut self, segment: u64) {
        self.change(segment, |live| live.pins += 1);
    }

    fn unpin(&mut self, segment: u64) {
        self.change(segment, |live| live.pins -= 1);
    }

    fn add(&mut self, range: &Range) {
        self.change(range.segment, |live| {
            live.ranges += 1;
            live.bytes += range.bytes;
        });
    }

    fn take(&mut self, range: &Range) {
        self.change(range.segment, |live| {
            live.ranges -= 1;
            live.bytes -= range.bytes;
        });
    }

    fn set<T>(&mut self, slot: &mut Option<Pinned<T>>, value: T, segment: u64) {
        self.clear(slot);
        self.pin(segment);
        *slot = Some(Pinned { value, segment });
    }

    fn clear<T>(&mut self, slot: &mut Option<Pinned<T>>) {
        if let Some(old) = slot.take() {
            self.unpin(old.segment);
        }
    }
}

impl Range {
    fn count(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// The part from `first` to `last`. Its bytes are its share: the book knows no single entry's size.
    fn part(&self, first: Index, last: Index) -> Option<Self> {
        let (first, last) = (first.max(self.first), last.min(self.last));
        if first > last {
            return None;
        }
        let mut part = Self { first, last, ..*self };
        if part.count() < self.count() {
            part.bytes =
                (u128::from(self.bytes) * u128::from(part.count()) / u128::from(self.count())) as u64;
        }
        Some(part)
    }
}

impl Held {
    fn compacted(&self) -> Index {
        self.compacted.as_ref().map_or(Index(0), |mark| mark.value.index)
    }

    fn last(&self) -> Index {
        self.ranges.back().map_or(self.compacted(), |range| range.last)
    }

    /// Keeps the entries from `first` to `last` only.
    fn keep(&mut self, first: Index, last: Index, live: &mut Tally) {
        while let Some(range) = self.ranges.front().copied().filter(|range| range.first < first) {
            live.take(&range);
            self.ranges.pop_front();
            if let Some(part) = range.part(first, range.last) {
                live.add(&part);
                self.ranges.push_front(part);
            }
        }
        while let Some(range) = self.ranges.back().copied().filter(|range| range.last > last) {
            live.take(&range);
            self.ranges.pop_back();
            if let Some(part) = range.part(range.first, last) {
                live.add(&part);
                self.ranges.push_back(part);
            }
        }
    }

    fn push(&mut self, entry: &Entry, segment: u64, live: &mut Tally) {
        let bytes = entry_bytes(entry);
        if let Some(range) = self.ranges.back_mut()
            && range.segment == segment
            && range.term == entry.term()
        {
            range.last = entry.index();
            range.bytes += bytes;
            live.change(segment, |it| it.bytes += bytes);
            return;
        }
        let range = Range { segment, term: entry.term(), first: entry.index(), last: entry.index(), bytes };
        live.add(&range);
        self.ranges.push_back(range);
    }

    /// The entries from `first` to `last` that lay in `from` now lie in `to`.
    fn relocate(&mut self, first: Index, last: Index, from: u64, to: u64, live: &mut Tally) {
        let mut moved = VecDeque::with_capacity(self.ranges.len() + 2);
        for range in self.ranges.drain(..) {
            let inner = range.part(first, last).filter(|_| range.segment == from);
            let Some(inner) = inner else {
                moved.push_back(range);
                continue;
            };
            live.take(&range);
            let before =
                range.part(range.first, inner.first.previous()).filter(|_| inner.first > range.first);
            let after = range.part(inner.last.next(), range.last);
            for part in [before, Some(Range { segment: to, ..inner }), after].into_iter().flatten() {
                live.add(&part);
                moved.push_back(part);
            }
        }
        self.ranges = moved;
    }

    fn settle_intent(&mut self, live: &mut Tally) {
        if self.intent.as_ref().is_some_and(|intent| intent.value.index <= self.compacted()) {
            live.clear(&mut self.intent);
        }
    }
}

impl Book {
    /// Notes a record that is about to be written into `segment`.
    ///
    /// # Panics
    /// When the record contradicts what the shard wrote before.
    pub fn apply(&mut self, shard: ShardId, record: &Record, segment: u64) {
        match record {
            Record::Birth { replica, genesis } => return self.born(shard, *replica, genesis, segment),
            Record::Tombstone { replica } => return self.end(shard, *replica, None, segment),
            Record::Quarantine { replica, at } => return self.end(shard, *replica, Some(*at), segment),
            _ => {}
        }
        let held = self.shards.get_mut(&shard);
        let held = held.unwrap_or_else(|| panic!("{shard} has no replica here to remember {record:?} for"));
        let live = &mut self.live;
        match record {
            Record::HardState(state) => live.set(&mut held.hard_state, *state, segment),
            Record::Entries(entries) => held.append(shard, entries, segment, live),
            Record::Compact(id) => {
                if id.index > held.compacted() {
                    assert!(id.index <= held.last(), "{shard}: compaction to {id} after {}", held.last());
                    held.keep(id.index.next(), held.last(), live);
                    live.set(&mut held.compacted, *id, segment);
                    held.settle_intent(live);
                }
            }
            Record::SnapshotIntent(id) => live.set(&mut held.intent, *id, segment),
            Record::Reset(id) => {
                held.ranges.drain(..).for_each(|range| live.take(&range));
                live.set(&mut held.compacted, *id, segment);
                live.clear(&mut held.intent);
            }
            Record::Birth { .. } | Record::Tombstone { .. } | Record::Quarantine { .. } => {
                unreachable!("handled above")
            }
        }
    }

    fn born(&mut self, shard: ShardId, replica: ReplicaId, genesis: &Bytes, segment: u64) {
        if let Some(ended) = self.ended.get_mut(&shard) {
            let before = ended.value.replica;
            assert!(before < replica, "{shard}: {replica} is born after {before} ended");
            ended.value.quarantine = None;
        }
        let birth = Pinned { value: (replica, genesis.clone()), segment };
        let ranges = VecDeque::new();
        let held = Held { birth, hard_state: None, compacted: None, intent: None, ranges };
        let before = self.shards.insert(shard, held);
        assert!(before.is_none(), "{shard}: {replica} is born while {before:?} lives");
        self.live.pin(segment);
    }

    fn end(&mut self, shard: ShardId, replica: ReplicaId, quarantine: Option<RotAt>, segment: u64) {
        if let Some(mut held) = self.shards.remove(&shard) {
            assert!(held.birth.value.0 <= replica, "{shard}: {replica} ends while {held:?} lives");
            self.live.unpin(held.birth.segment);
            self.live.clear(&mut held.hard_state);
            self.live.clear(&mut held.compacted);
            self.live.clear(&mut held.intent);
            held.ranges.drain(..).for_each(|range| self.live.take(&range));
        }
        // A lesser id says nothing; the segment that holds the greatest one stays needed.
        let before = self.ended.get(&shard).map(|ended| ended.value);
        if let Some(ended) = Ended::after(before, replica, quarantine) {
            assert!(ended.replica == replica, "{shard}: {replica} ends, but {before:?} is out of service");
            self.set_ended(shard, ended, segment);
        }
    }

    fn set_ended(&mut self, shard: ShardId, ended: Ended, segment: u64) {
        let mut slot = self.ended.remove(&shard);
        self.live.set(&mut slot, ended, segment);
        self.ended.extend(slot.map(|ended| (shard, ended)));
    }

    /// Notes that a record that was live in `from` is about to be written again into `to`.
    pub fn restate(&mut self, shard: ShardId, record: &Record, from: u64, to: u64) {
        match record {
            Record::Tombstone { replica } => {
                return self.set_ended(shard, Ended { replica: *replica, quarantine: None }, to);
            }
            Record::Quarantine { replica, at } => {
                return self.set_ended(shard, Ended { replica: *replica, quarantine: Some(*at) }, to);
            }
            _ => {}
        }
        let live = &mut self.live;
        let held = self.shards.get_mut(&shard);
        let held = held.unwrap_or_else(|| panic!("{shard} has no replica here to restate {record:?} for"));
        match record {
            Record::Birth { .. } => {
                live.unpin(held.birth.segment);
                live.pin(to);
                held.birth.segment = to;
            }
            Record::HardState(state) => live.set(&mut held.hard_state, *state, to),
            Record::Compact(id) => live.set(&mut held.compacted, *id, to),
            Record::SnapshotIntent(id) => live.set(&mut held.intent, *id, to),
            Record::Entries(entries) => {
                let (first, last) = (entries[0].index(), entries[entries.len() - 1].index());
                held.relocate(first, last, from, to, live);
            }
            Record::Reset(_) | Record::Tombstone { .. } | Record::Quarantine { .. } => {
                unreachable!("{record:?} is not restated here")
            }
        }
    }

    /// The oldest segment that holds something live.
    pub fn oldest(&self) -> Option<u64> {
        self.live.0.first_key_value().map(|(segment, _)| *segment)
    }

    /// What the live entries of a segment take, in bytes.
    pub fn live_bytes(&self, segment: u64) -> u64 {
        self.live.0.get(&segment).map_or(0, |live| live.bytes)
    }

    /// What all live entries take, in bytes.
    pub fn live_bytes_total(&self) -> u64 {
        self.live.0.values().map(|live| live.bytes).sum()
    }

    /// Whether this very entry, in this very segment, is needed.
    pub fn is_live(&self, shard: ShardId, id: LogId, segment: u64) -> bool {
        let Some(held) = self.shards.get(&shard) else { return false };
        let at = held.ranges.partition_point(|range| range.last < id.index);
        held.ranges
            .get(at)
            .is_some_and(|range| range.segment == segment && range.term == id.term && range.first <= id.index)
    }

    /// The shards with live entries in a segment.
    pub fn shards_with_entries(&self, segment: u64) -> Vec<ShardId> {
        let lies = |held: &Held| held.ranges.iter().any(|range| range.segment == segment);
        self.shards.iter().filter(|(_, held)| lies(held)).map(|(shard, _)| *shard).collect()
    }

    /// Small state whose newest record lies in `segment`, as records to write again: at least one if there is
    /// any, and no more once they take `bytes_max`.
    pub fn pinned_in(&self, segment: u64, bytes_max: u64) -> Vec<(ShardId, Record)> {
        let mut records = Vec::new();
        let mut bytes = 0;
        for (shard, held) in &self.shards {
            if bytes >= bytes_max {
                return records;
            }
            for record in held.pinned_in(segment) {
                bytes += crate::codec::record_bytes(&record);
                records.push((*shard, record));
            }
        }
        for (shard, ended) in &self.ended {
            if bytes >= bytes_max {
                break;
            }
            if ended.segment == segment {
                let record = ended.value.record();
                bytes += crate::codec::record_bytes(&record);
                records.push((*shard, record));
            }
        }
        records
    }
}

impl Held {
    fn append(&mut self, shard: ShardId, entries: &[Entry], segment: u64, live: &mut Tally) {
        let first = entries[0].index();
        assert!(
            first > self.compacted() && first <= self.last().next(),
            "{shard}: entries from {first}, but the log stands at {}..={}",
            self.compacted(),
            self.last()
        );
        self.keep(Index(0), first.previous(), live);
        for (expected, entry) in (first.0..).zip(entries) {
            assert!(entry.index() == Index(expected), "{shard}: entry {entry} where {expected} was due");
            self.push(entry, segment, live);
        }
    }

    fn pinned_in(&self, segment: u64) -> impl Iterator<Item = Record> {
        let birth = (self.birth.segment == segment)
            .then(|| Record::Birth { replica: self.birth.value.0, genesis: self.birth.value.1.clone() });
        let here = |mark: &&Pinned<LogId>| mark.segment == segment;
        let hard_state = self.hard_state.as_ref().filter(|state| state.segment == segment);
        let compacted = self.compacted.as_ref().filter(here);
        let intent = self.intent.as_ref().filter(here);
        birth
            .into_iter()
            .chain(hard_state.map(|state| Record::HardState(state.value)))
            .chain(compacted.map(|mark| Record::Compact(mark.value)))
            .chain(intent.map(|mark| Record::SnapshotIntent(mark.value)))
    }
}

/// What recovery found, in no particular order of writing.
impl Book {
    /// A shard's replica.
    pub fn found_birth(&mut self, shard: ShardId, replica: ReplicaId, genesis: &Bytes, segment: u64) {
        self.born(shard, replica, genesis, segment);
    }

    /// What remains of replicas that ended.
    pub fn found_ended(&mut self, shard: ShardId, ended: Ended, segment: u64) {
        self.live.pin(segment);
        self.ended.insert(shard, Pinned { value: ended, segment });
    }

    /// A compaction mark, or where the log was reset to.
    pub fn found_compacted(&mut self, shard: ShardId, id: LogId, segment: u64) {
        let held = self.shards.get_mut(&shard);
        let held = held.unwrap_or_else(|| panic!("{shard} was not found before its mark"));
        self.live.set(&mut held.compacted, id, segment);
    }

    /// A live entry; they are found in order.
    pub fn found_entry(&mut self, shard: ShardId, entry: &Entry, segment: u64) {
        let held = self.shards.get_mut(&shard);
        let held = held.unwrap_or_else(|| panic!("{shard} was not found before its entries"));
        held.push(entry, segment, &mut self.live);
    }
}
