//! Estimates shard time, in which the deadlines of writes are stated.
//!
//! Each shard has its own clock; it moves when the shard applies entries, to its leader's wall clock, and never back. We
//! keep how far each is ahead of our own wall clock. A write's stamp is the shard's present and replaces what we had. A
//! read's stamp may be old (an idle shard's clock stands still), so it only ever raises the estimate. A shard that we know
//! nothing of is taken to be at our own wall clock: nodes keep theirs within a few hundred ms of each other, and a
//! deadline is seconds away. If our own clock is wrong, the first write to each shard may be refused; the refusal tells the time.

use std::collections::BTreeMap;

use flotilla_topology::ShardId;

/// How far the shards' clocks are ahead of ours.
#[derive(Clone, Debug, Default)]
pub struct ShardClock {
    /// In ms; negative: behind.
    ahead_ms: BTreeMap<ShardId, i64>,
}

impl ShardClock {
    /// A write was answered, or a deadline refused: this is the shard's present. `wall_ms` is our wall clock.
    pub fn present(&mut self, shard: ShardId, shard_time_ms: u64, wall_ms: u64) {
        self.ahead_ms.insert(shard, ahead(shard_time_ms, wall_ms));
    }

    /// A read was answered: the shard's time is at least this.
    pub fn at_least(&mut self, shard: ShardId, shard_time_ms: u64, wall_ms: u64) {
        let seen = ahead(shard_time_ms, wall_ms);
        let known = self.ahead_ms.entry(shard).or_default();
        *known = seen.max(*known);
    }

    /// The shard's time now, as far as we know.
    #[must_use]
    pub fn estimate(&self, shard: ShardId, wall_ms: u64) -> u64 {
        let ahead = self.ahead_ms.get(&shard).copied().unwrap_or_default();
        wall_ms.saturating_add_signed(ahead)
    }
}

fn ahead(shard_time_ms: u64, wall_ms: u64) -> i64 {
    let distance = i64::try_from(shard_time_ms.abs_diff(wall_ms)).unwrap_or(i64::MAX);
    if shard_time_ms >= wall_ms { distance } else { -distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(1);

    #[test]
    fn an_unknown_shard_is_at_our_own_time() {
        assert_eq!(ShardClock::default().estimate(SHARD, 5000), 5000);
    }

    #[test]
    fn a_write_tells_the_present_in_both_directions() {
        let mut clock = ShardClock::default();
        clock.present(SHARD, 9000, 5000);
        assert_eq!(clock.estimate(SHARD, 6000), 10_000);
        clock.present(SHARD, 6500, 7000);
        assert_eq!(clock.estimate(SHARD, 8000), 7500);
        assert_eq!(clock.estimate(ShardId(2), 8000), 8000, "each shard has its own clock");
    }

    /// A shard that was idle for an hour answers a read with a clock of an hour ago. A deadline made from that would have
    /// passed before it was sent.
    #[test]
    fn a_read_of_an_idle_shard_does_not_turn_the_clock_back() {
        let mut clock = ShardClock::default();
        clock.at_least(SHARD, 1000, 3_601_000);
        assert_eq!(clock.estimate(SHARD, 3_601_000), 3_601_000);
        clock.at_least(SHARD, 3_700_000, 3_601_000);
        assert_eq!(clock.estimate(SHARD, 3_601_000), 3_700_000);
    }

    #[test]
    fn absurd_clocks_do_not_overflow() {
        let mut clock = ShardClock::default();
        clock.present(SHARD, u64::MAX, 0);
        assert_eq!(clock.estimate(SHARD, 5), i64::MAX as u64 + 5);
        clock.present(SHARD, 0, u64::MAX);
        assert_eq!(clock.estimate(SHARD, 5), 0);
    }
}
