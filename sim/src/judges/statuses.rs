//! For the tests of judges: what a replica shows that has nothing yet.

use flotilla_node::host::ReplicaStatus;
use flotilla_raft::{Configuration, Index, LogId, ReplicaId, RoleKind, Term};
use flotilla_topology::ShardId;

/// The shard of all of them.
pub(super) const SHARD: ShardId = ShardId(1);

/// These replicas.
pub(super) fn set(ids: &[u64]) -> std::collections::BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
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
