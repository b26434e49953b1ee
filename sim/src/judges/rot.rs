//! What rot may have taken: it excuses that a log lost something, and no more than the bits that flipped there explain.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_topology::{NodeId, ShardId};

/// The rot of all nodes.
#[derive(Debug, Default)]
pub struct Rot {
    nodes: BTreeMap<NodeId, Rotten>,
}

/// What ever rotted in the log of a node. The damage may be found at any later start.
#[derive(Debug, Default)]
struct Rotten {
    /// The shards of the frames whose records were hit.
    named: BTreeSet<ShardId>,
    /// Something was hit that says which shards a frame is about, or where frames are: any shard may have been in it.
    is_blind: bool,
}

impl Rot {
    /// Something has rotted: records of these shards; nothing: nobody can read whose.
    pub fn rotted(&mut self, node: NodeId, whose: Option<&[ShardId]>) {
        let rotten = self.nodes.entry(node).or_default();
        rotten.is_blind |= whose.is_none();
        rotten.named.extend(whose.into_iter().flatten());
    }

    /// Whether anything ever rotted there.
    #[must_use]
    pub fn is_rotten(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Whether something of this shard may have been lost there.
    #[must_use]
    pub fn may_concern(&self, node: NodeId, shard: ShardId) -> bool {
        self.is_blind(node) || self.nodes.get(&node).is_some_and(|rotten| rotten.named.contains(&shard))
    }

    /// Whether records may have been lost there of which nobody can say whose they were.
    #[must_use]
    pub fn is_blind(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|rotten| rotten.is_blind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_excuses_nobody_whom_it_did_not_hit() {
        let (here, elsewhere) = (NodeId(1), NodeId(2));
        let mut rot = Rot::default();
        assert!(!rot.is_rotten(here) && !rot.may_concern(here, ShardId(1)));
        rot.rotted(here, Some(&[ShardId(1), ShardId(2)]));
        let concerned =
            |rot: &Rot| (1..4).map(|shard| rot.may_concern(here, ShardId(shard))).collect::<Vec<_>>();
        assert_eq!((concerned(&rot), rot.is_blind(here)), (vec![true, true, false], false));
        rot.rotted(here, None);
        assert_eq!((concerned(&rot), rot.is_blind(here)), (vec![true; 3], true));
        assert!(!rot.is_rotten(elsewhere) && !rot.may_concern(elsewhere, ShardId(1)));
    }
}
