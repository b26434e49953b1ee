//! Which keys a load touches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_core::Rng;

use super::zipfian::Zipfian;

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// A few very often; which ones is scattered over the key space (YCSB's "scrambled zipfian").
    Zipfian,
    /// A few very often: those that were inserted last.
    Latest,
}

/// Draws the numbers of keys.
#[derive(Clone, Debug)]
pub(crate) struct Chooser {
    distribution: Distribution,
    keys: u64,
    zipfian: Arc<Zipfian>,
    inserted: Arc<AtomicU64>,
}

impl Chooser {
    /// Of so many keys, at least one; `inserted` counts those that a load has added and that were acknowledged.
    pub(crate) fn new(distribution: Distribution, keys: u64, inserted: Arc<AtomicU64>) -> Self {
        let zipfian = if distribution == Distribution::Uniform { 1 } else { keys };
        Self { distribution, keys, zipfian: Arc::new(Zipfian::new(zipfian)), inserted }
    }

    pub(crate) fn draw(&self, chance: &mut impl Rng) -> u64 {
        match self.distribution {
            Distribution::Uniform => chance.next_u64() % self.keys,
            Distribution::Zipfian => scatter(self.zipfian.draw(chance)) % self.keys,
            Distribution::Latest => {
                let newest = self.keys + self.inserted.load(Ordering::Relaxed) - 1;
                newest - self.zipfian.draw(chance).min(newest)
            }
        }
    }
}

/// The 64-bit FNV-1a hash, which YCSB scatters with.
fn scatter(number: u64) -> u64 {
    number
        .to_le_bytes()
        .into_iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn keys_stay_within_what_is_there() {
        let inserted = Arc::new(AtomicU64::new(5));
        for distribution in [Distribution::Uniform, Distribution::Zipfian, Distribution::Latest] {
            for keys in [1, 2, 1000] {
                let chooser = Chooser::new(distribution, keys, Arc::clone(&inserted));
                let mut chance = Pcg64Mcg::seed_from_u64(1);
                let most = if distribution == Distribution::Latest { keys + 5 } else { keys };
                assert!((0..10_000).all(|_| chooser.draw(&mut chance) < most), "{distribution:?} of {keys}");
            }
        }
    }

    #[test]
    fn the_latest_are_the_most_frequent() {
        let chooser = Chooser::new(Distribution::Latest, 1000, Arc::new(AtomicU64::new(7)));
        let mut chance = Pcg64Mcg::seed_from_u64(1);
        let newest = (0..10_000).filter(|_| chooser.draw(&mut chance) == 1006).count();
        assert!(newest > 500, "the newest key was drawn {newest} times of 10,000");
    }
}
