//! What a node knows of its replicas beside its log: the newest cluster map that it has on its disk.
//!
//! No replica is born from a map before that map is on the disk (`fleet.rs`), and a map only grows in the ids that it has given. So
//! whatever replica a log may have lost, this map knows an id that is not below its own, also where it has ended meanwhile.

use flotilla_topology::{ClusterMap, NodeId, ShardId};
use flotilla_wal::{Rot, RotAt, Spent};

use crate::storage::{DataDirectory, DirectoryError};

/// What a map remembers of the replica ids that may ever have lived on a node.
#[must_use]
pub fn spent(map: &ClusterMap, node: NodeId) -> Spent {
    Spent {
        greatest: map.shards.iter().map(|(shard, info)| (*shard, info.greatest_replica)).collect(),
        here: map.replicas_on(node).map(|(shard, _)| shard).collect(),
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Known(Option<ClusterMap>);

impl Known {
    /// The cached map, or that of the founding.
    pub(super) fn read(directory: &DataDirectory) -> Result<Self, DirectoryError> {
        let newest = directory.cached_map()?.map_or_else(|| directory.genesis(), |map| Ok(Some(map)))?;
        Ok(Self(newest.and_then(|map| ClusterMap::decode(&map).ok())))
    }

    /// Whether there is a map. Without one nobody knows what a rotten log may have lost.
    pub(super) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// The ids that may ever have lived on a node.
    pub(super) fn spent(&self, node: NodeId) -> Spent {
        self.0.as_ref().map(|map| spent(map, node)).unwrap_or_default()
    }

    /// Those of the hurt shards whose only voter is on this node, and where the first damage is.
    pub(super) fn alone(&self, node: NodeId, rot: &Rot) -> Option<(RotAt, Vec<ShardId>)> {
        let is_alone = |shard: &ShardId| {
            let info = self.0.as_ref().and_then(|map| map.shards.get(shard));
            info.is_some_and(|info| {
                let voters = info.configuration().voters;
                let here = |voter| info.replicas.get(voter).is_some_and(|it| it.node == node);
                voters.len() == 1 && voters.iter().all(here)
            })
        };
        let shards: Vec<ShardId> = rot.shards.keys().copied().filter(is_alone).collect();
        (!shards.is_empty()).then_some((rot.at, shards))
    }
}
