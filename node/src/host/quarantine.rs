//! Shards of which the log lost something that had been durable: out of service on this node.
//!
//! ```text
//!   found at start ─▶ out of service: no replica here, nothing is answered       the log says so, durably
//!        ├─ the map places a younger replica here ─▶ the base drops what is left ─▶ it is born, with nothing
//!        └─ the map places none here any more     ─▶ tombstone ─▶ the base drops what is left
//! ```
//!
//! Why nothing at all: whoever is out may have forgotten whom it voted for and what it acknowledged. Were it to vote, two leaders
//! of one term could be elected; were it to take an append, an entry could count as committed that a quorum does not hold. It
//! goes on counting in the size of its quorum, as a dead one does. Not even a stale read is answered: nobody knows how far behind
//! it is, and nobody will tell it.
//!
//! And what it promised? It acknowledges no leader under the number of this life, so no lease counts on it; and it votes for
//! nobody, which keeps every promise that it may have forgotten. (`docs/architecture/liveness.md`.)
//!
//! What is left in the base stays until a replacement is certain: only where a majority of the others lives can the shard get
//! one. Should there be none, it is the last that is left.
//!
//! The trace of a replacement that is called off: r3 is out of service, r4 is born in its place, the move is undone before r4 votes, and
//! r4 ends. The log remembers now that all ids up to r4 are spent, and r3 is a voter still, of which nothing is left here. So a node
//! also goes by the map: who is placed here under an id that is spent, and does not live, is out of service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flotilla_raft::ReplicaId;
use flotilla_topology::ShardId;
use flotilla_wal::{Quarantined, RotAt};

/// Who is out of service on a node, and why. All workers of a node, and whoever tells of it, hold clones of one table.
#[derive(Clone, Debug, Default)]
pub struct Quarantine(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    out: BTreeMap<ShardId, Quarantined>,
    /// Where the log was damaged, also of those that were replaced.
    places: BTreeMap<ShardId, RotAt>,
}

impl Quarantine {
    /// As the log has it at start.
    #[must_use]
    pub fn new(found: BTreeMap<ShardId, Quarantined>) -> Self {
        let places = found.iter().map(|(shard, out)| (*shard, out.at)).collect();
        Self(Arc::new(Mutex::new(Table { out: found, places })))
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<ShardId, Quarantined> {
        self.lock().out.clone()
    }

    /// Why a shard is out of service; nothing: it is not.
    #[must_use]
    pub fn of(&self, shard: ShardId) -> Option<Quarantined> {
        self.lock().out.get(&shard).copied()
    }

    /// The map places a replica here whose id is spent, all up to this one are, and none lives. If it is not known where the log was
    /// damaged, segment 0 is given, which there never is.
    pub(super) fn lost(&self, shard: ShardId, replica: ReplicaId) {
        let mut table = self.lock();
        let at = table.places.get(&shard).copied().unwrap_or_default();
        table.out.entry(shard).or_insert(Quarantined { replica, at });
    }

    /// It was replaced, or removed.
    pub(super) fn end(&self, shard: ShardId) {
        self.lock().out.remove(&shard);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
