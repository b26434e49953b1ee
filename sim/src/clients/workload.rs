//! What clients ask: a mix of everything on groups of a few keys, each group of one slot, so that transactions and scans tie
//! few operations together and the search for a linearization stays small.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_history::{Call, Compare, Condition, Txn, TxnStep, Version};

use crate::chance::Chance;

/// The keys of a group.
const KEYS: [&str; 3] = ["a", "b", "c"];

/// What clients of a world are like.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How long a client rests between two operations at most, in microseconds.
    pub rest_us_max: u64,
    /// How many groups are in use at the same time: of few, each is written and read by many.
    pub groups_at_once: u64,
    /// How many operations a client begins on one group at most. Then it turns to the next, and so do all others.
    pub operations_per_group: u64,
    /// How long an attempt may take at most, in milliseconds. Each client has its own patience.
    pub attempt_ms_max: u64,
    /// Of 1000 operations, how many begin without knowing who leads.
    pub lost_permille: u64,
    /// Of 1000 operations, after how many a client ends, and a new one comes in its place.
    pub reborn_permille: u64,
    /// Of 1000 values, how many are large.
    pub large_permille: u64,
    /// How large they are at most, in bytes.
    pub large_bytes_max: u64,
}

/// What a client asks.
#[derive(Debug)]
pub struct Workload {
    /// The crowd that it belongs to, of so many.
    crowd: (u64, u64),
    habits: Habits,
    /// How many operations are left on each group.
    left: Vec<u64>,
    chance: Chance,
    /// Who writes: each write has a value of its own.
    writer: u64,
    written: u64,
    /// The newest version that this client saw of a key.
    seen: BTreeMap<Bytes, Version>,
}

/// The reads of the end: every key, and every group as a whole.
#[derive(Debug)]
pub struct Final(Vec<Call>);

impl Workload {
    /// What one client of a crowd asks of so many groups. Where there are `(crowd, of)` crowds, each has groups of its own.
    #[must_use]
    pub fn new(crowd: (u64, u64), groups: u64, habits: Habits, writer: u64, chance: Chance) -> Self {
        let left = (0..groups).map(|_| habits.operations_per_group).collect();
        Self { crowd, habits, left, chance, writer, written: 0, seen: BTreeMap::new() }
    }

    /// The next thing to ask; nothing when the judges could take no more.
    pub fn draw(&mut self) -> Option<Call> {
        let group = self.group()?;
        let key = self.key(group);
        Some(match self.chance.below(100) {
            0..32 => Call::Get { key },
            32..60 => Call::Put { key, value: self.value() },
            60..76 => {
                let expected = self.expected(&key);
                Call::CompareAndSwap { key, expected, value: self.value() }
            }
            76..84 => Call::Delete { key },
            84..94 => Call::Txn(self.transaction(group)),
            _ => scan(group),
        })
    }

    /// One of the first groups on which something is left.
    fn group(&mut self) -> Option<u64> {
        let at_once = usize::try_from(self.habits.groups_at_once).unwrap_or(usize::MAX);
        let open = self.left.iter().enumerate().filter(|(_, left)| **left > 0);
        let open: Vec<usize> = open.map(|(place, _)| place).take(at_once).collect();
        let place = *self.chance.pick(&open)?;
        self.left[place] -= 1;
        let (crowd, crowds) = self.crowd;
        Some(place as u64 * crowds + crowd)
    }

    /// A version of a key was seen.
    pub fn saw(&mut self, key: &Bytes, version: Version) {
        self.seen.insert(key.clone(), version);
    }

    fn key(&mut self, group: u64) -> Bytes {
        let name = KEYS[self.chance.below(KEYS.len() as u64) as usize];
        key_of(group, name)
    }

    fn value(&mut self) -> Bytes {
        self.written += 1;
        let large = self.chance.permille(self.habits.large_permille);
        let padding = self.chance.below(if large { self.habits.large_bytes_max } else { 60 });
        let padding = "x".repeat(usize::try_from(padding).unwrap_or(0));
        Bytes::from(format!("{}-{}-{padding}", self.writer, self.written))
    }

    /// Mostly the version that was seen last, so that some comparisons hold.
    fn expected(&mut self, key: &Bytes) -> Version {
        let seen = self.seen.get(key).copied().unwrap_or_default();
        if self.chance.permille(100) { Version(self.chance.below(5)) } else { seen }
    }

    /// A move of two keys, under a condition.
    fn transaction(&mut self, group: u64) -> Txn {
        let (one, other) = (self.key(group), self.key(group));
        let condition = match self.chance.below(3) {
            0 => Condition::Exists(true),
            1 => Condition::Exists(false),
            _ => Condition::Version(self.expected(&one)),
        };
        let then = vec![
            TxnStep::Put(one.clone(), self.value()),
            TxnStep::Get(other.clone()),
            if self.chance.permille(500) {
                TxnStep::Put(other.clone(), self.value())
            } else {
                TxnStep::Delete(other.clone())
            },
        ];
        Txn {
            compares: vec![Compare { key: one.clone(), condition }],
            then,
            otherwise: vec![TxnStep::Get(one)],
        }
    }
}

impl Final {
    /// The reads of so many groups.
    #[must_use]
    pub fn of(groups: u64) -> Self {
        let gets = (0..groups).flat_map(|group| KEYS.map(|name| Call::Get { key: key_of(group, name) }));
        Self(gets.chain((0..groups).map(scan)).collect())
    }

    /// The next read.
    pub fn take(&mut self) -> Option<Call> {
        self.0.pop()
    }
}

fn key_of(group: u64, name: &str) -> Bytes {
    Bytes::from(format!("{{g{group}}}{name}"))
}

/// The whole of a group.
fn scan(group: u64) -> Call {
    Call::Scan { from: Bytes::from(format!("{{g{group}}}")), to: Some(Bytes::from(format!("{{g{group}}}~"))) }
}
