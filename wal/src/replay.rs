//! Replay: the history of all shards, read in order from the oldest segment that is still needed.
//!
//! The history may begin in the middle: what older segments held was dead, or is restated further on. So entries
//! may first be missing at the front and be restated later, and a shard's birth may come after its other records.
//! Only at the end must everything fit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_raft::{Entry, HardState, Index, LogId, ReplicaId};
use flotilla_topology::ShardId;

use crate::book::Book;
use crate::log::ShardState;
use crate::record::{Record, Stored};

/// A value and where its newest record lies.
#[derive(Clone, Debug)]
struct Placed<T> {
    value: T,
    segment: u64,
    /// How many frames had been replayed.
    moment: u64,
}

#[derive(Debug, Default)]
struct History {
    birth: Option<Placed<(ReplicaId, Bytes)>>,
    hard_state: Option<Placed<HardState>>,
    compacted: Option<Placed<LogId>>,
    intent: Option<Placed<LogId>>,
    entries: BTreeMap<Index, Placed<Entry>>,
    /// When the shard's history began anew, if that was seen.
    began: Option<u64>,
    /// When the log was last reset.
    reset: Option<u64>,
    /// Something that cannot be.
    conflict: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    shards: BTreeMap<ShardId, History>,
    tombstones: BTreeMap<ShardId, Placed<ReplicaId>>,
    moment: u64,
    /// Shards that damage concerns.
    rotten: BTreeSet<ShardId>,
    /// Moments at which a frame was lost that names no shards.
    blind: Vec<u64>,
}

/// What a replay ends in.
pub(crate) struct Replayed {
    pub shards: BTreeMap<ShardId, ShardState>,
    pub tombstones: BTreeMap<ShardId, ReplicaId>,
    pub book: Book,
}

impl History {
    fn compacted(&self) -> Index {
        self.compacted.as_ref().map_or(Index(0), |mark| mark.value.index)
    }

    fn apply(&mut self, stored: Stored, segment: u64, moment: u64) {
        match stored.record {
            Record::Birth { replica, genesis } => {
                if !stored.restated {
                    *self = Self { began: Some(moment), ..Self::default() };
                }
                self.birth = Some(Placed { value: (replica, genesis), segment, moment });
            }
            Record::HardState(value) => self.hard_state = Some(Placed { value, segment, moment }),
            Record::Entries(entries) => self.put(entries, stored.restated, segment, moment),
            Record::Compact(value) => {
                if value.index > self.compacted() || stored.restated {
                    self.entries = self.entries.split_off(&value.index.next());
                    self.compacted = Some(Placed { value, segment, moment });
                    let settled = |intent: &Placed<LogId>| intent.value.index <= value.index;
                    self.intent.take_if(|intent| settled(intent));
                }
            }
            Record::SnapshotIntent(value) => self.intent = Some(Placed { value, segment, moment }),
            Record::Reset(value) => {
                self.entries.clear();
                self.intent = None;
                self.compacted = Some(Placed { value, segment, moment });
                self.reset = Some(moment);
            }
            Record::Tombstone { .. } => unreachable!("the replay itself ends shards"),
        }
    }

    fn put(&mut self, entries: Vec<Entry>, restated: bool, segment: u64, moment: u64) {
        if !restated && let Some(first) = entries.first() {
            self.entries.split_off(&first.index());
        }
        for entry in entries {
            let index = entry.index();
            let id = entry.id;
            let before = self.entries.insert(index, Placed { value: entry, segment, moment });
            if let Some(before) = before.filter(|before| before.value.id != id) {
                self.conflict = Some(format!("{id} is restated where {} stands", before.value.id));
            }
        }
    }

    /// Whether nothing that was written before `moment` can matter.
    fn is_whole_since(&self, moment: u64) -> bool {
        let later = |at: Option<u64>| at.is_some_and(|at| at >= moment);
        later(self.began)
            || later(self.reset)
                && later(self.hard_state.as_ref().map(|state| state.moment))
                && later(self.birth.as_ref().map(|birth| birth.moment))
    }
}

impl Replay {
    /// Replays one frame's records, which lie in `segment`.
    pub fn apply(&mut self, records: Vec<Stored>, segment: u64) {
        let moment = self.moment;
        self.moment += 1;
        for stored in records {
            let Record::Tombstone { replica } = stored.record else {
                self.shards.entry(stored.shard).or_default().apply(stored, segment, moment);
                continue;
            };
            if !stored.restated {
                self.shards.remove(&stored.shard);
            }
            let before = self.tombstones.get(&stored.shard).map(|it| it.value);
            if before < Some(replica) || stored.restated {
                self.tombstones.insert(stored.shard, Placed { value: replica, segment, moment });
            }
        }
    }

    /// A frame was lost; its list of shards too, if `shards` is `None`.
    pub fn lost(&mut self, shards: Option<Vec<ShardId>>) {
        match shards {
            Some(shards) => self.rotten.extend(shards),
            None => self.blind.push(self.moment),
        }
    }

    /// The shards that all lost frames together concern.
    pub fn all_rotten(mut self) -> Vec<ShardId> {
        // The last blind loss decides: who is whole since then is whole since the others.
        if let Some(moment) = self.blind.pop() {
            let hurt = self.shards.iter().filter(|(_, history)| !history.is_whole_since(moment));
            self.rotten.extend(hurt.map(|(shard, _)| *shard));
            let ended = self
                .tombstones
                .iter()
                .filter(|(shard, tombstone)| tombstone.moment < moment && !self.shards.contains_key(*shard));
            self.rotten.extend(ended.map(|(shard, _)| *shard));
        }
        self.rotten.into_iter().collect()
    }

    /// Ends the replay: what every shard had been promised, and the book about it.
    pub fn finish(self) -> Result<Replayed, (ShardId, String)> {
        let mut done =
            Replayed { shards: BTreeMap::new(), tombstones: BTreeMap::new(), book: Book::default() };
        for (shard, history) in self.shards {
            let state = finish(shard, history, &mut done.book).map_err(|what| (shard, what))?;
            done.shards.insert(shard, state);
        }
        for (shard, tombstone) in self.tombstones {
            done.book.found_tombstone(shard, tombstone.value, tombstone.segment);
            done.tombstones.insert(shard, tombstone.value);
        }
        Ok(done)
    }
}

fn finish(shard: ShardId, history: History, book: &mut Book) -> Result<ShardState, String> {
    if let Some(conflict) = history.conflict {
        return Err(conflict);
    }
    let Some(birth) = history.birth else { return Err("it has records but no birth".to_owned()) };
    let (replica, genesis) = birth.value;
    let compacted = history.compacted.as_ref().map_or_else(LogId::default, |mark| mark.value);
    book.found_birth(shard, replica, &genesis, birth.segment);
    if let Some(state) = &history.hard_state {
        book.apply(shard, &Record::HardState(state.value), state.segment);
    }
    if let Some(mark) = &history.compacted {
        book.found_compacted(shard, mark.value, mark.segment);
    }
    if let Some(intent) = &history.intent {
        book.apply(shard, &Record::SnapshotIntent(intent.value), intent.segment);
    }
    let mut entries = Vec::with_capacity(history.entries.len());
    for (due, (index, placed)) in (compacted.index.0 + 1..).zip(history.entries) {
        if index != Index(due) {
            return Err(format!("entry {due} is missing; the next one is {}", placed.value.id));
        }
        book.found_entry(shard, &placed.value, placed.segment);
        entries.push(placed.value);
    }
    Ok(ShardState {
        replica,
        genesis,
        hard_state: history.hard_state.map(|state| state.value).unwrap_or_default(),
        compacted,
        entries,
        intent: history.intent.map(|intent| intent.value),
    })
}
