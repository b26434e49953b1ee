//! What whoever opens a log remembers of replica ids.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_raft::ReplicaId;
use flotilla_topology::ShardId;

/// See the module. Where something rotted the log alone does not know it: what was lost may be the birth of a replica, or its
/// tombstone, and no other trace of it may be left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The greatest id that each shard has ever given, to whichever node.
    pub greatest: BTreeMap<ShardId, ReplicaId>,
    /// The shards that have a replica on this node, whether or not the log knows it.
    pub here: BTreeSet<ShardId>,
}
