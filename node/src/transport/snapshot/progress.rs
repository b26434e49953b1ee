//! How much of each snapshot that is being sent has left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flotilla_raft::ReplicaId;
use flotilla_topology::ShardId;

/// Streams count, whoever wants to know reads.
#[derive(Debug, Default)]
pub(in crate::transport) struct SnapshotProgress(Mutex<BTreeMap<(ShardId, ReplicaId), u64>>);

/// One stream: it is counted as long as this lives.
#[derive(Debug)]
pub(super) struct Counted {
    progress: Arc<SnapshotProgress>,
    stream: (ShardId, ReplicaId),
}

impl SnapshotProgress {
    /// How much was sent to a replica, in bytes; 0: nothing, or there is no stream to it.
    pub(in crate::transport) fn sent(&self, shard: ShardId, to: ReplicaId) -> u64 {
        self.lock().get(&(shard, to)).copied().unwrap_or_default()
    }

    /// A stream begins. A leader has at most one to each replica.
    pub(super) fn begin(self: &Arc<Self>, shard: ShardId, to: ReplicaId) -> Counted {
        self.lock().insert((shard, to), 0);
        Counted { progress: Arc::clone(self), stream: (shard, to) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(ShardId, ReplicaId), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// So many bytes more have left.
    pub(super) fn add(&self, bytes: usize) {
        *self.progress.lock().entry(self.stream).or_default() += bytes as u64;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.progress.lock().remove(&self.stream);
    }
}
