//! Numbers of a Zipf distribution, by the method of Gray et al. ("Quickly generating billion-record synthetic databases",
//! SIGMOD 1994), as YCSB draws them.

use rand_core::Rng;

/// YCSB's skew.
const THETA: f64 = 0.99;

/// Draws from `0..count`; 0 is the most frequent.
#[derive(Clone, Debug)]
pub(crate) struct Zipfian {
    count: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipfian {
    /// Takes time in proportion to `count`, which is at least 1.
    pub(crate) fn new(count: u64) -> Self {
        let zeta = zeta(count);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - zeta_two() / zeta);
        Self { count, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    pub(crate) fn draw(&self, chance: &mut impl Rng) -> u64 {
        let point = unit(chance);
        let scaled = point * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < zeta_two() {
            return 1.min(self.count - 1);
        }
        let rank = self.count as f64 * (self.eta * point - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

fn zeta(count: u64) -> f64 {
    (1..=count).map(|rank| 1.0 / (rank as f64).powf(THETA)).sum()
}

fn zeta_two() -> f64 {
    1.0 + 0.5_f64.powf(THETA)
}

/// Of 0..1.
fn unit(chance: &mut impl Rng) -> f64 {
    (chance.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn frequencies_follow_the_law() {
        let zipfian = Zipfian::new(1000);
        let mut chance = Pcg64Mcg::seed_from_u64(3);
        let mut counts = vec![0_u32; 1000];
        for _ in 0..200_000 {
            counts[zipfian.draw(&mut chance) as usize] += 1;
        }
        let expected = |rank: usize| 200_000.0 / zipfian.zeta / (rank as f64 + 1.0).powf(THETA);
        for rank in [0, 1] {
            let found = f64::from(counts[rank]);
            assert!(
                (found / expected(rank) - 1.0).abs() < 0.05,
                "rank {rank}: {found} of {}",
                expected(rank)
            );
        }
        // The method is an approximation beyond the first two ranks: the tail as a whole must be right.
        let tail: u32 = counts[500..].iter().sum();
        let expected: f64 = (500..1000).map(expected).sum();
        assert!((f64::from(tail) / expected - 1.0).abs() < 0.1, "tail: {tail} of {expected}");
    }

    #[test]
    fn one_key_is_always_the_one() {
        let mut chance = Pcg64Mcg::seed_from_u64(3);
        let zipfian = Zipfian::new(1);
        assert!((0..100).all(|_| zipfian.draw(&mut chance) == 0));
    }
}
