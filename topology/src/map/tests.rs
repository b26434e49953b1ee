//! A planned map answers who is where, and every fault of a map is found.

use super::*;
use crate::Change;
use crate::genesis::tests::fleet;

#[test]
fn a_planned_map_answers_who_is_where() {
    let map = fleet(3, 8, 3);
    assert_eq!(map.validate(), Ok(()));
    let slot = Slot::of(b"foo");
    let shard = map.shard_of(slot);
    assert!(map.slots_of(shard).contains(slot));
    assert!(map.slots_of(ShardId::META).is_empty());

    let replica = map.replica_on(shard, NodeId(2)).unwrap();
    assert_eq!(map.node_of(shard, replica), Some(NodeId(2)));
    assert_eq!(map.replica_on(shard, NodeId(9)), None);
    assert_eq!(map.replica_on(ShardId(99), NodeId(1)), None);
    assert_eq!(
        map.replicas_on(NodeId(1)).count(),
        9,
        "with three replicas on three nodes, all shards are everywhere"
    );
    assert_eq!(map.shards[&shard].configuration().voters.len(), 3);
}

#[test]
fn a_learner_neither_counts_nor_is_preferred() {
    let mut map = fleet(3, 1, 3);
    let info = map.shards.get_mut(&ShardId(1)).unwrap();
    info.replicas.get_mut(&ReplicaId(1)).unwrap().membership = Membership::Learner;
    let preference: Vec<_> = map.preference(ShardId(1)).collect();
    assert_eq!(preference, [NodeId(2), NodeId(3)]);
    let configuration = map.shards[&ShardId(1)].configuration();
    assert_eq!(configuration.to_string(), "voters(2 3) learners(1)");
}

/// Breaks a sound map in one way and says what is found.
fn broken(breaking: impl FnOnce(&mut ClusterMap)) -> Fault {
    let mut map = fleet(3, 2, 2);
    breaking(&mut map);
    map.validate().unwrap_err()
}

fn shard_of(map: &mut ClusterMap, shard: u64) -> &mut ShardInfo {
    map.shards.get_mut(&ShardId(shard)).unwrap()
}

#[test]
fn every_fault_of_the_nodes_is_found() {
    assert_eq!(broken(|map| map.nodes.clear()), Fault::NoNodes);
    assert_eq!(broken(|map| map.removed_nodes.extend([NodeId(2)])), Fault::NodeCameBack { node: NodeId(2) });
    for address in ["host", ":7501", "host:", "host:0", "host:65536", "a b:1", "host:1\n"] {
        let fault = broken(|map| map.nodes.get_mut(&NodeId(3)).unwrap().http_addr = address.into());
        assert_eq!(fault, Fault::Address { node: NodeId(3), address: address.into() });
    }
    let fault = broken(|map| map.nodes.get_mut(&NodeId(3)).unwrap().client_addr.clear());
    assert_eq!(fault, Fault::Address { node: NodeId(3), address: String::new() });
    let mut quiet = fleet(3, 2, 2);
    quiet.nodes.get_mut(&NodeId(3)).unwrap().http_addr.clear();
    assert_eq!(quiet.validate(), Ok(()), "a node need not serve HTTP");
}

#[test]
fn every_fault_of_the_shards_is_found() {
    let one = ShardId(1);
    assert_eq!(broken(|map| drop(map.shards.remove(&ShardId::META))), Fault::NoMetaShard);
    assert_eq!(broken(|map| shard_of(map, 0).virtual_nodes = 1), Fault::NoMetaShard);
    assert_eq!(
        broken(|map| map.greatest_shard = one),
        Fault::ShardBeyond { shard: ShardId(2), greatest: one }
    );
    assert_eq!(
        broken(|map| shard_of(map, 1).greatest_replica = ReplicaId(1)),
        Fault::ReplicaBeyond { shard: one, replica: ReplicaId(2), greatest: ReplicaId(1) }
    );
    assert_eq!(broken(|map| shard_of(map, 1).replicas.clear()), Fault::NoVoters { shard: one });
    assert_eq!(broken(|map| shard_of(map, 1).genesis.voters.clear()), Fault::NoVoters { shard: one });
    assert_eq!(
        broken(|map| shard_of(map, 1).genesis.voters.extend([(ReplicaId(3), NodeId(3))])),
        Fault::ReplicaBeyond { shard: one, replica: ReplicaId(3), greatest: ReplicaId(2) }
    );
    assert_eq!(
        broken(|map| shard_of(map, 1).replicas.get_mut(&ReplicaId(1)).unwrap().node = NodeId(7)),
        Fault::StrayReplica { shard: one, replica: ReplicaId(1), node: NodeId(7) }
    );
    assert_eq!(
        broken(|map| {
            for placement in shard_of(map, 1).replicas.values_mut() {
                placement.node = NodeId(3);
            }
        }),
        Fault::CrowdedNode { shard: one, node: NodeId(3) }
    );
    assert_eq!(broken(|map| map.joined.extend([(NodeId(9), 1)])), Fault::StrayJoiner { node: NodeId(9) });
    let leaver = Leaving::Drained;
    assert_eq!(
        broken(|map| map.leaving.extend([(NodeId(9), leaver)])),
        Fault::StrayLeaver { node: NodeId(9) }
    );
    assert_eq!(broken(|map| drop(map.shards.remove(&ShardId(2)))), Fault::StraySlots { shard: ShardId(2) });
    assert_eq!(
        broken(|map| map.slots = SlotMap::from_owners(|_| ShardId::META)),
        Fault::StraySlots { shard: ShardId::META }
    );
}

#[test]
fn every_fault_of_the_moves_is_found() {
    let one = ShardId(1);
    let sound =
        || fleet(4, 2, 3).apply(Change::StartMove { shard: one, from: NodeId(1), to: NodeId(4) }).unwrap();
    let broken = |breaking: &dyn Fn(&mut Move, &mut ClusterMap)| {
        let mut map = sound();
        let mut it = map.moves[&MoveId(1)];
        breaking(&mut it, &mut map);
        map.moves.insert(MoveId(1), it);
        map.validate().unwrap_err()
    };
    let stray = Fault::StrayMove { id: MoveId(1), shard: one };
    assert_eq!(sound().validate(), Ok(()));
    assert_eq!(broken(&|it, _| it.from = NodeId(2)), stray);
    assert_eq!(broken(&|it, _| it.to = NodeId(2)), stray);
    assert_eq!(broken(&|it, _| it.arriving = ReplicaId(9)), stray);
    assert_eq!(broken(&|it, _| it.leaving = ReplicaId(9)), stray);
    assert_eq!(broken(&|it, _| (it.to, it.arriving) = (it.from, it.leaving)), stray);
    let beyond = Fault::MoveBeyond { id: MoveId(1), greatest: MoveId(0) };
    assert_eq!(broken(&|_, map| map.greatest_move = MoveId(0)), beyond);
    let twice = |it: &mut Move, map: &mut ClusterMap| {
        map.greatest_move = MoveId(2);
        map.moves.insert(MoveId(2), *it);
    };
    assert_eq!(broken(&twice), Fault::CrowdedMove { shard: one });
}
