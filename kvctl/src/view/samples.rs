//! A small fleet for tests: three nodes, the meta shard led by node 1 in term 2, shard 1 led by node 2 in term 4, whose
//! replica on node 3 is seven entries behind.

use std::collections::BTreeMap;

use flotilla_proto::v1 as wire;
use flotilla_topology::NodeId;

/// The map: shard `s` has the replicas `s * 10 + node`.
pub fn map() -> wire::ClusterMap {
    let node = |id: u64| wire::Node {
        node: id,
        client_addr: format!("127.0.0.1:750{id}"),
        peer_addr: format!("127.0.0.1:760{id}"),
        http_addr: format!("127.0.0.1:770{id}"),
        leaving: 0,
    };
    let shard = |id: u64, slots: Vec<wire::SlotRange>| wire::Shard {
        shard: id,
        replicas: (1..=3)
            .map(|node| wire::Replica { replica: id * 10 + node, node, membership: 0 })
            .collect(),
        slots,
    };
    wire::ClusterMap {
        cluster: Some(wire::Id128 { high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210 }),
        epoch: 5,
        nodes: (1..=3).map(node).collect(),
        shards: vec![shard(0, vec![]), shard(1, vec![wire::SlotRange { first: 0, last: 16383 }])],
    }
}

/// What every node says, all up.
pub fn three_nodes() -> BTreeMap<NodeId, Result<wire::StatusResponse, String>> {
    (1..=3).map(|node| (NodeId(node), Ok(answer(node, |_| ())))).collect()
}

/// What one node says, with a change to each of its replicas.
pub fn answer(node: u64, change: impl Fn(&mut wire::ReplicaStatus)) -> wire::StatusResponse {
    let mut replicas = vec![replica(node, 0, 1, 2), replica(node, 1, 2, 4)];
    replicas.iter_mut().for_each(change);
    wire::StatusResponse {
        node,
        version: "0.1.0".to_string(),
        commit: "abc".to_string(),
        pid: 4000 + node as u32,
        uptime_ms: 65_000,
        map_epoch: 5,
        replicas,
        peers: (1..=3)
            .filter(|peer| *peer != node)
            .map(|node| wire::PeerStatus { node, connected: true })
            .collect(),
        room: Some(wire::DiskRoom { free_bytes: 30 << 30, total_bytes: 40 << 30, reserve_bytes: 2 << 30 }),
        ..wire::StatusResponse::default()
    }
}

fn replica(node: u64, shard: u64, leader_node: u64, term: u64) -> wire::ReplicaStatus {
    let leads = node == leader_node;
    let applied = if node == 3 && shard == 1 { 93 } else { 100 };
    let follower = |at: u64| wire::FollowerStatus {
        replica: shard * 10 + at,
        node: at,
        lag: if at == 3 && shard == 1 { 7 } else { 0 },
        active: true,
        ..wire::FollowerStatus::default()
    };
    wire::ReplicaStatus {
        shard,
        replica: shard * 10 + node,
        role: if leads { wire::Role::Leader } else { wire::Role::Follower }.into(),
        term,
        leader: shard * 10 + leader_node,
        leader_node,
        commit_index: applied,
        applied_index: applied,
        durable_index: 90,
        last_index: applied,
        keys: if shard == 1 { 1234 } else { 1 },
        bytes: if shard == 1 { 5 << 20 } else { 700 },
        digest: Some(wire::Id128 { high: 0xABCD, low: shard }),
        digest_index: 90,
        followers: if leads { (1..=3).filter(|at| *at != node).map(follower).collect() } else { Vec::new() },
        ..wire::ReplicaStatus::default()
    }
}
