//! Random histories: three replicas of one log, each flushing, crashing, failing and installing snapshots on
//! its own schedule, against the naive model. They must give the model's outcomes and reads, and end with one
//! digest.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;
mod model;

use std::collections::BTreeSet;

use bytes::Bytes;
use flotilla_raft::LogId;
use flotilla_raft::{Configuration, Index, ReplicaId, Term};
use flotilla_store::memory::Memory;
use flotilla_store::{
    Action, Command, Compare, Condition, Flush, Limits, Machine, Operation, Outcome, RequestId, ScanRange,
    Txn, TxnOperation, stats,
};
use harness::*;
use model::Model;

/// What an entry says.
#[derive(Clone, Debug)]
enum Entry {
    Noop,
    Configuration(Configuration),
    Command(Command),
}

/// One log, and what the model says of every entry.
struct History {
    dice: Dice,
    entries: Vec<Entry>,
    /// The model after each entry; the first before any.
    models: Vec<Model>,
    outcomes: Vec<Vec<Outcome>>,
    clock_ms: u64,
    /// Per client: the next sequence, and below which all is acknowledged.
    clients: Vec<(u64, u64)>,
    attempts: Vec<Operation>,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            entries: Vec::new(),
            models: vec![Model::default()],
            outcomes: Vec::new(),
            clock_ms: 1000,
            clients: vec![(1, 0); 4],
            attempts: Vec::new(),
        }
    }

    fn grow(&mut self) {
        self.clock_ms += self.dice.below(20);
        let mut model = self.models.last().unwrap().clone();
        let (entry, outcomes) = match self.dice.below(12) {
            0 => (Entry::Noop, Vec::new()),
            1 => {
                let members = (0..3).map(|_| ReplicaId(self.dice.below(6)));
                (Entry::Configuration(Configuration::of_voters(members)), Vec::new())
            }
            _ => {
                let stamp_ms = self.clock_ms.saturating_sub(self.dice.below(30));
                let operations = (0..self.dice.below(6)).map(|_| self.operation()).collect();
                let command = Command { stamp_ms, operations };
                let outcomes = model.apply(&command);
                (Entry::Command(command), outcomes)
            }
        };
        self.entries.push(entry);
        self.outcomes.push(outcomes);
        self.models.push(model);
    }

    /// A history in which no transaction failed, or none was asked again, would test less than it seems to.
    fn check_that_it_tried_everything(&self) {
        let txns = self.outcomes.iter().flatten().filter_map(|outcome| match outcome {
            Outcome::Txn(txn) => Some(txn),
            _ => None,
        });
        let mut versions = BTreeSet::new();
        let mut seen = [0; 3];
        for txn in txns {
            seen[usize::from(txn.succeeded)] += 1;
            seen[2] += usize::from(!versions.insert(txn.version));
        }
        assert!(seen.iter().all(|&count| count > 0), "{seen:?} failed, succeeded, asked again");
    }

    fn operation(&mut self) -> Operation {
        if !self.attempts.is_empty() && self.dice.one_in(4) {
            let recent = self.attempts.len().saturating_sub(30) as u64;
            let choice = recent + self.dice.below(self.attempts.len() as u64 - recent);
            return self.attempts[usize::try_from(choice).unwrap()].clone();
        }
        let action = self.action();
        if self.dice.one_in(4) {
            return Operation { request: None, action };
        }
        let place = self.dice.below(self.clients.len() as u64) as usize;
        let (sequence, acknowledged) = self.clients[place];
        let acknowledged = acknowledged + self.dice.below(sequence - acknowledged + 1);
        self.clients[place] = (sequence + 1, acknowledged);
        let deadline_ms = self.clock_ms + self.dice.below(300);
        let request = RequestId { client: place as u128, sequence, acknowledged, deadline_ms };
        let operation = Operation { request: Some(request), action };
        self.attempts.push(operation.clone());
        operation
    }

    fn action(&mut self) -> Action {
        let key = self.key();
        match self.dice.below(7) {
            0 | 1 => Action::Put { key, value: self.value(), ttl_ms: self.ttl() },
            2 => Action::Delete { key },
            3 | 4 => {
                let expected = self.version(&key);
                Action::CompareAndSwap { key, expected, value: self.value(), ttl_ms: self.ttl() }
            }
            _ => Action::Txn(self.txn()),
        }
    }

    /// All keys are of one slot: transactions may take any.
    fn key(&mut self) -> Bytes {
        Bytes::from(format!("{{tag}}key{}", self.dice.below(24)))
    }

    fn value(&mut self) -> Bytes {
        let length = if self.dice.one_in(20) { 1100 } else { self.dice.below(20) };
        Bytes::from(vec![b'a' + self.dice.below(26) as u8; length as usize])
    }

    fn ttl(&mut self) -> Option<u64> {
        self.dice.one_in(3).then(|| self.dice.below(150))
    }

    /// Often the one that the key has.
    fn version(&mut self, key: &Bytes) -> u64 {
        match self.dice.below(3) {
            0 => 0,
            _ => self.models.last().unwrap().keys.get(key).map_or(0, |record| record.version),
        }
    }

    fn txn(&mut self) -> Txn {
        Txn {
            compares: (0..self.dice.below(3)).map(|_| self.compare()).collect(),
            then: (0..self.dice.below(6)).map(|_| self.part()).collect(),
            otherwise: (0..self.dice.below(4)).map(|_| self.part()).collect(),
        }
    }

    fn compare(&mut self) -> Compare {
        let key = self.key();
        let condition = match self.dice.below(4) {
            0 => Condition::Version(self.version(&key)),
            1 => {
                let found = self.models.last().unwrap().keys.get(&key).map(|record| record.value.clone());
                Condition::Value(found.unwrap_or_default())
            }
            2 => Condition::Exists,
            _ => Condition::Absent,
        };
        Compare { key, condition }
    }

    fn part(&mut self) -> TxnOperation {
        let key = self.key();
        match self.dice.below(4) {
            0 | 1 => TxnOperation::Get { key },
            2 => TxnOperation::Put { key, value: self.value(), ttl_ms: self.ttl() },
            _ => TxnOperation::Delete { key },
        }
    }
}

struct Member<B> {
    base: B,
    machine: Machine,
    /// On its way to the base; run, but not reported yet, when the second is there.
    flush: Option<(Flush, Option<flotilla_store::Flushed>)>,
}

impl<B: TestBase> Member<B> {
    fn new() -> Self {
        let base = B::fresh();
        let machine = Machine::open(SHARD, &base.view(), &genesis()).unwrap();
        Self { base, machine, flush: None }
    }

    fn place(&self) -> usize {
        usize::try_from(self.machine.applied().index.0).unwrap()
    }

    fn apply(&mut self, history: &History) {
        let place = self.place();
        let id = LogId::new(Index(place as u64 + 1), Term(1));
        match &history.entries[place] {
            Entry::Noop => self.machine.apply_noop(id),
            Entry::Configuration(configuration) => self.machine.apply_configuration(id, configuration),
            Entry::Command(command) => {
                let outcomes = apply(&mut self.machine, &self.base, command);
                assert_eq!(outcomes, history.outcomes[place], "outcomes of entry {id}: {command:?}");
            }
        }
        let model = &history.models[place + 1];
        assert_eq!(self.machine.version(), model.version);
        assert_eq!(self.machine.time_ms(), model.time_ms);
    }

    /// Compares a few reads with the model of the same moment.
    fn read(&self, history: &History, dice: &mut Dice) {
        let model = &history.models[self.place()];
        let key = Bytes::from(format!("{{tag}}key{}", dice.below(26)));
        assert_eq!(get(&self.machine, &self.base, &key).as_ref(), model.keys.get(&key), "get {key:?}");
        let from = Bytes::from(format!("{{tag}}key{}", dice.below(26)));
        let to = dice.one_in(2).then(|| Bytes::from(format!("{{tag}}key{}", dice.below(26))));
        let range = ScanRange { from, to, reverse: dice.one_in(2) };
        let limits = Limits {
            records_max: 1 + dice.below(30) as usize,
            bytes_max: dice.below(2000) as usize,
            examined_max: 1 + dice.below(40) as usize,
        };
        let inside = |key: &Bytes| *key >= range.from && range.to.as_ref().is_none_or(|to| key < to);
        let mut expected: Vec<_> = model.keys.clone().into_iter().filter(|(key, _)| inside(key)).collect();
        if range.reverse {
            expected.reverse();
        }
        assert_eq!(scan(&self.machine, &self.base, &range, limits), expected, "{range:?} {limits:?}");
    }

    /// One step of the flusher: freeze, run, or report.
    fn flush(&mut self) {
        match self.flush.take() {
            None => self.flush = self.machine.freeze().map(|flush| (flush, None)),
            Some((flush, None)) => {
                let done = flush.run(&self.base).unwrap();
                self.flush = Some((flush, Some(done)));
            }
            Some((_, Some(done))) => drop(self.machine.flushed(done)),
        }
    }

    /// A flush fails, and is run again on the reopened base.
    fn stumble(&mut self) {
        if let Some((flush, None)) = &self.flush
            && self.base.break_writes()
        {
            flush.run(&self.base).unwrap_err();
            self.base.repair();
        }
    }

    fn restart(&mut self, seed: u64) {
        let durable = self.machine.durable();
        self.flush = None;
        self.base.crash(seed);
        self.machine = Machine::open(SHARD, &self.base.view(), &genesis()).unwrap();
        let found = self.machine.applied();
        assert!(found.index >= durable.index, "{durable} was durable, {found} came back");
    }

    fn finish(&mut self, history: &History) -> flotilla_store::Stats {
        while self.flush.is_some() {
            self.flush();
        }
        while self.place() < history.entries.len() {
            self.apply(history);
        }
        while self.machine.needs_flush() {
            self.flush();
        }
        while self.flush.is_some() {
            self.flush();
        }
        stats(&self.base.view(), SHARD).unwrap().unwrap()
    }
}

fn run<B: TestBase>(seed: u64, steps: usize) {
    let mut history = History::new(seed);
    let mut dice = Dice(seed ^ 0xdead_beef);
    let mut members: Vec<Member<B>> = (0..3).map(|_| Member::new()).collect();
    // The third never flushes nor restarts until the end: it is what the log alone makes.
    for _ in 0..steps {
        history.grow();
        for (place, member) in members.iter_mut().enumerate() {
            for _ in 0..dice.below(3) {
                if member.place() < history.entries.len() {
                    member.apply(&history);
                }
            }
            member.read(&history, &mut dice);
            if place == 2 {
                continue;
            }
            match dice.below(40) {
                0..=9 => member.flush(),
                10 => member.restart(dice.next()),
                11 => member.machine.drop_clean(),
                12 => member.stumble(),
                _ => {}
            }
        }
        if dice.one_in(60) {
            let from = dice.below(2) as usize;
            let ahead = members[from].machine.durable().index > members[1 - from].machine.applied().index;
            if ahead {
                let generation = members[1 - from].machine.generation();
                install(&members[from].base, &members[1 - from].base, generation, 300);
                members[1 - from].restart(0);
            }
        }
    }
    let all: Vec<_> = members.iter_mut().map(|member| member.finish(&history)).collect();
    assert_eq!(all[0], all[2], "flushing, restarting and snapshots changed the state");
    assert_eq!(all[1], all[2], "flushing, restarting and snapshots changed the state");
    history.check_that_it_tried_everything();
    let model = history.models.last().unwrap();
    assert_eq!(all[0].keys.keys, model.keys.len() as u64);
    let bytes: usize = model.keys.iter().map(|(key, record)| key.len() + record.value.len()).sum();
    assert_eq!(all[0].keys.bytes, bytes as u64);
}

/// Runs a seed and names it when it fails.
fn seed<B: TestBase>(seed: u64, steps: usize) {
    let result = std::panic::catch_unwind(|| run::<B>(seed, steps));
    assert!(result.is_ok(), "seed {seed} failed: its panic stands above");
}

#[test]
fn random_histories_end_alike_on_memory() {
    for number in 0..60 {
        seed::<Memory>(number, 300);
    }
}

#[test]
fn random_histories_end_alike_on_disk() {
    for number in 1000..1003 {
        seed::<TempDisk>(number, 150);
    }
}
