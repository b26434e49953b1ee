//! How long to wait before the next attempt.

use std::time::Duration;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// The first wait is between half of this and all of it.
const FIRST: Duration = Duration::from_millis(8);

/// No wait is longer. About the time of an election, so that a new leader is found soon after it was elected.
const LONGEST: Duration = Duration::from_millis(128);

/// Doubling waits with jitter: clients that were refused together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
    random: Pcg64Mcg,
}

impl Backoff {
    /// The waits between the attempts of an operation. They depend on the seed only.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::between(FIRST, LONGEST, seed)
    }

    /// As `new`, with another first and longest wait.
    #[must_use]
    pub fn between(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { next: first, longest, random: Pcg64Mcg::seed_from_u64(seed) }
    }

    /// The next wait.
    pub fn draw(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        whole / 2 + (whole / 2).mul_f64(self.fraction())
    }

    /// A random number below `bound`, or 0.
    pub fn choose(&mut self, bound: usize) -> usize {
        (self.fraction() * bound as f64) as usize
    }

    /// From 0 (inclusive) to 1 (exclusive).
    fn fraction(&mut self) -> f64 {
        f64::from(self.random.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_exceed_it() {
        let mut backoff = Backoff::new(1);
        let mut whole = FIRST;
        for _ in 0..20 {
            let wait = backoff.draw();
            assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
    }

    #[test]
    fn equal_seeds_wait_alike_and_others_do_not() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..8).map(|_| backoff.draw()).collect::<Vec<_>>()
        };
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }

    #[test]
    fn a_choice_stays_below_its_bound_and_reaches_all_of_it() {
        let mut backoff = Backoff::new(5);
        let mut seen = [false; 3];
        for _ in 0..100 {
            seen[backoff.choose(3)] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(backoff.choose(0), 0);
    }
}
