//! For the tests of judges: the first map of a fleet, and what a replica shows that has nothing yet.

use flotilla_node::host::ReplicaStatus;
use flotilla_raft::{Configuration, Index, LogId, ReplicaId, RoleKind, Term};
use flotilla_topology::{ClusterMap, NodeId, NodeInfo, ShardId, plan_initial};

/// The shard of all of them.
pub(super) const SHARD: ShardId = ShardId(1);

/// These replicas.
pub(super) fn set(ids: &[u64]) -> std::collections::BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

/// The map with which so many nodes found so many shards of three replicas.
pub(super) fn first_map(nodes: u64, shards: u64) -> ClusterMap {
    let at = |node: u64| format!("n{node}.sim:1");
    let info = |node| NodeInfo { client_addr: at(node), peer_addr: at(node), http_addr: String::new() };
    let nodes = (1..=nodes).map(|node| (NodeId(node), info(node))).collect();
    plan_initial(1, nodes, shards, 3).expect("this shape can be")
}

/// A follower, in a configuration of two halves.
pub(super) fn status(replica: u64, term: Term, voters: &[u64], outgoing: &[u64]) -> ReplicaStatus {
    ReplicaStatus {
        shard: SHARD,
        replica: ReplicaId(replica),
        role: RoleKind::Follower,
        term,
        vote: None,
        lease: None,
        leader: None,
        leader_node: None,
        commit: Index(0),
        applied: LogId::default(),
        durable: LogId::default(),
        last: Index(0),
        persisted: Index(0),
        compacted: Index(0),
        version: 0,
        time_ms: 0,
        slots: 0,
        overlay_bytes: 0,
        configuration: Configuration { voters: set(voters), outgoing: set(outgoing), learners: set(&[]) },
        configuration_index: Index(0),
        settled: true,
        followers: Vec::new(),
        watched: Vec::new(),
    }
}
