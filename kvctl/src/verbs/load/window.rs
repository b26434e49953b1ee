//! Which lines may be written now, so that many are under way and yet the last line of each key wins. Pure: no clock, no fleet.
//!
//! ```text
//!  take ──▶ under way ──answered──▶ done
//!             │   ▲ ▲
//!      failed │   │ └── the newest line of the key that came meanwhile: those between are superseded and never sent
//!             ▼   │
//!           doubtful ──▶ again, when nothing at all is under way
//! ```
//!
//! **One write of a key at a time.** Two of them travel by different ways and may arrive in any order. Whatever lines of the key
//! come meanwhile, one is kept: the newest. So memory is bounded also for a file of one key.
//!
//! **A write that failed may yet be executed**, an ambiguous one at any time: it may lie in the queue of a node that stands still.
//! If its key were written again at once, the older attempt could be executed after the newer one, and win. The SDK's writes
//! carry the number up to which all earlier writes have ended, and a shard that has seen that number refuses what lies below it for
//! ever. So a failed write is repeated only when *no* write is under way: then the repetition's number covers the failed attempt,
//! and an answer to the repetition proves that the older one will never be executed. Until then no new line is taken.
//!
//! What it does not do: it gives nothing up; that is the driver's to decide, who can say from where to go on.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::record::Record;

/// What a line costs beside its key and value.
const LINE_COST_BYTES: usize = 256;

/// Where something stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counted from 1.
    pub line: u64,
    /// The byte at which the line begins.
    pub offset: u64,
}

impl Position {
    /// Where a file begins.
    pub const START: Self = Self { line: 1, offset: 0 };
}

/// A line that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it stands.
    pub at: Position,
    /// How long it is in the input, newline included.
    pub length: u64,
    /// What it says.
    pub record: Record,
}

impl Line {
    fn cost(&self) -> usize {
        self.record.key.len() + self.record.value.len() + LINE_COST_BYTES
    }
}

/// How much may be open.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Writes under way.
    pub writes: usize,
    /// Keys and values of all open lines, and 256 for each line. One line always goes.
    pub bytes: usize,
}

/// How a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It was surely not executed.
    NotExecuted,
    /// It may have been, or may yet be.
    Unknown,
}

/// What was settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Lines whose write was acknowledged.
    pub written: u64,
    /// Lines that a later line of their key made needless before they were sent or acknowledged.
    pub superseded: u64,
    /// How long all of them are in the input.
    pub bytes: u64,
}

/// The lines that are open: taken, and neither acknowledged nor superseded.
#[derive(Debug)]
pub struct Window {
    limits: Limits,
    keys: HashMap<Bytes, Open>,
    /// Where each open line stands.
    places: BTreeMap<u64, u64>,
    bytes: usize,
    under_way: usize,
    /// Keys whose write failed.
    doubtful: Vec<Bytes>,
    settled: Settled,
}

#[derive(Debug)]
struct Open {
    /// The one that is under way, or was and failed.
    current: Line,
    /// The newest that came since.
    newest: Option<Line>,
    /// Whether an attempt may yet be executed.
    unknown: bool,
}

impl Window {
    /// Nothing is open.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            keys: HashMap::new(),
            places: BTreeMap::new(),
            bytes: 0,
            under_way: 0,
            doubtful: Vec::new(),
            settled: Settled::default(),
        }
    }

    /// Whether one more line may be taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.doubtful.is_empty() && self.under_way < self.limits.writes && self.bytes < self.limits.bytes
    }

    /// Takes the next line of the input. What is to be written now, if anything.
    pub fn take(&mut self, line: Line) -> Option<Line> {
        assert!(self.doubtful.is_empty(), "line {} was taken while a write is in doubt", line.at.line);
        self.places.insert(line.at.line, line.at.offset);
        self.bytes += line.cost();
        match self.keys.get_mut(&line.record.key) {
            None => {
                let open = Open { current: line.clone(), newest: None, unknown: false };
                self.keys.insert(line.record.key.clone(), open);
                self.under_way += 1;
                Some(line)
            }
            Some(open) => {
                if let Some(before) = open.newest.replace(line) {
                    self.close(&before);
                    self.settled.superseded += 1;
                }
                None
            }
        }
    }

    /// The write of a key was acknowledged. What is to be written now, if anything.
    pub fn acknowledged(&mut self, key: &Bytes) -> Option<Line> {
        let mut open = self.landed(key);
        self.close(&open.current);
        self.settled.written += 1;
        let next = open.newest.take()?;
        self.under_way += 1;
        self.keys.insert(key.clone(), Open { current: next.clone(), newest: None, unknown: false });
        Some(next)
    }

    /// The write of a key failed: it will be repeated, or a newer line of the key written in its place.
    pub fn failed(&mut self, key: &Bytes, how: Failed) {
        let mut open = self.landed(key);
        open.unknown |= how == Failed::Unknown;
        if let Some(newest) = open.newest.take() {
            self.close(&open.current);
            self.settled.superseded += 1;
            open.current = newest;
        }
        self.keys.insert(key.clone(), open);
        self.doubtful.push(key.clone());
    }

    /// The write of a key was refused for good: its line stays open for ever. Where it stands.
    pub fn rejected(&mut self, key: &Bytes) -> Position {
        let open = self.landed(key);
        let at = open.current.at;
        self.keys.insert(key.clone(), open);
        at
    }

    /// What is to be written again. Nothing may be under way.
    pub fn repeat(&mut self) -> Vec<Line> {
        assert_eq!(self.under_way, 0, "a write was repeated while others are under way");
        let again = std::mem::take(&mut self.doubtful);
        self.under_way = again.len();
        again.iter().filter_map(|key| self.keys.get(key)).map(|open| open.current.clone()).collect()
    }

    /// Whether a write is under way.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Whether a write failed and was not repeated yet.
    #[must_use]
    pub fn has_doubtful(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Whether something that was not acknowledged may have been executed.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.keys.values().any(|open| open.unknown)
    }

    /// Where the first open line stands: everything before it is settled.
    #[must_use]
    pub fn first_open(&self) -> Option<Position> {
        self.places.first_key_value().map(|(line, offset)| Position { line: *line, offset: *offset })
    }

    /// What was settled so far.
    #[must_use]
    pub const fn settled(&self) -> Settled {
        self.settled
    }

    fn landed(&mut self, key: &Bytes) -> Open {
        self.under_way -= 1;
        let open = self.keys.remove(key);
        open.unwrap_or_else(|| panic!("a write of {key:?} ended that never began"))
    }

    fn close(&mut self, line: &Line) {
        self.places.remove(&line.at.line);
        self.bytes -= line.cost();
        self.settled.bytes += line.length;
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
