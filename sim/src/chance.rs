//! Chance from a seed. Each part of a world has a source of its own, so that a world with fewer faults or clients still
//! draws alike in its other parts: that is what lets a failing scenario be shrunk.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A source of chance. Equal seeds draw equal numbers.
#[derive(Clone, Debug)]
pub struct Chance(Pcg64Mcg);

impl Chance {
    /// The source of one part of a world.
    #[must_use]
    pub fn new(seed: u64, part: &str) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed ^ xxhash_rust::xxh3::xxh3_64(part.as_bytes())))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in so many of 1000 cases.
    pub fn permille(&mut self, of_1000: u64) -> bool {
        self.below(1000) < of_1000
    }

    /// One of them; nothing of nothing.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap_or(0))
    }
}
