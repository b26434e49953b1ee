//! The clocks of a node: they run a little too fast or too slow, and the wall clock may be wrong and may jump.

use flotilla_node::host::Now;
use flotilla_raft::Time;

/// What wall clocks show when a world begins, in milliseconds since the Unix epoch.
pub const WALL_BEGINS_MS: u64 = 1_700_000_000_000;

/// The clocks of one node. True time is that of the world, in microseconds since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// What the monotonic clock showed when the world began, in microseconds, were it that of the present process.
    pub offset_us: u64,
    /// By how many millionths it is too fast; negative: too slow.
    pub drift_ppm: i64,
    /// By how much the wall clock is ahead of the truth, in milliseconds.
    pub wall_ahead_ms: i64,
}

impl Clock {
    /// What the clocks show.
    #[must_use]
    pub fn now(&self, true_us: u64) -> Now {
        let wall_ms = WALL_BEGINS_MS + true_us / 1000;
        Now { time: Time(self.local(true_us)), wall_ms: wall_ms.saturating_add_signed(self.wall_ahead_ms) }
    }

    /// The first microsecond of true time at which the monotonic clock shows this, or more.
    #[must_use]
    pub fn true_at(&self, time: Time) -> u64 {
        let local = i128::from(time.0.saturating_sub(self.offset_us));
        let rate = 1_000_000 + i128::from(self.drift_ppm);
        let mut at = u64::try_from(local * 1_000_000 / rate).unwrap_or(0);
        while self.local(at) < time.0 {
            at += 1;
        }
        while at > 0 && self.local(at - 1) >= time.0 {
            at -= 1;
        }
        at
    }

    fn local(&self, true_us: u64) -> u64 {
        let drift = i128::from(true_us) * i128::from(self.drift_ppm) / 1_000_000;
        let local = i128::from(self.offset_us) + i128::from(true_us) + drift;
        u64::try_from(local).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_when_its_true_time_comes_and_not_before() {
        for drift_ppm in [-50_000, -3, 0, 7, 50_000] {
            let clock = Clock { offset_us: 77, drift_ppm, wall_ahead_ms: 0 };
            // Both clocks count whole microseconds: where rounding matters, it does within a few of them.
            for deadline in (78..1000).chain(123_456_000..123_457_000) {
                let at = clock.true_at(Time(deadline));
                assert!(clock.now(at).time >= Time(deadline), "{clock:?} {deadline}");
                assert!(at == 0 || clock.now(at - 1).time < Time(deadline), "{clock:?} {deadline}");
            }
        }
    }

    #[test]
    fn the_wall_clock_may_be_behind() {
        let clock = Clock { wall_ahead_ms: -500, ..Clock::default() };
        assert_eq!(clock.now(2_000_000).wall_ms, WALL_BEGINS_MS + 1500);
    }
}
