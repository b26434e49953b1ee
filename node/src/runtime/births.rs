//! From the cluster map to the birth of a replica.

use flotilla_raft::{Configuration, ReplicaId};
use flotilla_store::{Genesis, Scope, SlotSpan};
use flotilla_topology::{ClusterMap, ShardId};

use crate::host::Birth;

/// How a replica that the map places here comes into the world. `None`: the map does not know the shard.
///
/// Every replica of a shard must be born with the same state, however late it is created: so the genesis comes from what
/// the map recorded when the shard was made, not from what the map says now of its slots and members.
#[must_use]
pub fn birth(map: &ClusterMap, shard: ShardId, replica: ReplicaId) -> Option<Birth> {
    let info = map.shards.get(&shard)?;
    let placement = info.replicas.iter().map(|(replica, placement)| (*replica, placement.node)).collect();
    let first = &info.genesis;
    let scope = if shard == ShardId::META {
        Scope::Meta
    } else {
        let span =
            |range: &flotilla_topology::SlotRange| SlotSpan { first: range.first(), last: range.last() };
        Scope::Slots(first.slots.ranges().iter().map(span).collect())
    };
    let configuration =
        Configuration { voters: first.voters.keys().copied().collect(), ..Configuration::default() };
    let genesis = Genesis { scope, epoch: first.epoch, configuration };
    Some(Birth { replica, placement, genesis })
}
