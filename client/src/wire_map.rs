//! The cluster map as it comes over the wire.
//!
//! The wire says what clients need: who is where. It does not say what only changes of the map need (removed nodes, the
//! greatest ids, weights on the ring, how a shard began, what its log reported, who joined, what moves), so a map from here is good for routing and showing, and must never be changed and written back.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_proto::v1;
use flotilla_raft::{Index, ReplicaId};
use flotilla_topology::{
    ClusterMap, Epoch, Fault, Membership, MoveId, NodeId, NodeInfo, Placement, ShardGenesis, ShardId,
    ShardInfo, Slot, SlotMap, SlotSet,
};

/// Why a map cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// A slot has two owners, or none, or there is no such slot.
    #[error("the cluster map does not give each slot one owner")]
    Slots,
    /// It is not sound.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Reads a map.
///
/// # Errors
///
/// The map is not sound: whoever sent it is not to be believed.
pub fn decode(map: v1::ClusterMap) -> Result<ClusterMap, MapError> {
    let slots = slots(&map.shards)?;
    let shards: BTreeMap<ShardId, ShardInfo> =
        map.shards.into_iter().map(|shard| (ShardId(shard.shard), info(&shard.replicas))).collect();
    let decoded = ClusterMap {
        cluster: map.cluster.map(u128::from).unwrap_or_default(),
        epoch: Epoch(map.epoch),
        nodes: map.nodes.into_iter().map(node).collect(),
        joined: BTreeMap::new(),
        leaving: BTreeMap::new(),
        removed_nodes: BTreeSet::new(),
        greatest_shard: shards.keys().next_back().copied().unwrap_or_default(),
        shards,
        slots,
        // Of no use to a client.
        moves: BTreeMap::new(),
        greatest_move: MoveId::default(),
    };
    decoded.validate()?;
    Ok(decoded)
}

fn node(node: v1::Node) -> (NodeId, NodeInfo) {
    let v1::Node { node, client_addr, peer_addr, http_addr, leaving: _ } = node;
    (NodeId(node), NodeInfo { client_addr, peer_addr, http_addr })
}

fn info(replicas: &[v1::Replica]) -> ShardInfo {
    let place = |replica: &v1::Replica| {
        let membership = match replica.membership() {
            v1::Membership::Voter => Membership::Voter,
            v1::Membership::Learner => Membership::Learner,
            v1::Membership::Expected => Membership::Expected,
        };
        (ReplicaId(replica.replica), Placement { node: NodeId(replica.node), membership })
    };
    let replicas: BTreeMap<ReplicaId, Placement> = replicas.iter().map(place).collect();
    let greatest_replica = replicas.keys().next_back().copied().unwrap_or_default();
    // How the shard began is of no use to a client; that it began with a voter must hold of every map.
    let voters = replicas.iter().map(|(replica, placement)| (*replica, placement.node)).collect();
    let genesis = ShardGenesis { epoch: Epoch::default(), slots: SlotSet::new(), voters };
    ShardInfo { replicas, greatest_replica, virtual_nodes: 0, genesis, reported: Index::default() }
}

fn slots(shards: &[v1::Shard]) -> Result<SlotMap, MapError> {
    let mut owners: BTreeMap<Slot, ShardId> = BTreeMap::new();
    for shard in shards {
        for range in &shard.slots {
            for number in range.first..=range.last {
                let slot = slot(number).ok_or(MapError::Slots)?;
                if owners.insert(slot, ShardId(shard.shard)).is_some() {
                    return Err(MapError::Slots);
                }
            }
        }
    }
    if Slot::all().any(|slot| !owners.contains_key(&slot)) {
        return Err(MapError::Slots);
    }
    Ok(SlotMap::from_owners(|slot| owners.get(&slot).copied().unwrap_or_default()))
}

/// The slot with this number, if there is one.
pub(crate) fn slot(number: u32) -> Option<Slot> {
    u16::try_from(number).ok().and_then(Slot::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::ClusterMap {
        let replica = |node| v1::Replica { replica: node, node, membership: v1::Membership::Voter.into() };
        let shard = |shard, slots| v1::Shard { shard, replicas: vec![replica(1), replica(2)], slots };
        let node = |node| v1::Node {
            node,
            client_addr: format!("127.0.0.1:{}", 7500 + node),
            peer_addr: "p:1".into(),
            http_addr: "h:1".into(),
            leaving: 0,
        };
        let slots = |first, last| vec![v1::SlotRange { first, last }];
        v1::ClusterMap {
            cluster: Some(7.into()),
            epoch: 3,
            nodes: vec![node(1), node(2)],
            shards: vec![shard(0, vec![]), shard(1, slots(0, 8000)), shard(2, slots(8001, 16383))],
        }
    }

    #[test]
    fn a_sound_map_says_who_is_where() {
        let map = decode(wire()).unwrap();
        assert_eq!((map.cluster, map.epoch), (7, Epoch(3)));
        assert_eq!(map.shard_of(Slot::new(8001).unwrap()), ShardId(2));
        assert_eq!(map.preference(ShardId(2)).collect::<Vec<_>>(), [NodeId(1), NodeId(2)]);
        assert_eq!(map.nodes[&NodeId(2)].client_addr, "127.0.0.1:7502");
    }

    #[test]
    fn an_unsound_map_is_refused() {
        let broken = |breaking: &dyn Fn(&mut v1::ClusterMap)| {
            let mut map = wire();
            breaking(&mut map);
            decode(map).unwrap_err()
        };
        assert_eq!(
            broken(&|map| map.shards[1].slots[0].last = 7999),
            MapError::Slots,
            "a slot without owner"
        );
        assert_eq!(broken(&|map| map.shards[1].slots[0].last = 8001), MapError::Slots, "a slot with two");
        assert_eq!(broken(&|map| map.shards[2].slots[0].last = u32::MAX), MapError::Slots, "no such slot");
        assert!(matches!(broken(&|map| drop(map.nodes.pop())), MapError::Fault(Fault::StrayReplica { .. })));
    }
}
