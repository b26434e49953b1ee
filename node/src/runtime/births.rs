//! From the cluster map to the births and ends of the replicas of a node.

use flotilla_raft::{Configuration, ReplicaId};
use flotilla_store::{Genesis, Scope, SlotSpan};
use flotilla_topology::{ClusterMap, NodeId, ShardId};

use crate::host::{Birth, Input};

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

/// What the workers of a node are told when it takes in a map, in this order. `here`: the replicas that it hosts; `out`: what is
/// out of service on it, with the greatest replica id that is spent.
pub fn told_of_map(
    map: &ClusterMap,
    node: NodeId,
    here: impl IntoIterator<Item = (ShardId, ReplicaId)>,
    out: impl IntoIterator<Item = (ShardId, ReplicaId)>,
) -> Vec<(ShardId, Input)> {
    // Who has ended goes before another one of its shard comes.
    let ended = here.into_iter().filter(|(shard, replica)| map.has_ended(*shard, *replica));
    // What is out of service ends when a map that is not older places nothing of it here.
    let is_gone = |(shard, spent): &(ShardId, ReplicaId)| {
        map.shards.get(shard).is_some_and(|info| info.greatest_replica >= *spent)
            && map.replica_on(*shard, node).is_none()
    };
    let ended = ended.chain(out.into_iter().filter(is_gone));
    let mut told: Vec<(ShardId, Input)> =
        ended.map(|(shard, replica)| (shard, Input::Retire { shard, replica })).collect();
    for (shard, replica) in map.replicas_on(node) {
        // Ignored by the host where the replica lives already, or lived once.
        told.extend(birth(map, shard, replica).map(|birth| (shard, Input::Create { shard, birth })));
        let replicas = map.shards.get(&shard).into_iter().flat_map(|info| &info.replicas);
        let placement = replicas.map(|(replica, placement)| (*replica, placement.node)).collect();
        told.push((shard, Input::Placed { shard, placement }));
    }
    told
}
