//! The clocks of a node: the only place where the node reads the time that it hands to its workers.
//!
//! The monotonic clock also counts while the machine is suspended (`CLOCK_BOOTTIME`): a leader that slept through its
//! lease must know it when it wakes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flotilla_raft::Time;
use rustix::time::{ClockId, clock_gettime};

use crate::host::Now;

/// Reads the clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The monotonic clock when the node started: its times are small numbers in logs.
    origin_micros: u64,
}

impl Clock {
    /// A clock whose monotonic time starts at one second: far enough from 0 for "a moment ago" to be expressible.
    #[must_use]
    pub fn start() -> Self {
        Self { origin_micros: boot_micros().saturating_sub(1_000_000) }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { time: self.time(), wall_ms: wall_ms() }
    }

    /// The monotonic clock.
    #[must_use]
    pub fn time(&self) -> Time {
        Time(boot_micros().saturating_sub(self.origin_micros))
    }

    /// How long it is until `deadline`; zero if it has passed.
    #[must_use]
    pub fn until(&self, deadline: Time) -> Duration {
        Duration::from_micros(deadline.0.saturating_sub(self.time().0))
    }
}

/// Microseconds since the machine started, suspended or not.
fn boot_micros() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000_000 + nanos / 1_000
}

/// Milliseconds since the Unix epoch; 0 on a machine whose clock stands before it.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_and_deadlines_shrink() {
        let clock = Clock::start();
        let first = clock.time();
        let second = clock.time();
        assert!(second >= first, "{second:?} is before {first:?}");
        assert!(first.0 >= 1_000_000, "{first:?} leaves no room for the past");
        assert_eq!(clock.until(Time(0)), Duration::ZERO);
        assert!(clock.until(Time(second.0 + 60_000_000)) > Duration::from_secs(59));
    }
}
