//! What a start does about the promises of earlier lives. Nobody remembers which they were: only the longest that there may have
//! been is on the disk, and it is waited out.
//!
//! ```text
//!   life 1, 500 ms            life 2, 90 ms                              life 3
//!   ···promise│               start ├──── votes for nobody: 500 ms ────┤ start ├ 90 ms ┤
//!             ├── stands 500 ms ──┤                                    │
//!   on disk: 500 ───────────────────────────────────────────────────── └─ 90 ────────────
//! ```
//!
//! What is remembered grows before the first longer promise, and shrinks when the wait is over: what earlier lives promised has
//! run out then, on this node's clock as on that of whoever held it, and this life has promised nothing longer than what is
//! remembered instead. A crash on either side of a write leaves the longer of the two standing promises covered: too long is safe.

use std::time::Duration;

/// What a start has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// For so long, from the start on, the node votes for nobody.
    pub wait: Duration,
    /// What must be on the disk before the first promise.
    pub lengthen: Option<Duration>,
    /// What may be put on the disk once the wait is over.
    pub shorten: Option<Duration>,
}

impl Restart {
    /// The start of a node that will promise `support`, and whose disk says that it may have promised `remembered`.
    #[must_use]
    pub fn plan(remembered: Duration, support: Duration) -> Self {
        Self {
            wait: remembered,
            lengthen: (support > remembered).then_some(support),
            shorten: (support < remembered).then_some(support),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_was_promised_is_waited_out_whatever_will_be() {
        let plan = |remembered, support| Restart::plan(millis(remembered), millis(support));
        let (wait, nothing) = (millis(90), None);
        assert_eq!(plan(90, 90), Restart { wait, lengthen: nothing, shorten: nothing });
        assert_eq!(plan(90, 500), Restart { wait, lengthen: Some(millis(500)), shorten: nothing });
        assert_eq!(plan(90, 0), Restart { wait, lengthen: nothing, shorten: Some(millis(0)) });
        assert_eq!(plan(0, 90).wait, millis(0), "who never promised anything waits for nothing");
    }

    /// Lives follow each other, each of its own length and support. At every moment what is on the disk covers whatever still stands.
    #[test]
    fn what_is_remembered_covers_every_promise_that_stands() {
        for lives in every_story(&[0, 30, 90], &[10, 50, 200], 4) {
            let (mut now, mut disk, mut stands_until) = (0_u64, Duration::ZERO, 0_u64);
            for (support, lasts) in lives {
                let plan = Restart::plan(disk, millis(support));
                let until = now + u64::try_from(plan.wait.as_millis()).unwrap();
                assert!(until >= stands_until, "votes at {until}, and something stands until {stands_until}");
                disk = plan.lengthen.unwrap_or(disk);
                now += lasts;
                // It promises to the very end.
                stands_until = stands_until.max(now + support);
                if now >= until {
                    disk = plan.shorten.unwrap_or(disk);
                }
            }
        }
    }

    fn every_story(supports: &[u64], lengths: &[u64], lives: usize) -> Vec<Vec<(u64, u64)>> {
        let kinds: Vec<(u64, u64)> =
            supports.iter().flat_map(|support| lengths.iter().map(move |lasts| (*support, *lasts))).collect();
        (0..lives).fold(vec![Vec::new()], |stories, _| {
            let longer = |story: &Vec<(u64, u64)>, kind| story.iter().copied().chain([kind]).collect();
            stories.iter().flat_map(|story| kinds.iter().map(move |kind| longer(story, *kind))).collect()
        })
    }
}
