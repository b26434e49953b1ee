//! What the stories stand on: bases that crash, a replica that flushes and restarts, short words for
//! operations.
#![allow(dead_code)]

use std::sync::Arc;

use bytes::Bytes;
use flotilla_raft::{Configuration, Index, LogId, ReplicaId, Term};
use flotilla_store::disk::{Disk, DiskView, Options};
use flotilla_store::memory::Memory;
use flotilla_store::{
    Action, Base, BaseError, Command, Compare, Condition, Flush, Genesis, Limits, Lookup, Machine, Operation,
    Outcome, Record, RequestId, ScanRange, Scope, SlotSpan, Stats, Txn, TxnOperation, WriteBatch, snapshot,
    stats,
};
use flotilla_topology::{Epoch, SLOTS, ShardId, Slot};

pub const SHARD: ShardId = ShardId(7);

/// A base that stories can break.
pub trait TestBase: Base {
    fn fresh() -> Self;
    /// The process dies; the seed chooses what of the unsynced survives.
    fn crash(&self, seed: u64);
    /// Writes fail from now on, where the base can do that.
    fn break_writes(&self) -> bool;
    /// Writes work again.
    fn repair(&self);
}

impl TestBase for Memory {
    fn fresh() -> Self {
        Self::new()
    }

    fn crash(&self, seed: u64) {
        Self::crash(self, seed);
    }

    fn break_writes(&self) -> bool {
        self.set_failing(true);
        true
    }

    fn repair(&self) {
        self.set_failing(false);
        self.reopen().unwrap();
    }
}

/// A fjall store in a directory that vanishes with it.
#[derive(Clone)]
pub struct TempDisk {
    disk: Disk,
    _directory: Arc<tempfile::TempDir>,
}

impl Base for TempDisk {
    type View = DiskView;

    fn view(&self) -> DiskView {
        self.disk.view()
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), BaseError> {
        self.disk.commit(batch)
    }

    fn sync(&self) -> Result<(), BaseError> {
        self.disk.sync()
    }

    fn reopen(&self) -> Result<(), BaseError> {
        self.disk.reopen()
    }
}

impl TestBase for TempDisk {
    fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(&directory.path().join("base"), Options::default()).unwrap();
        Self { disk, _directory: Arc::new(directory) }
    }

    fn crash(&self, _seed: u64) {
        self.disk.reopen().unwrap();
    }

    fn break_writes(&self) -> bool {
        false
    }

    fn repair(&self) {}
}

/// Random numbers for tests: SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub fn all_slots() -> Scope {
    let last = Slot::new(SLOTS - 1).unwrap();
    Scope::Slots(vec![SlotSpan { first: Slot::new(0).unwrap(), last }])
}

pub fn genesis() -> Genesis {
    genesis_of(all_slots())
}

pub fn genesis_of(scope: Scope) -> Genesis {
    let configuration = Configuration::of_voters([1, 2, 3].map(ReplicaId));
    Genesis { scope, epoch: Epoch(1), configuration }
}

pub fn id(index: u64) -> LogId {
    LogId::new(Index(index), Term(1))
}

pub fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn put(key: &str, value: &str) -> Operation {
    let action = Action::Put { key: b(key), value: b(value), ttl_ms: None };
    Operation { request: None, action }
}

pub fn put_ttl(key: &str, value: &str, ttl_ms: u64) -> Operation {
    let action = Action::Put { key: b(key), value: b(value), ttl_ms: Some(ttl_ms) };
    Operation { request: None, action }
}

pub fn delete(key: &str) -> Operation {
    Operation { request: None, action: Action::Delete { key: b(key) } }
}

pub fn cas(key: &str, expected: u64, value: &str) -> Operation {
    let action = Action::CompareAndSwap { key: b(key), expected, value: b(value), ttl_ms: None };
    Operation { request: None, action }
}

pub fn txn(
    compares: impl Into<Vec<Compare>>,
    then: impl Into<Vec<TxnOperation>>,
    otherwise: impl Into<Vec<TxnOperation>>,
) -> Operation {
    let txn = Txn { compares: compares.into(), then: then.into(), otherwise: otherwise.into() };
    Operation { request: None, action: Action::Txn(txn) }
}

pub fn when(key: &str, condition: Condition) -> Compare {
    Compare { key: b(key), condition }
}

pub fn tget(key: &str) -> TxnOperation {
    TxnOperation::Get { key: b(key) }
}

pub fn tput(key: &str, value: &str) -> TxnOperation {
    TxnOperation::Put { key: b(key), value: b(value), ttl_ms: None }
}

pub fn tput_ttl(key: &str, value: &str, ttl_ms: u64) -> TxnOperation {
    TxnOperation::Put { key: b(key), value: b(value), ttl_ms: Some(ttl_ms) }
}

pub fn tdelete(key: &str) -> TxnOperation {
    TxnOperation::Delete { key: b(key) }
}

/// The operation as attempt of a client.
pub fn by(client: u128, sequence: u64, acknowledged: u64, deadline_ms: u64, mut op: Operation) -> Operation {
    op.request = Some(RequestId { client, sequence, acknowledged, deadline_ms });
    op
}

pub const WIDE: Limits = Limits { records_max: 1000, bytes_max: 1 << 20, examined_max: 10_000 };

/// One replica: a base, the machine on it, and the log that would be replayed.
pub struct Replica<B: TestBase> {
    pub base: B,
    pub machine: Machine,
    pub genesis: Genesis,
    pub log: Vec<Command>,
}

impl<B: TestBase> Replica<B> {
    pub fn new() -> Self {
        Self::of(genesis())
    }

    pub fn of(genesis: Genesis) -> Self {
        let base = B::fresh();
        let machine = Machine::open(SHARD, &base.view(), &genesis).unwrap();
        Self { base, machine, genesis, log: Vec::new() }
    }

    /// Applies an entry with these operations at shard time `stamp_ms`.
    pub fn at(&mut self, stamp_ms: u64, operations: impl Into<Vec<Operation>>) -> Vec<Outcome> {
        let command = Command { stamp_ms, operations: operations.into() };
        self.log.push(command.clone());
        apply(&mut self.machine, &self.base, &command)
    }

    pub fn one(&mut self, stamp_ms: u64, operation: Operation) -> Outcome {
        self.at(stamp_ms, [operation]).remove(0)
    }

    pub fn flush(&mut self) {
        while let Some(flush) = self.machine.freeze() {
            self.run(&flush);
        }
    }

    pub fn run(&mut self, flush: &Flush) {
        let done = flush.run(&self.base).unwrap();
        drop(self.machine.flushed(done));
    }

    /// Flushes and forgets what memory holds: everything is read from the base.
    pub fn settle(&mut self) {
        self.flush();
        self.machine.drop_clean();
    }

    /// Dies and comes back from the base, without the log.
    pub fn restart(&mut self) {
        self.base.crash(1);
        self.machine = Machine::open(SHARD, &self.base.view(), &self.genesis).unwrap();
    }

    /// Dies and comes back from the base and the log.
    pub fn replay(&mut self) {
        self.restart();
        let from = usize::try_from(self.machine.applied().index.0).unwrap();
        for command in &self.log[from..] {
            apply(&mut self.machine, &self.base, command);
        }
    }

    pub fn get(&self, key: &str) -> Option<Record> {
        get(&self.machine, &self.base, key.as_bytes())
    }

    pub fn value(&self, key: &str) -> Option<String> {
        self.get(key).map(|record| String::from_utf8(record.value.to_vec()).unwrap())
    }

    pub fn stats(&mut self) -> Stats {
        self.flush();
        stats(&self.base.view(), SHARD).unwrap().unwrap()
    }

    /// Keys of a range, read in pages of these limits.
    pub fn scan(&self, range: &ScanRange, limits: Limits) -> Vec<(Bytes, Record)> {
        scan(&self.machine, &self.base, range, limits)
    }

    pub fn keys(&self, range: &ScanRange, limits: Limits) -> Vec<String> {
        let key = |(key, _): (Bytes, Record)| String::from_utf8(key.to_vec()).unwrap();
        self.scan(range, limits).into_iter().map(key).collect()
    }
}

/// Loads what is missing, then applies the entry after the last.
pub fn apply<B: Base>(machine: &mut Machine, base: &B, command: &Command) -> Vec<Outcome> {
    for key in machine.missing(command) {
        let record = machine.base_read(&key).run(&base.view()).unwrap();
        machine.load(key, record);
    }
    let next = LogId::new(machine.applied().index.next(), Term(1));
    // Through the bytes, as the log does it.
    machine.apply(next, &Command::decode(command.encode()).unwrap())
}

pub fn get<B: Base>(machine: &Machine, base: &B, key: &[u8]) -> Option<Record> {
    match machine.get(key) {
        Lookup::Record(record) => record,
        Lookup::Base(read) => read.run(&base.view()).unwrap(),
        Lookup::WrongSlot(slot) => panic!("key {key:?} of slot {slot} is not owned"),
    }
}

pub fn scan<B: Base>(machine: &Machine, base: &B, range: &ScanRange, limits: Limits) -> Vec<(Bytes, Record)> {
    let mut range = range.clone();
    let mut records = Vec::new();
    loop {
        let page = machine.scan(&range, limits).run(&base.view()).unwrap();
        assert!(page.records.len() <= limits.records_max, "a page of {} records", page.records.len());
        records.extend(page.records);
        match page.next {
            Some(next) => range = range.resume(next),
            None => return records,
        }
    }
}

/// Streams the flushed state of one base into another and makes it current.
pub fn install<A: Base, B: Base>(from: &A, to: &B, current: u64, chunk_bytes: usize) -> u64 {
    let generation = snapshot::stage_generation(&to.view(), SHARD, current).unwrap();
    let mut reader = snapshot::Reader::new(from.view(), SHARD).unwrap().unwrap();
    let mut writer = snapshot::Writer::new(SHARD, generation);
    while let Some(chunk) = reader.next_chunk(chunk_bytes).unwrap() {
        to.commit(writer.chunk(chunk).unwrap()).unwrap();
    }
    assert!(writer.complete());
    let (batch, meta) = writer.finish().unwrap();
    assert_eq!(meta, reader.meta());
    to.commit(batch).unwrap();
    snapshot::activate(to, SHARD, generation).unwrap();
    for old in snapshot::leftovers(&to.view(), SHARD).unwrap() {
        while !snapshot::purge(to, SHARD, old, 7).unwrap() {}
    }
    generation
}

/// Every story below it runs over the memory base and over fjall.
#[macro_export]
macro_rules! over_both_bases {
    ($($story:ident)*) => {
        mod memory {
            $(#[test] fn $story() { super::$story::<flotilla_store::memory::Memory>(); })*
        }
        mod disk {
            $(#[test] fn $story() { super::$story::<super::harness::TempDisk>(); })*
        }
    };
}
