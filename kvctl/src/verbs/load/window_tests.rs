//! The window told step by step, and tried against a shard that executes ambiguous writes whenever it likes.

use std::collections::{BTreeMap, VecDeque};

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::record::Lifetime;

const LIMITS: Limits = Limits { writes: 4, bytes: 1 << 20 };

fn line(number: u64, key: &str, value: &str) -> Line {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    let at = Position { line: number, offset: number * 10 };
    Line { at, length: 10, record: Record { key, value, lifetime: Lifetime::Endless } }
}

fn number(write: Option<Line>) -> Option<u64> {
    write.map(|line| line.at.line)
}

#[test]
fn of_the_lines_of_a_key_one_is_under_way_and_one_waits() {
    let (mut window, key) = (Window::new(LIMITS), Bytes::from("a"));
    assert_eq!(number(window.take(line(1, "a", "1"))), Some(1));
    assert_eq!(number(window.take(line(2, "b", "1"))), Some(2));
    assert_eq!(number(window.take(line(3, "a", "2"))), None);
    assert_eq!(number(window.take(line(4, "a", "3"))), None);
    assert_eq!(window.settled(), Settled { written: 0, superseded: 1, bytes: 10 });
    assert_eq!(number(window.acknowledged(&key)), Some(4), "line 3 is never sent");
    assert_eq!(window.first_open(), Some(Position { line: 2, offset: 20 }));
    assert_eq!(number(window.acknowledged(&Bytes::from("b"))), None);
    assert_eq!(window.first_open(), Some(Position { line: 4, offset: 40 }));
    assert_eq!(number(window.acknowledged(&key)), None);
    assert_eq!((window.first_open(), window.bytes), (None, 0));
    assert_eq!(window.settled(), Settled { written: 3, superseded: 1, bytes: 40 });
}

#[test]
fn a_failed_write_is_repeated_alone_and_nothing_is_taken_before() {
    let (mut window, a, b) = (Window::new(LIMITS), Bytes::from("a"), Bytes::from("b"));
    window.take(line(1, "a", "1"));
    window.take(line(2, "b", "1"));
    window.take(line(3, "a", "2"));
    window.failed(&a, Failed::Unknown);
    assert!(!window.has_room() && window.has_doubtful() && window.is_unknown());
    assert_eq!(window.acknowledged(&b), None);
    let again: Vec<u64> = window.repeat().into_iter().map(|line| line.at.line).collect();
    assert_eq!(again, [3], "the newest line takes the failed one's place");
    window.failed(&a, Failed::NotExecuted);
    assert!(window.is_unknown(), "a refusal of the second attempt says nothing of the first");
    window.repeat();
    assert_eq!(window.acknowledged(&a), None);
    assert!(window.has_room() && !window.is_unknown());
}

#[test]
fn a_rejected_line_stays_open() {
    let mut window = Window::new(LIMITS);
    window.take(line(1, "a", "1"));
    window.take(line(2, "b", "1"));
    assert_eq!(window.rejected(&Bytes::from("a")).line, 1);
    window.acknowledged(&Bytes::from("b"));
    assert_eq!(window.first_open().map(|at| at.line), Some(1));
}

#[test]
fn what_is_open_is_bounded_in_writes_and_in_bytes() {
    let mut window = Window::new(Limits { writes: 2, bytes: 1_000 });
    window.take(line(1, "a", ""));
    window.take(line(2, "b", ""));
    assert!(!window.has_room(), "two writes are under way");
    window.acknowledged(&Bytes::from("b"));
    assert!(window.has_room());
    window.take(line(3, "a", &"x".repeat(800)));
    assert!(!window.has_room(), "a waiting line counts too");
    for number in 4..1_000 {
        window.take(line(number, "a", &"y".repeat(800)));
    }
    assert!(window.bytes < 2_000, "one key, and of its lines two are kept: {} bytes", window.bytes);
}

/// A shard as the window must expect it: an ambiguous write may be executed at any later time, unless a later write of the
/// same client has told the shard that it ended.
#[derive(Default)]
struct Shard {
    floor: u64,
    values: BTreeMap<Bytes, Bytes>,
    wandering: Vec<Write>,
}

#[derive(Clone)]
struct Write {
    sequence: u64,
    acknowledged: u64,
    line: Line,
}

impl Shard {
    fn execute(&mut self, write: &Write) {
        if write.sequence <= self.floor {
            return;
        }
        self.floor = self.floor.max(write.acknowledged);
        self.values.insert(write.line.record.key.clone(), write.line.record.value.clone());
    }

    /// Some of what wanders arrives.
    fn wander(&mut self, chance: &mut Pcg64Mcg) {
        for write in std::mem::take(&mut self.wandering) {
            if chance.next_u32().is_multiple_of(4) {
                self.execute(&write);
            } else {
                self.wandering.push(write);
            }
        }
    }
}

/// The SDK's numbering of writes, and the writes that are under way, in any order.
#[derive(Default)]
struct Sdk {
    last: u64,
    under_way: Vec<Write>,
}

impl Sdk {
    fn begin(&mut self, line: Line) {
        let first_open = self.under_way.iter().map(|write| write.sequence).min();
        let acknowledged = first_open.map_or(self.last, |first| first - 1);
        self.last += 1;
        assert!(
            self.under_way.iter().all(|write| write.line.record.key != line.record.key),
            "two writes of {:?} are under way",
            line.record.key
        );
        self.under_way.push(Write { sequence: self.last, acknowledged, line });
    }
}

fn story(seed: u64) {
    let mut chance = Pcg64Mcg::seed_from_u64(seed);
    let keys = 1 + chance.next_u32() % 12;
    let mut input: VecDeque<Line> = (1..=200)
        .map(|number| line(number, &format!("k{}", chance.next_u32() % keys), &number.to_string()))
        .collect();
    let expected: BTreeMap<Bytes, Bytes> =
        input.iter().map(|line| (line.record.key.clone(), line.record.value.clone())).collect();
    let (mut window, mut shard, mut sdk) = (Window::new(LIMITS), Shard::default(), Sdk::default());
    let mut restless = 2_000;
    loop {
        while window.has_room() {
            let Some(next) = input.pop_front() else { break };
            if let Some(write) = window.take(next) {
                sdk.begin(write);
            }
        }
        if sdk.under_way.is_empty() {
            if !window.has_doubtful() {
                break;
            }
            window.repeat().into_iter().for_each(|line| sdk.begin(line));
        }
        shard.wander(&mut chance);
        let landing = chance.next_u32() as usize % sdk.under_way.len();
        let write = sdk.under_way.swap_remove(landing);
        let key = write.line.record.key.clone();
        restless -= 1;
        match chance.next_u32() % if restless > 0 { 4 } else { 1 } {
            0 | 1 => {
                shard.execute(&write);
                if let Some(next) = window.acknowledged(&key) {
                    sdk.begin(next);
                }
            }
            2 => window.failed(&key, Failed::NotExecuted),
            _ => {
                shard.wandering.push(write);
                window.failed(&key, Failed::Unknown);
            }
        }
    }
    assert_eq!((window.first_open(), window.bytes), (None, 0), "seed {seed}");
    let settled = window.settled();
    assert_eq!(settled.written + settled.superseded, 200, "seed {seed}");
    assert_eq!(settled.bytes, 2_000, "seed {seed}");
    // Whatever still wanders comes too late.
    for write in std::mem::take(&mut shard.wandering) {
        shard.execute(&write);
    }
    assert_eq!(shard.values, expected, "seed {seed}");
}

#[test]
fn the_last_line_of_a_key_wins_whatever_becomes_of_ambiguous_writes() {
    (0..400).for_each(story);
}
