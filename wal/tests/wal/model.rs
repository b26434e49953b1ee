//! A reference: what every shard was promised, kept in the plainest way, and a seeded source of histories.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_raft::{Configuration, Entry, HardState, Index, LogId, Payload, ReplicaId, Term};
use flotilla_topology::ShardId;
use flotilla_wal::simulated::SimulatedDisk;
use flotilla_wal::{Batch, Log, OpenError, Options, Record, Recovered, ShardState};

pub const DIRECTORY: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

/// Segments of 16 KiB: two frames of one block fit into each, beside header and seal.
pub fn small() -> Options {
    Options {
        segment_bytes: 16384,
        spares_max: 2,
        segments_max: 4,
        rewrite_live_percent: 25,
        ..Options::default()
    }
}

pub fn open(disk: &SimulatedDisk) -> Result<(Log<SimulatedDisk>, Recovered), OpenError> {
    Log::open(disk.clone(), small(), DIRECTORY)
}

pub fn id(index: u64, term: u64) -> LogId {
    LogId::new(Index(index), Term(term))
}

pub fn entry(index: u64, term: u64, data: &str) -> Entry {
    Entry { id: id(index, term), payload: Payload::Data(Bytes::copy_from_slice(data.as_bytes())) }
}

pub fn hard(term: u64, vote: u64, commit: u64) -> Record {
    Record::HardState(HardState { term: Term(term), vote: Some(ReplicaId(vote)), commit: Index(commit) })
}

pub fn birth(replica: u64) -> Record {
    Record::Birth { replica: ReplicaId(replica), genesis: Bytes::from(format!("genesis of r{replica}")) }
}

pub fn batch(records: impl IntoIterator<Item = (u64, Record)>) -> Batch {
    let mut batch = Batch::new();
    for (shard, record) in records {
        batch.push(ShardId(shard), record);
    }
    batch
}

/// What every shard was promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub shards: BTreeMap<ShardId, ShardState>,
    pub tombstones: BTreeMap<ShardId, ReplicaId>,
}

impl Model {
    pub fn apply(&mut self, batch: &Batch) {
        for (shard, record) in batch.records() {
            match record {
                Record::Birth { replica, genesis } => {
                    let state = ShardState {
                        replica: *replica,
                        genesis: genesis.clone(),
                        hard_state: HardState::default(),
                        compacted: LogId::default(),
                        entries: Vec::new(),
                        intent: None,
                    };
                    self.shards.insert(*shard, state);
                }
                Record::Tombstone { replica } => {
                    self.shards.remove(shard);
                    let greatest = self.tombstones.entry(*shard).or_default();
                    *greatest = (*greatest).max(*replica);
                }
                Record::Quarantine { .. } => unreachable!("only opening writes it"),
                other => step(self.shards.get_mut(shard).unwrap(), other),
            }
        }
    }

    pub fn is(&self, recovered: &Recovered) -> bool {
        self.shards == recovered.shards && self.tombstones == recovered.tombstones
    }
}

fn step(state: &mut ShardState, record: &Record) {
    match record {
        Record::HardState(value) => state.hard_state = *value,
        Record::Entries(entries) => {
            state.entries.retain(|entry| entry.index() < entries[0].index());
            state.entries.extend(entries.iter().cloned());
        }
        Record::Compact(to) => {
            if to.index > state.compacted.index {
                state.compacted = *to;
                state.entries.retain(|entry| entry.index() > to.index);
            }
            state.intent = state.intent.filter(|intent| intent.index > state.compacted.index);
        }
        Record::SnapshotIntent(value) => state.intent = Some(*value),
        Record::Reset(value) => {
            state.compacted = *value;
            state.entries.clear();
            state.intent = None;
        }
        Record::Birth { .. } | Record::Tombstone { .. } | Record::Quarantine { .. } => unreachable!(),
    }
}

/// A seeded source of histories that a node could write.
#[derive(Clone)]
pub struct Story {
    seed: u64,
    pub model: Model,
    terms: BTreeMap<ShardId, u64>,
    replicas: u64,
    shards: u64,
    data_bytes_max: u64,
}

impl Story {
    pub fn new(seed: u64, shards: u64, data_bytes_max: u64) -> Self {
        let (model, terms) = (Model::default(), BTreeMap::new());
        Self { seed, model, terms, replicas: 0, shards, data_bytes_max }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// The next batch; it is not in the model until it is applied there.
    pub fn next(&mut self) -> Batch {
        let before = self.model.clone();
        let mut all = Batch::new();
        for _ in 0..=self.below(3) {
            // Half of all shards fall silent after a while: their tails pin old segments.
            let shard = ShardId(self.below(self.shards));
            let busy =
                shard.0.is_multiple_of(2) || self.below(20) == 0 || !self.model.shards.contains_key(&shard);
            if !busy {
                continue;
            }
            for record in self.records(shard) {
                let mut one = Batch::new();
                one.push(shard, record.clone());
                self.model.apply(&one);
                all.push(shard, record);
            }
        }
        self.model = before;
        all
    }

    fn records(&mut self, shard: ShardId) -> Vec<Record> {
        let Some(state) = self.model.shards.get(&shard).cloned() else {
            self.replicas += 1;
            return vec![birth(self.replicas), hard(1, self.replicas, 0)];
        };
        let term = *self.terms.entry(shard).or_insert(1);
        let last = state.entries.last().map_or(state.compacted.index.0, |entry| entry.index().0);
        let first_live = state.compacted.index.0 + 1;
        match self.below(40) {
            0 => vec![Record::Tombstone { replica: state.replica }],
            1 => vec![Record::SnapshotIntent(id(last + 5, term))],
            2 => {
                let to = state.intent.map_or(last + 3, |intent| intent.index.0.max(last + 1));
                self.terms.insert(shard, term + 1);
                vec![Record::Reset(id(to, term))]
            }
            3..9 if last >= first_live => {
                let to = first_live + self.below(last - first_live + 1);
                let term = state.entries.iter().find(|entry| entry.index().0 == to).unwrap().term();
                vec![Record::Compact(LogId::new(Index(to), term))]
            }
            9..13 if last >= first_live => {
                // A new leader overwrites part of the tail.
                self.terms.insert(shard, term + 1);
                let from = first_live + self.below(last - first_live + 1);
                vec![hard(term + 1, 1, 0), Record::Entries(self.entries(from, term + 1))]
            }
            13..16 => vec![hard(term, 2, last)],
            _ => vec![Record::Entries(self.entries(last + 1, term))],
        }
    }

    fn entries(&mut self, from: u64, term: u64) -> Vec<Entry> {
        let count = 1 + self.below(4);
        (from..from + count)
            .map(|index| match self.below(12) {
                0 => Entry { id: id(index, term), payload: Payload::Noop },
                1 => {
                    let voters = Configuration::of_voters([1, 2, 3].map(ReplicaId));
                    Entry { id: id(index, term), payload: Payload::Configuration(voters) }
                }
                _ => {
                    let length = self.below(self.data_bytes_max + 1) as usize;
                    let byte = self.below(256) as u8;
                    Entry { id: id(index, term), payload: Payload::Data(Bytes::from(vec![byte; length])) }
                }
            })
            .collect()
    }
}
