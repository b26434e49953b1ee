//! Which replicas sleep, and what their nodes must go on hearing.
//!
//! A sleeping replica owns no timer. What it depends on, it shares with many others: that a node goes on beating in the same life
//! (its leader lives there), or goes on answering beats under the same number (a follower lives there). So it is looked at per pair
//! of nodes, once per election timeout: when the sign was last shown tells when to look again. Nothing is lost if nobody says that
//! something has changed; it is only noticed later.
//!
//! What it does not do: it knows no roles and wakes nobody. The worker does, with what it is told here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flotilla_raft::{Sign, Time};
use flotilla_topology::{NodeId, ShardId};

use super::support::Supports;

/// A node, and what it has to go on showing.
pub(super) type Watched = (NodeId, Sign);

/// Why sleepers cannot go on sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// The node is silent.
    Silent,
    /// The node shows another sign: it was started anew, or has withdrawn a promise.
    Changed,
}

/// The sleeping replicas of a worker.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    by_watched: BTreeMap<Watched, BTreeSet<ShardId>>,
    by_shard: BTreeMap<ShardId, Vec<Watched>>,
    /// When it must be looked whether all is well.
    look_at: Option<Time>,
}

impl Sleepers {
    /// Whether a replica sleeps, as far as was last said.
    pub(super) fn contains(&self, shard: ShardId) -> bool {
        self.by_shard.contains_key(&shard)
    }

    /// A replica sleeps under these signs; with none, it is awake.
    pub(super) fn set(
        &mut self,
        shard: ShardId,
        watched: Vec<Watched>,
        supports: &Supports,
        patience: Duration,
    ) {
        if self.by_shard.get(&shard) == Some(&watched) {
            return;
        }
        for old in self.by_shard.remove(&shard).into_iter().flatten() {
            if let Some(shards) = self.by_watched.get_mut(&old) {
                shards.remove(&shard);
                if shards.is_empty() {
                    self.by_watched.remove(&old);
                }
            }
        }
        for new in &watched {
            self.by_watched.entry(*new).or_default().insert(shard);
            // What was agreed with a node that has changed meanwhile is found out at once.
            let ends_at = ends_at(*new, supports, patience);
            self.look_at = Some(self.look_at.map_or(ends_at, |at| at.min(ends_at)));
        }
        if !watched.is_empty() {
            self.by_shard.insert(shard, watched);
        }
    }

    /// When it must be looked again, whatever else happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.look_at
    }

    /// Something may have changed between two nodes: it will be looked now.
    pub(super) fn look_soon(&mut self) {
        self.look_at = (!self.by_watched.is_empty()).then_some(Time(0));
    }

    /// Who cannot go on sleeping, and why, if it is time to look.
    pub(super) fn disturbed(
        &mut self,
        now: Time,
        supports: &Supports,
        patience: Duration,
    ) -> Vec<(ShardId, NodeId, Disturbance)> {
        if self.look_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut disturbed = Vec::new();
        let mut next = None::<Time>;
        for ((node, sign), shards) in &self.by_watched {
            let why = match supports.pair(*node).shown(*sign) {
                None => Disturbance::Changed,
                Some(shown) if shown + patience <= now => Disturbance::Silent,
                Some(shown) => {
                    let ends_at = shown + patience;
                    next = Some(next.map_or(ends_at, |at| at.min(ends_at)));
                    continue;
                }
            };
            disturbed.extend(shards.iter().map(|shard| (*shard, *node, why)));
        }
        self.look_at = next;
        disturbed
    }
}

/// Until when a sign counts as shown; a moment that is over, if it is not shown any more.
fn ends_at((node, sign): Watched, supports: &Supports, patience: Duration) -> Time {
    supports.pair(node).shown(sign).map_or(Time(0), |shown| shown + patience)
}

#[cfg(test)]
mod tests {
    use flotilla_raft::Life;

    use super::super::support::{Beat, SupportOptions};
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(150);
    const PEER: NodeId = NodeId(2);

    fn beaten(supports: &Supports, boot: u64, at_ms: u64) {
        let beat = Beat { boot, sent: Time(0), fallen: Vec::new() };
        assert!(supports.beaten(PEER, &beat, Time(at_ms * 1000)).is_some());
    }

    fn sleepers(supports: &Supports) -> Sleepers {
        let mut sleepers = Sleepers::default();
        for shard in [1, 2] {
            sleepers.set(ShardId(shard), vec![(PEER, Sign::Life(Life(3)))], supports, PATIENCE);
        }
        sleepers
    }

    #[test]
    fn as_long_as_a_node_beats_nobody_wakes() {
        let supports = Supports::new(SupportOptions::default());
        beaten(&supports, 3, 0);
        let mut sleepers = sleepers(&supports);
        assert_eq!(sleepers.deadline(), Some(Time(150_000)));
        beaten(&supports, 3, 125);
        assert_eq!(sleepers.disturbed(Time(150_000), &supports, PATIENCE), []);
        assert_eq!(sleepers.deadline(), Some(Time(275_000)), "it is looked once, not at every beat");
        let silent = |shard| (ShardId(shard), PEER, Disturbance::Silent);
        assert_eq!(sleepers.disturbed(Time(275_000), &supports, PATIENCE), [silent(1), silent(2)]);
    }

    #[test]
    fn another_life_is_noticed_even_if_nobody_says_so() {
        let supports = Supports::new(SupportOptions::default());
        beaten(&supports, 3, 0);
        let mut sleepers = sleepers(&supports);
        beaten(&supports, 4, 10);
        let changed = |shard| (ShardId(shard), PEER, Disturbance::Changed);
        assert_eq!(sleepers.disturbed(Time(20_000), &supports, PATIENCE), [], "nobody looks");
        assert_eq!(sleepers.disturbed(Time(150_000), &supports, PATIENCE), [changed(1), changed(2)]);
        sleepers.look_soon();
        assert_eq!(sleepers.disturbed(Time(20_000), &supports, PATIENCE), [changed(1), changed(2)]);
    }

    #[test]
    fn who_falls_asleep_under_a_sign_that_is_gone_is_looked_at_at_once() {
        let supports = Supports::new(SupportOptions::default());
        beaten(&supports, 4, 0);
        assert_eq!(sleepers(&supports).deadline(), Some(Time(0)));
    }

    #[test]
    fn who_is_awake_is_watched_no_more() {
        let supports = Supports::new(SupportOptions::default());
        beaten(&supports, 3, 0);
        let mut sleepers = sleepers(&supports);
        sleepers.set(ShardId(1), Vec::new(), &supports, PATIENCE);
        assert!(!sleepers.contains(ShardId(1)));
        let silent = (ShardId(2), PEER, Disturbance::Silent);
        assert_eq!(sleepers.disturbed(Time(200_000), &supports, PATIENCE), [silent]);
    }
}
