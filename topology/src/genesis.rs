//! The first cluster map of a new fleet.
//!
//! Shard 0 lives on the nodes of the lowest ids. The data shards 1, 2, … are dealt round: each node is meant to lead every
//! n-th shard, and the followers of each further round stand one node further on, so that the shards of a lost node do not
//! all fall to the same neighbour.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_raft::{Index, ReplicaId};

use crate::{
    ClusterMap, Epoch, Fault, Membership, MoveId, NodeId, NodeInfo, Placement, SLOTS, ShardGenesis, ShardId,
    ShardInfo, SlotSet, ring,
};

/// The epoch of the first map.
const FIRST_EPOCH: Epoch = Epoch(1);

/// Why a fleet cannot start like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More replicas than nodes to put them on, or none.
    #[error("{replicas} replicas of each shard cannot be placed on {nodes} nodes")]
    Replicas {
        /// As asked for.
        replicas: usize,
        /// How many there are.
        nodes: usize,
    },
    /// No data shard, or more than there are slots.
    #[error("a fleet has 1 to {SLOTS} shards, not {shards}")]
    Shards {
        /// As asked for.
        shards: u64,
    },
    /// The map would not be sound.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The genesis map: `shards` data shards of `replicas` replicas each, and the meta shard. Equal arguments give equal maps.
/// Replica 1 of each shard is on the node that is meant to lead it ([`ClusterMap::preference`]).
///
/// # Errors
///
/// The numbers do not fit together, or an address is not of the form `host:port`.
pub fn plan_initial(
    cluster: u128,
    nodes: BTreeMap<NodeId, NodeInfo>,
    shards: u64,
    replicas: usize,
) -> Result<ClusterMap, PlanError> {
    if replicas == 0 || replicas > nodes.len() {
        return Err(PlanError::Replicas { replicas, nodes: nodes.len() });
    }
    if shards == 0 || shards > u64::from(SLOTS) {
        return Err(PlanError::Shards { shards });
    }
    let ids: Vec<NodeId> = nodes.keys().copied().collect();
    let meta = shard(&ids[..replicas], 0);
    let data = (1..=shards).map(|id| (ShardId(id), shard(&homes(&ids, id, replicas), ring::VIRTUAL_NODES)));
    let mut shards_of_map: BTreeMap<ShardId, ShardInfo> =
        [(ShardId::META, meta)].into_iter().chain(data).collect();
    let plan = ring::plan(shards_of_map.iter().map(|(id, info)| (*id, info.virtual_nodes)));
    let Some(slots) = plan else { return Err(PlanError::Shards { shards }) };
    for (id, info) in &mut shards_of_map {
        info.genesis.slots = slots.slots_of(*id);
    }
    let map = ClusterMap {
        cluster,
        epoch: FIRST_EPOCH,
        nodes,
        joined: BTreeMap::new(),
        leaving: BTreeMap::new(),
        removed_nodes: BTreeSet::new(),
        shards: shards_of_map,
        greatest_shard: ShardId(shards),
        slots,
        moves: BTreeMap::new(),
        greatest_move: MoveId::default(),
    };
    map.validate()?;
    Ok(map)
}

/// The nodes of data shard `id` (counted from 1), the leader to be first.
fn homes(nodes: &[NodeId], id: u64, replicas: usize) -> Vec<NodeId> {
    let count = nodes.len() as u64;
    let (round, leader) = ((id - 1) / count, (id - 1) % count);
    let others = count - 1;
    let follower = |rank: u64| (leader + 1 + (round + rank) % others) % count;
    let places = [leader].into_iter().chain((0..others).map(follower)).take(replicas);
    places.map(|place| nodes[place as usize]).collect()
}

fn shard(homes: &[NodeId], virtual_nodes: u32) -> ShardInfo {
    let place = |(position, node): (usize, &NodeId)| {
        (ReplicaId(position as u64 + 1), Placement { node: *node, membership: Membership::Voter })
    };
    let replicas: BTreeMap<ReplicaId, Placement> = homes.iter().enumerate().map(place).collect();
    let voters = replicas.iter().map(|(replica, placement)| (*replica, placement.node)).collect();
    ShardInfo {
        greatest_replica: ReplicaId(homes.len() as u64),
        genesis: ShardGenesis { epoch: FIRST_EPOCH, slots: SlotSet::new(), voters },
        replicas,
        virtual_nodes,
        reported: Index::default(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Nodes 1 to `count` on loopback.
    fn nodes(count: u64) -> BTreeMap<NodeId, NodeInfo> {
        let node = |id| NodeInfo {
            client_addr: format!("127.0.0.1:{}", 7500 + id),
            peer_addr: format!("127.0.0.1:{}", 7600 + id),
            http_addr: format!("127.0.0.1:{}", 7700 + id),
        };
        (1..=count).map(|id| (NodeId(id), node(id))).collect()
    }

    /// A sound map for tests.
    pub(crate) fn fleet(node_count: u64, shards: u64, replicas: usize) -> ClusterMap {
        plan_initial(0xF1EE7, nodes(node_count), shards, replicas).unwrap()
    }

    #[test]
    fn leaders_and_replicas_are_spread_evenly() {
        for node_count in 1..=7_u64 {
            for replicas in 1..=node_count.min(5) as usize {
                for shards in [1, 2, 8, 13, 64] {
                    let map = fleet(node_count, shards, replicas);
                    let leads = |node| {
                        (1..=shards).filter(|s| map.preference(ShardId(*s)).next() == Some(node)).count()
                    };
                    let hosts =
                        |node| map.replicas_on(node).filter(|(shard, _)| *shard != ShardId::META).count();
                    let spread = |count: &dyn Fn(NodeId) -> usize| {
                        let counts: Vec<usize> = map.nodes.keys().map(|node| count(*node)).collect();
                        counts.iter().max().unwrap() - counts.iter().min().unwrap()
                    };
                    assert!(spread(&leads) <= 1, "{node_count} nodes, {shards} shards: leaders");
                    assert!(spread(&hosts) <= replicas, "{node_count} nodes, {shards} shards: replicas");
                }
            }
        }
    }

    #[test]
    fn the_shards_of_a_lost_node_fall_to_all_others() {
        let map = fleet(4, 12, 3);
        let led_by_one = (1..=12).filter(|s| map.preference(ShardId(*s)).next() == Some(NodeId(1)));
        let heirs: BTreeSet<NodeId> = led_by_one.filter_map(|s| map.preference(ShardId(s)).nth(1)).collect();
        assert_eq!(heirs, BTreeSet::from([NodeId(2), NodeId(3), NodeId(4)]));
    }

    #[test]
    fn the_meta_shard_lives_on_the_lowest_ids() {
        let map = fleet(5, 8, 3);
        assert_eq!(map.preference(ShardId::META).collect::<Vec<_>>(), [NodeId(1), NodeId(2), NodeId(3)]);
        assert_eq!(map.epoch, Epoch(1));
        assert_eq!(map.greatest_shard, ShardId(8));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let plan =
            |node_count, shards, replicas| plan_initial(1, nodes(node_count), shards, replicas).unwrap_err();
        assert_eq!(plan(2, 1, 3), PlanError::Replicas { replicas: 3, nodes: 2 });
        assert_eq!(plan(2, 1, 0), PlanError::Replicas { replicas: 0, nodes: 2 });
        assert_eq!(plan(3, 0, 3), PlanError::Shards { shards: 0 });
        assert_eq!(plan(3, 16385, 3), PlanError::Shards { shards: 16385 });
        let mut bad = nodes(1);
        bad.get_mut(&NodeId(1)).unwrap().peer_addr = "nowhere".into();
        assert!(matches!(plan_initial(1, bad, 1, 1), Err(PlanError::Fault(Fault::Address { .. }))));
    }

    #[test]
    fn a_fleet_of_one_node_is_a_fleet() {
        let map = fleet(1, 3, 1);
        assert_eq!(map.replicas_on(NodeId(1)).count(), 4);
    }
}
