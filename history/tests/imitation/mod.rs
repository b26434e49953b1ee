//! Histories of an imitated store that is linearizable: clients overlap at random, and every operation is executed at
//! one moment between its beginning and its end, or is lost, or refused. And little lies that are told about them.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_history::{
    Answer, Call, Client, Compare, Condition, Done, History, Moment, Outcome, Seen, Shard, Stamp, Txn,
    TxnAnswer, TxnStep, Version,
};
use rand_core::Rng;
use rand_pcg::Pcg64;

/// Draws a number.
pub fn draw(random: &mut Pcg64, below: usize) -> usize {
    (random.next_u64() % below as u64) as usize
}

fn chance(random: &mut Pcg64, percent: usize) -> bool {
    draw(random, 100) < percent
}

/// What kind of history.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub operations: usize,
    pub clients: usize,
    pub keys: usize,
    /// How many of a hundred are lost: nobody knows.
    pub lost: usize,
    /// How many of a hundred are refused.
    pub refused: usize,
    /// How many of a hundred versions nobody looks at.
    pub hidden: usize,
    /// So many values are there; 0: each write has its own.
    pub values: usize,
    /// Transactions and scans too.
    pub together: bool,
    /// Reads tell where the counter stood.
    pub stamps: bool,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Told {
    pub client: usize,
    pub call: Call,
    pub begin: u64,
    pub end: u64,
    pub outcome: Outcome,
}

/// The record of it.
pub fn history(told: &[Told]) -> History {
    let mut history = History::new();
    for Told { client, call, begin, end, outcome } in told {
        let id = history.invoke(Moment(*begin), Client(*client as u64), Shard(1), call.clone());
        history.complete(id, Moment(*end), outcome.clone());
    }
    history
}

#[derive(Debug, Default)]
struct Store {
    keys: BTreeMap<Bytes, (Bytes, u64)>,
    counter: u64,
}

impl Store {
    fn seen(&self, key: &Bytes) -> Option<Seen> {
        self.keys.get(key).map(|(value, version)| Seen::of(value.clone(), *version))
    }

    fn version(&self, key: &Bytes) -> u64 {
        self.keys.get(key).map_or(0, |(_, version)| *version)
    }

    fn put(&mut self, key: &Bytes, value: &Bytes) -> Answer {
        self.counter += 1;
        self.keys.insert(key.clone(), (value.clone(), self.counter));
        Answer::Written(Some(Version(self.counter)))
    }

    fn execute(&mut self, call: &Call) -> Answer {
        match call {
            Call::Get { key } => Answer::Got(self.seen(key)),
            Call::Put { key, value } => self.put(key, value),
            Call::Delete { key } => {
                let existed = self.keys.remove(key).is_some();
                self.counter += u64::from(existed);
                Answer::Deleted { existed, version: existed.then_some(Version(self.counter)) }
            }
            Call::CompareAndSwap { key, expected, value } => {
                if self.version(key) == expected.0 {
                    self.put(key, value)
                } else {
                    Answer::Conflict(self.seen(key))
                }
            }
            Call::Scan { from, to } => {
                let record = |key: &Bytes| (key.clone(), self.seen(key).unwrap());
                let records = self.keys.keys().map(record).collect();
                Answer::Scanned { from: from.clone(), to: to.clone(), records }
            }
            Call::Txn(txn) => self.txn(txn),
        }
    }

    fn txn(&mut self, txn: &Txn) -> Answer {
        let holds = |compare: &Compare| match &compare.condition {
            Condition::Version(version) => self.version(&compare.key) == version.0,
            Condition::Value(value) => self.keys.get(&compare.key).is_some_and(|(held, _)| held == value),
            Condition::Exists(exists) => self.keys.contains_key(&compare.key) == *exists,
        };
        let succeeded = txn.compares.iter().all(holds);
        let steps = if succeeded { &txn.then } else { &txn.otherwise };
        let writes = steps.iter().any(|step| !matches!(step, TxnStep::Get(_)));
        self.counter += u64::from(writes);
        let mut results = Vec::new();
        for step in steps {
            results.push(match step {
                TxnStep::Get(key) => TxnAnswer::Got(self.seen(key)),
                TxnStep::Put(key, value) => {
                    self.keys.insert(key.clone(), (value.clone(), self.counter));
                    TxnAnswer::Put
                }
                TxnStep::Delete(key) => TxnAnswer::Deleted(self.keys.remove(key).is_some()),
            });
        }
        Answer::Txn { succeeded, version: Some(Version(self.counter)), results }
    }
}

/// What a client does at the moment.
#[derive(Debug)]
enum Busy {
    Idle,
    Asked(usize),
    Executed(usize, Done),
}

/// An imitation under way.
struct Imitation<'a> {
    random: &'a mut Pcg64,
    plan: Plan,
    store: Store,
    told: Vec<Told>,
    busy: Vec<Busy>,
    /// Lost, and perhaps executed some day.
    adrift: Vec<usize>,
    now: u64,
}

/// Imitates a store.
pub fn imitate(random: &mut Pcg64, plan: Plan) -> Vec<Told> {
    let busy = (0..plan.clients).map(|_| Busy::Idle).collect();
    let mut imitation = Imitation {
        random,
        plan,
        store: Store::default(),
        told: Vec::new(),
        busy,
        adrift: Vec::new(),
        now: 0,
    };
    while imitation.told.len() < plan.operations
        || imitation.busy.iter().any(|busy| !matches!(busy, Busy::Idle))
    {
        imitation.step();
    }
    imitation.told
}

impl Imitation<'_> {
    fn step(&mut self) {
        self.now += 1;
        if !self.adrift.is_empty() && chance(self.random, 20) {
            let late = draw(self.random, self.adrift.len());
            let late = self.adrift.swap_remove(late);
            self.store.execute(&self.told[late].call);
            return;
        }
        let client = draw(self.random, self.busy.len());
        self.busy[client] = match std::mem::replace(&mut self.busy[client], Busy::Idle) {
            Busy::Idle if self.told.len() < self.plan.operations => {
                let call = self.call();
                let (begin, end) = (self.now, self.now);
                self.told.push(Told { client, call, begin, end, outcome: Outcome::Unknown });
                Busy::Asked(self.told.len() - 1)
            }
            Busy::Idle => Busy::Idle,
            Busy::Asked(at) if chance(self.random, self.plan.refused) => self.end(at, Outcome::NotExecuted),
            Busy::Asked(at) if chance(self.random, self.plan.lost) => {
                self.adrift.push(at);
                self.end(at, Outcome::Unknown)
            }
            Busy::Asked(at) => {
                let answer = self.store.execute(&self.told[at].call);
                let counter = Some(Version(self.store.counter));
                let stamp = self.plan.stamps.then_some(Stamp { term: 1, counter });
                Busy::Executed(at, Done { answer, stamp })
            }
            Busy::Executed(at, _) if chance(self.random, self.plan.lost) => self.end(at, Outcome::Unknown),
            Busy::Executed(at, mut done) => {
                if chance(self.random, self.plan.hidden) {
                    hide(&mut done.answer);
                }
                self.end(at, Outcome::Done(done))
            }
        };
    }

    fn end(&mut self, at: usize, outcome: Outcome) -> Busy {
        self.told[at].end = self.now;
        self.told[at].outcome = outcome;
        Busy::Idle
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", draw(self.random, self.plan.keys)))
    }

    fn value(&mut self) -> Bytes {
        let own = self.told.len();
        let number = if self.plan.values == 0 { own } else { draw(self.random, self.plan.values) };
        Bytes::from(number.to_string())
    }

    /// Mostly the version that is there, else some other.
    fn version(&mut self, key: &Bytes) -> Version {
        if chance(self.random, 70) {
            return Version(self.store.version(key));
        }
        Version(draw(self.random, self.store.counter as usize + 2) as u64)
    }

    fn call(&mut self) -> Call {
        let (key, value) = (self.key(), self.value());
        match draw(self.random, if self.plan.together { 14 } else { 10 }) {
            0..4 => Call::Get { key },
            4..7 => Call::Put { key, value },
            7 => Call::Delete { key },
            8 | 9 => {
                let expected = self.version(&key);
                Call::CompareAndSwap { key, expected, value }
            }
            10 => Call::Scan { from: Bytes::new(), to: None },
            _ => Call::Txn(self.txn()),
        }
    }

    fn txn(&mut self) -> Txn {
        let mut txn = Txn::default();
        if chance(self.random, 60) {
            let key = self.key();
            let condition = match draw(self.random, 3) {
                0 => Condition::Version(self.version(&key)),
                1 => Condition::Exists(chance(self.random, 50)),
                _ => Condition::Value(self.value()),
            };
            txn.compares.push(Compare { key, condition });
        }
        for succeeded in [true, false] {
            for _ in 0..=draw(self.random, 2) {
                let (key, value) = (self.key(), self.value());
                let step = match draw(self.random, 4) {
                    0 => TxnStep::Get(key),
                    1 => TxnStep::Delete(key),
                    _ => TxnStep::Put(key, value),
                };
                if succeeded { &mut txn.then } else { &mut txn.otherwise }.push(step);
            }
        }
        txn
    }
}

fn hide(answer: &mut Answer) {
    match answer {
        Answer::Got(Some(seen)) | Answer::Conflict(Some(seen)) => seen.version = None,
        Answer::Written(version) | Answer::Deleted { version, .. } => *version = None,
        _ => {}
    }
}

/// Tells one little lie; it may happen to be harmless.
pub fn lie(random: &mut Pcg64, told: &mut [Told]) {
    let at = draw(random, told.len());
    let other = draw(random, told.len());
    match draw(random, 5) {
        // It was asked later, or answered sooner.
        0 if told[at].begin < told[at].end => {
            told[at].begin += 1 + draw(random, (told[at].end - told[at].begin) as usize) as u64
        }
        1 if told[at].begin < told[at].end => told[at].end = told[at].begin,
        // The whole operation was at another time.
        2 => {
            let (begin, end) = (told[at].begin, told[at].end);
            (told[at].begin, told[at].end) = (told[other].begin, told[other].end);
            (told[other].begin, told[other].end) = (begin, end);
        }
        // Done, and denied.
        3 => told[at].outcome = Outcome::NotExecuted,
        _ => {
            if let Outcome::Done(done) = &mut told[at].outcome {
                distort(random, &mut done.answer);
            }
        }
    }
}

fn distort(random: &mut Pcg64, answer: &mut Answer) {
    let version = Version(1 + draw(random, 6) as u64);
    match answer {
        Answer::Got(seen) | Answer::Conflict(seen) => {
            let other = Seen::of(draw(random, 6).to_string(), version.0);
            *seen = if chance(random, 30) { None } else { Some(other) };
        }
        Answer::Written(made) => *made = Some(version),
        Answer::Deleted { existed, version: made } => {
            *existed = !*existed;
            *made = existed.then_some(version);
        }
        Answer::Txn { results, .. } => {
            for result in results {
                match result {
                    TxnAnswer::Got(seen) => *seen = None,
                    TxnAnswer::Deleted(existed) => *existed = !*existed,
                    TxnAnswer::Put => {}
                }
            }
        }
        Answer::Scanned { records, .. } => {
            records.pop();
        }
    }
}
