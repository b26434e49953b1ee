//! How long to wait before the next attempt.

use std::time::Duration;

use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// Waits that double up to a cap, each shortened by up to half by chance.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    chance: Pcg64Mcg,
}

impl Backoff {
    /// Waits between `min` and `max`, with a seed that should differ between nodes.
    pub(crate) fn new(min: Duration, max: Duration, seed: u128) -> Self {
        Self { min, max, next: min, chance: Pcg64Mcg::new(seed) }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max);
        let thousandths = 500 + self.chance.next_u32() % 501;
        whole * thousandths / 1000
    }

    /// Starts again with the shortest wait: the last attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_again_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(20), ms(100), 7);
        for whole in [20, 40, 80, 100, 100] {
            let wait = backoff.next();
            assert!(ms(whole / 2) <= wait && wait <= ms(whole), "{wait:?} of {whole} ms");
        }
        backoff.reset();
        assert!(backoff.next() <= ms(20));
    }

    #[test]
    fn two_nodes_do_not_knock_in_step() {
        let waits = |seed| {
            let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1), seed);
            (0..8).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
    }
}
