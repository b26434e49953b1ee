//! Replay: the history of all shards, read in order from the oldest segment that is still needed.
//!
//! The history may begin in the middle: what older segments held was dead, or is restated further on. So entries
//! may first be missing at the front and be restated later, and a shard's birth may come after its other records.
//! Only at the end must everything fit.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_raft::{Entry, HardState, Index, LogId, ReplicaId};
use flotilla_topology::ShardId;

use crate::book::{Book, Ended};
use crate::log::ShardState;
use crate::record::{Record, RotAt, Stored};
use crate::spent::Spent;

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
    ended: BTreeMap<ShardId, Placed<Ended>>,
    /// When a shard last ended, if that was seen: what is restated does not count.
    ended_at: BTreeMap<ShardId, u64>,
    moment: u64,
    /// When and where the last frame was lost that names a shard.
    named: BTreeMap<ShardId, (u64, RotAt)>,
    /// When and where the last frame was lost that names none.
    blind: Option<(u64, RotAt)>,
}

/// What a replay ends in.
pub(crate) struct Replayed {
    pub shards: BTreeMap<ShardId, ShardState>,
    pub ended: BTreeMap<ShardId, Ended>,
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
            Record::Tombstone { .. } | Record::Quarantine { .. } => {
                unreachable!("the replay itself ends shards")
            }
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
            let shard = stored.shard;
            match stored.record {
                Record::Tombstone { replica } => self.end(&stored, (replica, None), segment, moment),
                Record::Quarantine { replica, at } => self.end(&stored, (replica, Some(at)), segment, moment),
                _ => {
                    // Whoever was out of service has been replaced.
                    if let Record::Birth { .. } = stored.record
                        && !stored.restated
                        && let Some(ended) = self.ended.get_mut(&shard)
                    {
                        ended.value.quarantine = None;
                    }
                    self.shards.entry(shard).or_default().apply(stored, segment, moment);
                }
            }
        }
    }

    fn end(
        &mut self,
        stored: &Stored,
        (replica, quarantine): (ReplicaId, Option<RotAt>),
        segment: u64,
        moment: u64,
    ) {
        let shard = stored.shard;
        let before = self.ended.get(&shard).map(|it| it.value);
        let ended = if stored.restated {
            Some(Ended { replica, quarantine })
        } else {
            self.shards.remove(&shard);
            self.ended_at.insert(shard, moment);
            Ended::after(before, replica, quarantine)
        };
        if let Some(value) = ended {
            self.ended.insert(shard, Placed { value, segment, moment });
        }
    }

    /// A frame was lost here; its list of shards too, if `shards` is `None`.
    pub fn lost(&mut self, shards: Option<Vec<ShardId>>, at: RotAt) {
        match shards {
            Some(shards) => self.named.extend(shards.into_iter().map(|shard| (shard, (self.moment, at)))),
            None => self.blind = Some((self.moment, at)),
        }
    }

    /// Whether nothing that was written of a shard before `moment` can matter. A restated tombstone proves nothing: whoever was
    /// born after the replica that it names may be what was lost.
    fn is_whole_since(&self, shard: ShardId, moment: u64) -> bool {
        match self.shards.get(&shard) {
            Some(history) => history.is_whole_since(moment),
            None => self.ended_at.get(&shard).is_some_and(|at| *at >= moment),
        }
    }

    /// The shards that all lost frames together concern.
    pub fn rotten(&self, spent: &Spent) -> BTreeMap<ShardId, RotAt> {
        let named = self.named.iter().map(|(shard, (moment, at))| (*shard, *moment, *at));
        let blind = self.blind.iter().flat_map(|(moment, at)| {
            // The last such loss decides: who is whole since then is whole since the others.
            let known = self.shards.keys().chain(self.ended.keys());
            known.chain(&spent.here).map(|shard| (*shard, *moment, *at))
        });
        let hurt = named.chain(blind).filter(|(shard, moment, _)| !self.is_whole_since(*shard, *moment));
        hurt.map(|(shard, _, at)| (shard, at)).collect()
    }

    /// Takes these shards out of service: the records that say so, which shall lie in `segment`.
    pub fn quarantine(
        &mut self,
        shards: &BTreeMap<ShardId, RotAt>,
        spent: &Spent,
        segment: u64,
    ) -> Vec<(ShardId, Record)> {
        let greatest = |shard: &ShardId| {
            let born = self.shards.get(shard).and_then(|history| history.birth.as_ref());
            let ended = self.ended.get(shard).map(|ended| ended.value.replica);
            [born.map(|birth| birth.value.0), ended, spent.greatest.get(shard).copied()]
                .into_iter()
                .flatten()
                .max()
        };
        let record = |(shard, at): (&ShardId, &RotAt)| {
            (*shard, Record::Quarantine { replica: greatest(shard).unwrap_or_default(), at: *at })
        };
        let records: Vec<(ShardId, Record)> = shards.iter().map(record).collect();
        let stored =
            records.iter().map(|(shard, it)| Stored { shard: *shard, restated: false, record: it.clone() });
        self.apply(stored.collect(), segment);
        records
    }

    /// Ends the replay: what every shard had been promised, and the book about it.
    pub fn finish(self) -> Result<Replayed, (ShardId, String)> {
        let mut done = Replayed { shards: BTreeMap::new(), ended: BTreeMap::new(), book: Book::default() };
        for (shard, history) in self.shards {
            let state = finish(shard, history, &mut done.book).map_err(|what| (shard, what))?;
            done.shards.insert(shard, state);
        }
        for (shard, ended) in self.ended {
            done.book.found_ended(shard, ended.value, ended.segment);
            done.ended.insert(shard, ended.value);
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
