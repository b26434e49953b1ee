//! From the cluster map to the births and ends of the replicas of a node.

use std::collections::BTreeSet;

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

/// What the workers of a node are told when it takes in a map, in this order. `before`: the map that it had; `here`: the replicas that
/// it hosts; `out`: what is out of service on it, with the greatest replica id that is spent.
pub fn told_of_map(
    map: &ClusterMap,
    before: Option<&ClusterMap>,
    node: NodeId,
    here: impl IntoIterator<Item = (ShardId, ReplicaId)>,
    out: impl IntoIterator<Item = (ShardId, ReplicaId)>,
) -> Vec<(ShardId, Input)> {
    // Also whoever still waits to be born, because the map before placed it here.
    let placed = before.into_iter().flat_map(|before| before.replicas_on(node));
    let has_ended = |(shard, replica): &(ShardId, ReplicaId)| map.has_ended(*shard, *replica);
    // What is out of service ends when a map that is not older places nothing of it here.
    let is_gone = |(shard, spent): &(ShardId, ReplicaId)| {
        map.shards.get(shard).is_some_and(|info| info.greatest_replica >= *spent)
            && map.replica_on(*shard, node).is_none()
    };
    let ended: BTreeSet<(ShardId, ReplicaId)> =
        here.into_iter().chain(placed).filter(has_ended).chain(out.into_iter().filter(is_gone)).collect();
    // Who has ended goes before another one of its shard comes.
    let mut told: Vec<(ShardId, Input)> =
        ended.into_iter().map(|(shard, replica)| (shard, Input::Retire { shard, replica })).collect();
    for (shard, replica) in map.replicas_on(node) {
        // Ignored by the host where the replica lives already, or lived once.
        told.extend(birth(map, shard, replica).map(|birth| (shard, Input::Create { shard, birth })));
        let replicas = map.shards.get(&shard).into_iter().flat_map(|info| &info.replicas);
        let placement = replicas.map(|(replica, placement)| (*replica, placement.node)).collect();
        told.push((shard, Input::Placed { shard, placement }));
    }
    told
}

#[cfg(test)]
mod tests {
    use flotilla_raft::Index;
    use flotilla_topology::{Change, MoveId, NodeInfo, Report, plan_initial};

    use super::*;

    /// r4 shall be born where r3 is out of service, which has to leave the base first; then it shall not.
    #[test]
    fn who_waits_to_be_born_hears_that_it_shall_not() {
        let (shard, node) = (ShardId(1), NodeId(3));
        let info = |node: u64| {
            let address = |port: u64| format!("127.0.0.1:{}", port + node);
            NodeInfo { client_addr: address(100), peer_addr: address(200), http_addr: address(300) }
        };
        let nodes = (1..=3).map(|node| (NodeId(node), info(node))).collect();
        let map = plan_initial(1, nodes, 1, 3).expect("numbers that fit");
        let spent = map.replica_on(shard, node).expect("each node has one");
        let replaced = map.apply(Change::Replace { shard, node }).expect("a replacement");
        let (_, moving) = replaced.move_of(shard).expect("it has begun");
        let report = |map: &ClusterMap, index, learners: &[ReplicaId]| {
            let configuration = Configuration {
                voters: map.shards[&shard].genesis.voters.keys().copied().collect(),
                learners: learners.iter().copied().collect(),
                ..Configuration::default()
            };
            let report = Report { index: Index(index), configuration, settled: true };
            map.apply(Change::Report { shard, report }).expect("a report")
        };
        let undone = replaced.apply(Change::CancelMove { id: MoveId(1) }).expect("it is undone");
        let learns = report(&undone, 1, &[moving.arriving]);
        let undone = report(&learns, 2, &[]);
        assert!(undone.has_ended(shard, moving.arriving));
        let told = told_of_map(&undone, Some(&learns), node, [], [(shard, spent)]);
        let retired = told.iter().filter_map(|(_, input)| match input {
            Input::Retire { replica, .. } => Some(*replica),
            _ => None,
        });
        assert_eq!(retired.collect::<Vec<_>>(), [moving.arriving]);
    }
}
