//! What the log of a node must hold: a model of the records, without bytes, frames or disks.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_raft::{Entry, HardState, Index, LogId, Payload, ReplicaId, Term};
use flotilla_topology::ShardId;
use flotilla_wal::{Batch, Record, Recovered, ShardState};
use xxhash_rust::xxh3::xxh3_64;

/// An entry, by its term and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its term.
    pub term: Term,
    /// A hash of what it says.
    pub content: u64,
}

impl Stamp {
    /// Of an entry.
    pub fn of(entry: &Entry) -> Self {
        let content = match &entry.payload {
            Payload::Noop => 1,
            Payload::Data(data) => xxh3_64(data),
            Payload::Configuration(configuration) => xxh3_64(configuration.to_string().as_bytes()),
        };
        Self { term: entry.id.term, content }
    }
}

/// One shard's part of a log.
#[derive(Clone, Debug, Default)]
pub struct ShardLog {
    /// Whose it is.
    pub replica: ReplicaId,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The compaction mark.
    pub compacted: LogId,
    /// A snapshot about to become current.
    pub intent: Option<LogId>,
    /// By index. Entries below the compaction mark are kept: the judges still ask for them.
    entries: BTreeMap<u64, Stamp>,
    /// The indexes of those that bring configurations.
    configurations: BTreeSet<u64>,
}

/// All of a log.
#[derive(Clone, Debug, Default)]
pub struct LogModel {
    shards: BTreeMap<ShardId, ShardLog>,
    /// The shards that are out of service, and up to which id theirs are spent.
    out: BTreeMap<ShardId, ReplicaId>,
}

impl LogModel {
    /// One shard's part.
    pub fn get(&self, shard: &ShardId) -> Option<&ShardLog> {
        self.shards.get(shard)
    }

    /// Up to which id those of a shard are out of service.
    pub fn out_of_service(&self, shard: ShardId) -> Option<ReplicaId> {
        self.out.get(&shard).copied()
    }

    /// A shard goes out of service, up to this id. What there was of it.
    pub fn take_out(&mut self, shard: ShardId, replica: ReplicaId) -> Option<ShardLog> {
        self.out.insert(shard, replica);
        self.shards.remove(&shard)
    }
}

impl ShardLog {
    /// What stands at an index.
    pub fn at(&self, index: Index) -> Option<Stamp> {
        self.entries.get(&index.0).copied()
    }

    /// The term of the entry at an index, where that is known: perhaps it is the last one that compaction took.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        let compacted = (index == self.compacted.index).then_some(self.compacted.term);
        compacted.or_else(|| self.at(index).map(|stamp| stamp.term))
    }

    /// Whether this entry is here, or was before the log was compacted.
    pub fn holds(&self, index: Index, stamp: Stamp) -> bool {
        self.at(index).map_or(index <= self.compacted.index, |here| here == stamp)
    }

    /// How many configurations stand after an index.
    pub fn configurations_after(&self, index: Index) -> usize {
        self.configurations.range(index.0 + 1..).count()
    }

    /// The last index.
    pub fn last(&self) -> Index {
        self.entries.last_key_value().map_or(self.compacted.index, |(index, _)| Index(*index))
    }

    /// Takes a record. How many entries it cut off.
    fn apply(&mut self, record: &Record) -> u64 {
        let last = self.last();
        match record {
            Record::Birth { replica, .. } => *self = Self { replica: *replica, ..Self::default() },
            Record::HardState(state) => self.hard_state = *state,
            Record::Entries(entries) => {
                if let Some(first) = entries.first() {
                    self.entries.split_off(&first.index().0);
                    self.configurations.split_off(&first.index().0);
                }
                let bring = entries.iter().filter(|it| matches!(it.payload, Payload::Configuration(_)));
                self.configurations.extend(bring.map(|entry| entry.index().0));
                self.entries.extend(entries.iter().map(|entry| (entry.index().0, Stamp::of(entry))));
            }
            Record::Compact(to) => {
                if to.index > self.compacted.index {
                    self.compacted = *to;
                }
                if self.intent.is_some_and(|intent| intent.index <= self.compacted.index) {
                    self.intent = None;
                }
            }
            Record::SnapshotIntent(at) => self.intent = Some(*at),
            Record::Reset(to) => {
                self.entries.clear();
                self.configurations.clear();
                self.compacted = *to;
                self.intent = None;
            }
            Record::Tombstone { .. } | Record::Quarantine { .. } => {}
        }
        let Record::Entries(entries) = record else { return 0 };
        entries.first().map_or(0, |first| (last.0 + 1).saturating_sub(first.index().0))
    }

    /// Whether that is what was found.
    fn is(&self, found: &ShardState) -> bool {
        let live = self.entries.range(self.compacted.index.0 + 1..).map(|(index, stamp)| (*index, *stamp));
        let found_entries = found.entries.iter().map(|entry| (entry.index().0, Stamp::of(entry)));
        self.replica == found.replica
            && self.hard_state == found.hard_state
            && self.compacted == found.compacted
            && live.eq(found_entries)
    }
}

/// Writes a batch into a model. How many entries each cut took off.
pub fn write(model: &mut LogModel, batch: &Batch) -> Vec<u64> {
    let mut cuts = Vec::new();
    for (shard, record) in batch.records() {
        let cut = model.shards.entry(*shard).or_default().apply(record);
        cuts.extend((cut > 0).then_some(cut));
        match record {
            Record::Birth { .. } => drop(model.out.remove(shard)),
            Record::Tombstone { .. } => drop((model.out.remove(shard), model.shards.remove(shard))),
            Record::Quarantine { replica, .. } => drop(model.take_out(*shard, *replica)),
            _ => {}
        }
    }
    cuts
}

/// Whether a log holds exactly what a model says; else the first shard that differs.
pub fn matches(model: &LogModel, found: &Recovered) -> Result<(), ShardId> {
    if let Some(shard) = model.shards.keys().find(|shard| !found.shards.contains_key(shard)) {
        return Err(*shard);
    }
    let is_out = |shard: &&ShardId| found.quarantined.get(shard).map(|out| out.replica);
    let mut out = model.out.keys().chain(found.quarantined.keys());
    if let Some(shard) = out.find(|shard| model.out_of_service(**shard) != is_out(shard)) {
        return Err(*shard);
    }
    let differs =
        |(shard, state): &(&ShardId, &ShardState)| !model.get(shard).is_some_and(|log| log.is(state));
    found.shards.iter().find(differs).map_or(Ok(()), |(shard, _)| Err(*shard))
}

/// What of a model and of what was found differs, for people.
pub fn difference(model: &LogModel, found: &Recovered, shard: ShardId) -> String {
    let promised = model.get(&shard).map(|log| (log.hard_state, log.compacted, log.last()));
    let here = found.shards.get(&shard).map(|state| {
        let last = state.entries.last().map_or(state.compacted, |entry| entry.id);
        (state.hard_state, state.compacted, last)
    });
    let out = (model.out_of_service(shard), found.quarantined.get(&shard).map(|out| out.replica));
    format!(
        "{shard}: promised (hard state, compacted, last) {promised:?}, found {here:?}; out of service {out:?}"
    )
}
