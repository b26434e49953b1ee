//! When the leaders of a worker propose what they gathered: at once, if nothing is under way; else together.
//!
//! An entry has a fixed price in the core, in three logs and on the wire, so the fewer carry the same writes, the better. Two
//! things are worth waiting for, since they cost the one who waits little:
//!
//! ```text
//!   the log      it writes what this worker gave it before. A leader commits nothing that its own log has not synced: an entry
//!                that left now would wait for that sync, too
//!   the round    the last proposals of this worker, of all its shards, are not committed yet. Whoever was answered by them is
//!                likely to ask again, and whoever asks meanwhile can share an entry, a batch of the log and a frame
//! ```
//!
//! Both waits are bounded: a log that hangs must not keep from the followers what they need to take over, a shard without a
//! quorum must not hold up its neighbours, and where a commit takes a hundred milliseconds, the wait is a trifle.

use std::collections::BTreeSet;
use std::time::Duration;

use flotilla_raft::Time;
use flotilla_topology::ShardId;

/// What a worker's proposals wait for.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The shards whose writes wait.
    held: BTreeSet<ShardId>,
    /// Something of this worker became stable in this turn.
    log_moved: bool,
    /// The shards of which the last proposals are not committed.
    round: BTreeSet<ShardId>,
    /// When nobody waits for them any longer.
    round_until: Time,
    is_early: bool,
}

impl Pace {
    /// A turn begins.
    pub(super) const fn begin(&mut self) {
        self.log_moved = false;
    }

    /// Something of this worker became stable.
    pub(super) const fn on_stable(&mut self) {
        self.log_moved = true;
    }

    /// The inputs of a turn are taken. Decides whether proposals wait in this turn, and returns the shards whose writes wait no
    /// longer. `log_until`: the log is busy, and nobody waits for it any longer than that.
    pub(super) fn decide(
        &mut self,
        now: Time,
        log_until: Option<Time>,
        round_max: Duration,
        is_under_way: impl Fn(ShardId) -> bool,
    ) -> BTreeSet<ShardId> {
        self.round.retain(|shard| is_under_way(*shard));
        let for_log = !self.log_moved && log_until.is_some_and(|until| now < until);
        let for_round = !self.round.is_empty() && now < self.round_until;
        self.is_early = for_log || for_round;
        if self.is_early {
            return BTreeSet::new();
        }
        self.round.clear();
        self.round_until = now + round_max;
        std::mem::take(&mut self.held)
    }

    /// Whether proposals wait in this turn.
    pub(super) const fn is_early(&self) -> bool {
        self.is_early
    }

    /// A shard has proposed in this turn.
    pub(super) fn on_proposed(&mut self, shard: ShardId) {
        self.round.insert(shard);
    }

    /// The writes of this shard wait.
    pub(super) fn hold(&mut self, shard: ShardId) {
        self.held.insert(shard);
    }

    /// When writes that are held now go on at the latest.
    pub(super) fn deadline(&self, log_until: Option<Time>) -> Option<Time> {
        let round_until = Some(self.round_until).filter(|_| !self.round.is_empty());
        log_until.max(round_until).filter(|_| !self.held.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_MAX: Duration = Duration::from_millis(2);
    const A: ShardId = ShardId(1);
    const B: ShardId = ShardId(2);

    fn at_us(us: u64) -> Time {
        Time(us)
    }

    /// A turn in which the log is idle and nothing commits.
    fn turn(pace: &mut Pace, now: Time) -> BTreeSet<ShardId> {
        pace.begin();
        pace.decide(now, None, ROUND_MAX, |_| true)
    }

    #[test]
    fn who_finds_nothing_under_way_does_not_wait() {
        let mut pace = Pace::default();
        turn(&mut pace, at_us(10));
        assert!(!pace.is_early());
        assert_eq!(pace.deadline(None), None);
    }

    #[test]
    fn who_comes_during_a_round_goes_on_when_all_of_it_is_committed() {
        let mut pace = Pace::default();
        turn(&mut pace, at_us(10));
        pace.on_proposed(A);
        pace.on_proposed(B);
        turn(&mut pace, at_us(20));
        assert!(pace.is_early(), "both are under way");
        pace.hold(A);
        assert_eq!(pace.deadline(None), Some(at_us(2_010)));
        assert!(pace.decide(at_us(30), None, ROUND_MAX, |shard| shard == B).is_empty());
        assert!(pace.is_early(), "B is under way");
        assert_eq!(pace.decide(at_us(40), None, ROUND_MAX, |_| false), BTreeSet::from([A]));
        assert!(!pace.is_early());
    }

    #[test]
    fn a_shard_that_commits_nothing_holds_up_a_round_and_no_later_one() {
        let mut pace = Pace::default();
        turn(&mut pace, at_us(0));
        pace.on_proposed(A);
        turn(&mut pace, at_us(1_999));
        assert!(pace.is_early());
        pace.hold(B);
        assert_eq!(turn(&mut pace, at_us(2_000)), BTreeSet::from([B]), "A is given up");
        pace.on_proposed(B);
        pace.decide(at_us(2_100), None, ROUND_MAX, |shard| shard == A);
        assert!(!pace.is_early(), "B has committed; A was of an earlier round");
    }

    #[test]
    fn a_busy_log_is_waited_for_until_it_moves_or_is_too_slow() {
        let mut pace = Pace::default();
        let busy = Some(at_us(20_000));
        pace.decide(at_us(10), busy, ROUND_MAX, |_| false);
        assert!(pace.is_early());
        pace.hold(A);
        assert_eq!(pace.deadline(busy), busy);
        pace.on_stable();
        assert_eq!(pace.decide(at_us(20), busy, ROUND_MAX, |_| false), BTreeSet::from([A]));
        pace.begin();
        pace.decide(at_us(30), busy, ROUND_MAX, |_| false);
        assert!(pace.is_early(), "it moved in an earlier turn");
        pace.decide(at_us(20_000), busy, ROUND_MAX, |_| false);
        assert!(!pace.is_early());
    }
}
