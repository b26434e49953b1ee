//! For how long nodes have been silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flotilla_topology::NodeId;

/// What whoever leads the meta shard remembers of who answered. A later leader begins anew: so a node is taken for dead later, and
/// never too early. Every moment is given as the time since one and the same beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    silent: BTreeMap<NodeId, Duration>,
    asked: Option<Duration>,
}

/// Whoever has not asked for longer than this, and than half of the grace, has slept or was frozen itself: it begins anew.
const GAP_MAX: Duration = Duration::from_secs(10);

impl Watch {
    /// Of these nodes, which were all asked just now, those in `up` answered.
    pub fn asked(
        &mut self,
        now: Duration,
        grace: Duration,
        nodes: impl IntoIterator<Item = NodeId>,
        up: &BTreeSet<NodeId>,
    ) {
        let gap = self.asked.replace(now).map(|asked| now.saturating_sub(asked));
        let is_broken = gap.is_some_and(|gap| gap > GAP_MAX.max(grace / 2));
        let before = if is_broken { BTreeMap::new() } else { std::mem::take(&mut self.silent) };
        let silent = nodes.into_iter().filter(|node| !up.contains(node));
        self.silent = silent.map(|node| (node, before.get(&node).copied().unwrap_or(now))).collect();
    }

    /// Those that have been silent for at least so long.
    #[must_use]
    pub fn dead(&self, now: Duration, grace: Duration) -> BTreeSet<NodeId> {
        self.silent
            .iter()
            .filter(|(_, since)| now.saturating_sub(**since) >= grace)
            .map(|(node, _)| *node)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_silent_all_the_time_is_dead() {
        let grace = Duration::from_secs(10);
        let at = Duration::from_secs;
        let [one, two, three] = [1, 2, 3].map(NodeId);
        let nodes = [one, two, three];
        let mut watch = Watch::default();
        watch.asked(at(0), grace, nodes, &BTreeSet::from([one]));
        watch.asked(at(5), grace, nodes, &BTreeSet::from([one, three]));
        watch.asked(at(6), grace, nodes, &BTreeSet::from([one]));
        assert_eq!(watch.dead(at(9), grace), BTreeSet::new());
        assert_eq!(watch.dead(at(10), grace), BTreeSet::from([two]), "node 3 answered in between");
        assert_eq!(watch.dead(at(16), grace), BTreeSet::from([two, three]));
        watch.asked(at(16), grace, [one, three], &BTreeSet::from([one]));
        assert_eq!(watch.dead(at(16), grace), BTreeSet::from([three]), "node 2 is no member any more");
    }

    #[test]
    fn whoever_was_frozen_itself_takes_nobody_for_dead() {
        let grace = Duration::from_secs(60);
        let mut watch = Watch::default();
        let mut asked = |second| {
            let now = Duration::from_secs(second);
            watch.asked(now, grace, [NodeId(2)], &BTreeSet::new());
            watch.dead(now, grace)
        };
        assert_eq!(asked(0), BTreeSet::new());
        assert_eq!(asked(90), BTreeSet::new(), "it did not ask for more than half of the grace");
        assert_eq!(asked(120), BTreeSet::new());
        assert_eq!(asked(150), BTreeSet::from([NodeId(2)]));
    }
}
