//! How long a group took no writes, from the moments at which its writes were acknowledged: as `kvctl demo` measures it.

use std::time::{Duration, Instant};

/// One acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// When it was first sent.
    pub(super) began: Instant,
    /// When its answer came.
    pub(super) ended: Instant,
}

/// The longest time without an acknowledgement between the last one before the blow and the first of a write that began
/// after it was struck. `None` until there are such.
///
/// Answers of the dead leader may still arrive after the kill, and writes that were under way at the kill may be
/// acknowledged by the new leader: so the longest interval counts, not the first.
pub(super) fn longest(writes: &[Acknowledged], begun: Instant, struck: Instant) -> Option<Duration> {
    let before = writes.iter().map(|write| write.ended).filter(|ended| *ended <= begun).max()?;
    let after = writes.iter().filter(|write| write.began > struck).map(|write| write.ended).min()?;
    let mut moments: Vec<Instant> =
        writes.iter().map(|write| write.ended).filter(|ended| (before..=after).contains(ended)).collect();
    moments.sort_unstable();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max()
}

/// How long 99 of 100 writes that began after a moment took at most, whatever happened to their attempts; nothing of no writes.
pub(super) fn p99(writes: &[Acknowledged], from: Instant) -> Option<Duration> {
    let those = writes.iter().filter(|write| write.began > from);
    let mut took: Vec<Duration> = those.map(|write| write.ended - write.began).collect();
    took.sort_unstable();
    took.get((took.len() * 99).div_ceil(100).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_write_of_a_hundred_is_not_in_the_99th_percentile_and_of_two_one_is() {
        let of = |slow: usize| {
            let origin = Instant::now();
            let moments: Vec<(u64, u64)> =
                (0..100).map(|nth| (1, if nth < slow { 901 } else { 4 })).collect();
            p99(&[writes(origin, &moments), writes(origin, &[(0, 5_000); 9])].concat(), origin)
        };
        assert_eq!(of(1), Some(Duration::from_millis(3)));
        assert_eq!(of(2), Some(Duration::from_millis(900)));
        assert_eq!(p99(&[], Instant::now()), None);
    }

    fn writes(origin: Instant, moments: &[(u64, u64)]) -> Vec<Acknowledged> {
        let at = |ms| origin + Duration::from_millis(ms);
        moments.iter().map(|(began, ended)| Acknowledged { began: at(*began), ended: at(*ended) }).collect()
    }

    #[test]
    fn the_gap_is_the_longest_silence_around_the_kill() {
        let origin = Instant::now();
        let killed = origin + Duration::from_millis(100);
        // One late answer of the dead leader (101), one write that crossed the kill and was retried (330), then a new one.
        let story = writes(origin, &[(90, 95), (99, 101), (98, 330), (102, 332), (105, 331), (400, 900)]);
        assert_eq!(longest(&story, killed, killed), Some(Duration::from_millis(229)));
    }

    #[test]
    fn there_is_no_gap_before_a_write_that_began_after_the_kill_succeeded() {
        let origin = Instant::now();
        let killed = origin + Duration::from_millis(100);
        assert_eq!(longest(&writes(origin, &[(90, 95), (99, 300)]), killed, killed), None);
        assert_eq!(longest(&writes(origin, &[(101, 300)]), killed, killed), None);
    }
}
