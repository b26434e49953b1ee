//! Who leads the shard of a slot, as someone knew it. A hint: the shard itself decides what it serves.

use flotilla_raft::Term;

use crate::{Epoch, NodeId, ShardId, Slot};

/// A slot's shard and its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The slot that was asked for.
    pub slot: Slot,
    /// Its shard.
    pub shard: ShardId,
    /// The epoch of the map that says so.
    pub epoch: Epoch,
    /// The term in which the leader was seen.
    pub term: Term,
    /// The leader and its client address; nothing while there is none.
    pub leader: Option<(NodeId, String)>,
}

impl Route {
    /// Whether to believe this route rather than `other` of the same slot: the higher (epoch, term) wins; at a tie, one
    /// that names a leader wins over one that does not (a term has at most one leader).
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        let rank = |route: &Self| (route.epoch, route.term, route.leader.is_some());
        rank(self) > rank(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(epoch: u64, term: u64, leader: Option<u64>) -> Route {
        let leader = leader.map(|node| (NodeId(node), format!("127.0.0.1:{node}")));
        Route { slot: Slot::default(), shard: ShardId(1), epoch: Epoch(epoch), term: Term(term), leader }
    }

    #[test]
    fn the_later_epoch_wins_then_the_later_term_then_a_known_leader() {
        let order = [route(1, 9, Some(1)), route(2, 1, Some(1)), route(2, 3, None), route(2, 3, Some(2))];
        for (position, low) in order.iter().enumerate() {
            for high in &order[position + 1..] {
                assert!(high.supersedes(low) && !low.supersedes(high), "{high:?} over {low:?}");
            }
            assert!(!low.supersedes(low), "nothing supersedes its equal");
        }
    }
}
