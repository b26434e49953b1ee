//! How fast snapshots leave: all streams of a node share one budget, so that a node that gives many replicas away at once does
//! not take the network from its appends.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Who was kept waiting, by a timer that is never exact, may catch up on so much.
const CREDIT: Duration = Duration::from_millis(100);

/// When bytes may leave, as arithmetic: time is an argument, given as the time since one and the same beginning.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    bytes_per_second: u64,
    /// By when everything that was taken so far has had its time.
    paid: Duration,
}

impl Bucket {
    /// Takes so many bytes; how long they have to wait.
    fn take(&mut self, now: Duration, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid = self.paid.max(now.saturating_sub(CREDIT)).saturating_add(cost);
        self.paid.saturating_sub(now)
    }
}

/// The budget of a node.
#[derive(Debug)]
pub(in crate::transport) struct Budget {
    begun: Instant,
    /// `None`: as fast as it goes.
    bucket: Option<Mutex<Bucket>>,
}

impl Budget {
    /// `bytes_per_second` of 0: as fast as it goes.
    pub(in crate::transport) fn new(bytes_per_second: u64) -> Self {
        let bucket = Bucket { bytes_per_second, paid: Duration::ZERO };
        Self { begun: Instant::now(), bucket: (bytes_per_second > 0).then(|| Mutex::new(bucket)) }
    }

    /// Waits until so many bytes may leave. Who gives up waiting has taken them all the same: a chunk at most.
    pub(super) async fn wait_for(&self, bytes: usize) {
        let Some(bucket) = &self.bucket else { return };
        let now = self.begun.elapsed();
        let wait = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now, bytes);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn bucket(bytes_per_second: u64) -> Bucket {
        Bucket { bytes_per_second, paid: Duration::ZERO }
    }

    #[test]
    fn streams_together_leave_as_fast_as_the_budget_says() {
        let mut bucket = bucket(1_000_000);
        let start = Duration::from_secs(10);
        // Three streams, each of which asks again when its chunk has left: 100 chunks of 50,000 bytes in 5 s, less the credit.
        let mut due = [start; 3];
        let mut last = start;
        for _ in 0..100 {
            let stream = (0..3).min_by_key(|stream| due[*stream]).unwrap();
            let now = due[stream];
            due[stream] = now + bucket.take(now, 50_000);
            last = last.max(due[stream]);
        }
        assert_eq!(last - start, Duration::from_secs(5) - CREDIT);
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let mut bucket = bucket(1_000_000);
        bucket.take(Duration::ZERO, 1);
        let later = Duration::from_secs(3600);
        assert_eq!(bucket.take(later, 100_000), Duration::ZERO, "what the credit covers");
        assert_eq!(bucket.take(later, 100_000), 100 * MILLI);
        assert_eq!(
            bucket.take(later + 100 * MILLI, 100_000),
            100 * MILLI,
            "a late timer is made up for once"
        );
    }

    #[test]
    fn a_budget_of_almost_nothing_waits_and_does_not_overflow() {
        let mut bucket = bucket(1);
        for _ in 0..3 {
            bucket.take(Duration::ZERO, usize::MAX);
        }
        assert!(bucket.take(Duration::ZERO, 1) > Duration::from_secs(1 << 34));
    }

    #[tokio::test]
    async fn without_a_budget_nobody_waits() {
        let budget = Budget::new(0);
        for _ in 0..1000 {
            budget.wait_for(usize::MAX).await;
        }
    }
}
