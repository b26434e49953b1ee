//! What happened, as a number that two runs of one seed must share, and as lines for people.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// So many of the last steps are told with a failure.
const STEPS_KEPT: usize = 60;

/// The steps of a world.
#[derive(Debug, Default)]
pub struct Trace {
    digest: u64,
    steps: u64,
    last: VecDeque<String>,
    /// Whether all lines are kept, not only the last ones.
    pub all: bool,
}

impl Trace {
    /// Takes numbers into the hash: what happened, when, where, and what came of it.
    pub fn hash(&mut self, numbers: &[u64]) {
        self.steps += 1;
        for number in numbers {
            self.digest = xxh3_64_with_seed(&number.to_le_bytes(), self.digest);
        }
    }

    /// Keeps a line.
    pub fn line(&mut self, at_us: u64, text: impl FnOnce() -> String) {
        if !self.all && self.last.len() == STEPS_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(format!("{:>10}.{:03} ms  {}", at_us / 1000, at_us % 1000, text()));
    }

    /// The number that stands for all steps.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// How many steps there were.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The lines kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}
