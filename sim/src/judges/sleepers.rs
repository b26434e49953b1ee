//! The judge of sleepers: whoever sleeps has everything, and depends on nodes that are heard as they were when it fell asleep.

use std::collections::BTreeMap;

use flotilla_node::host::{FallenLeader, Pair, ReplicaStatus};
use flotilla_raft::{ReplicaId, Sign, Term, Time};
use flotilla_topology::{NodeId, ShardId};

use super::violation::hold;

/// In so much time after a node was first heard under another name, or not heard any more for an election timeout, whoever depends
/// on it has been woken, on the slowest clock. (A sleeper is looked at once per election timeout, of 150 ms.)
const GRACE_US: u64 = 250_000;

/// What the nodes were told, in this boot of each.
#[derive(Debug, Default)]
pub struct Sleepers {
    /// When a node last heard another one under new names, in true time.
    changed_us: BTreeMap<(NodeId, NodeId), u64>,
    /// The last term in which a node was told that this replica led, and does so no more.
    fallen: BTreeMap<(NodeId, ShardId, ReplicaId), Term>,
    /// What each sleeper depended on after the last turn.
    watched: BTreeMap<(NodeId, ShardId), Vec<(NodeId, Sign)>>,
}

impl Sleepers {
    /// A node hears another one under new names.
    pub fn changed(&mut self, at: NodeId, other: NodeId, now_us: u64) {
        self.changed_us.insert((at, other), now_us);
    }

    /// A worker is told of a fall.
    pub fn told(&mut self, at: NodeId, leader: FallenLeader) {
        let term = self.fallen.entry((at, leader.shard, leader.leader)).or_default();
        *term = leader.term.max(*term);
    }

    /// A node ended.
    pub fn forget(&mut self, node: NodeId) {
        self.changed_us.retain(|(at, _), _| *at != node);
        self.fallen.retain(|(at, _, _), _| *at != node);
        self.watched.retain(|(at, _), _| *at != node);
    }

    /// Looks at a replica after a turn at `now`, on the clock of its node; in true time that is `now_us`. `pair` is what its
    /// node hears of another.
    pub fn check(
        &mut self,
        node: NodeId,
        status: &ReplicaStatus,
        (now, now_us): (Time, u64),
        pair: impl Fn(NodeId) -> Pair,
    ) {
        let place = (node, status.shard);
        if !status.sleeps() {
            self.watched.remove(&place);
            return;
        }
        let who = || format!("{node} {}", status.shard);
        let last = status.last;
        hold(
            status.commit == last && status.applied.index == last && status.persisted == last,
            "sleep",
            || format!("{} sleeps and has not got everything: {status:?}", who()),
        );
        // Of its own leader: that another one fell in a later term says nothing yet of this one, whose node will speak for itself.
        let fallen = status.leader.and_then(|leader| self.fallen.get(&(node, status.shard, leader)).copied());
        hold(status.leads() || fallen.is_none_or(|term| term < status.term), "sleep", || {
            format!("{} sleeps in {}, whose leader has fallen", who(), status.term)
        });
        // Who fell asleep in this very turn may do so behind a node that was silent for long, because it stood still itself: it is
        // looked at in the next turn, at once.
        let before = self.watched.insert(place, status.watched.clone());
        if before.as_ref() != Some(&status.watched) {
            return;
        }
        for (other, sign) in &status.watched {
            let heard = pair(*other);
            let (is_shown, at) = match sign {
                Sign::Life(life) => (heard.life == Some(*life), heard.beaten),
                Sign::Number(number) => (heard.number == Some(*number), heard.answered),
            };
            let changed_us = self.changed_us.get(&(node, *other)).copied().unwrap_or(0);
            hold(is_shown || now_us - changed_us <= GRACE_US, "sleep", || {
                format!("{} sleeps under {sign:?} of {other}, and its node hears {heard:?}", who())
            });
            // Under another name, an answer to an early beat may be the first: that says nothing of the name it sleeps under.
            let silent = now.since(at).as_micros();
            hold(!is_shown || silent <= u128::from(2 * GRACE_US), "sleep", || {
                format!("{} sleeps, and its node has not heard {other} for {silent} us", who())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use flotilla_raft::SupportNumber;

    use super::super::statuses::status;
    use super::*;

    const LEADER: NodeId = NodeId(1);
    const NOW_US: u64 = 900_000;

    /// Whether a replica may sleep under number 7 of a node that is heard like this, and has been since `changed_us`.
    fn may_sleep(number: u64, answered_us: u64, changed_us: u64) -> bool {
        let sleeper = ReplicaStatus {
            watched: vec![(LEADER, Sign::Number(SupportNumber(7)))],
            ..status(2, Term(1), &[1, 2, 3], &[])
        };
        let pair = |_| Pair {
            number: Some(SupportNumber(number)),
            answered: Time(answered_us),
            life: None,
            beaten: Time(0),
        };
        let mut judge = Sleepers::default();
        judge.changed(NodeId(2), LEADER, changed_us);
        let look = |judge: &mut Sleepers| judge.check(NodeId(2), &sleeper, (Time(NOW_US), NOW_US), pair);
        // In the turn in which it fell asleep nothing is asked.
        look(&mut judge);
        catch_unwind(AssertUnwindSafe(|| look(&mut judge))).is_ok()
    }

    #[test]
    fn nobody_sleeps_behind_a_silent_node() {
        assert!(may_sleep(7, NOW_US - 2 * GRACE_US, 0));
        assert!(!may_sleep(7, NOW_US - 2 * GRACE_US - 1, 0));
    }

    #[test]
    fn an_old_answer_under_a_new_number_is_a_change_and_no_silence() {
        assert!(may_sleep(8, 0, NOW_US - GRACE_US));
        assert!(!may_sleep(8, 0, NOW_US - GRACE_US - 1));
    }
}
