//! Who leads the shards that have a replica here, as their workers said last.
//!
//! A request that is for another node need not wake a worker here only to be told so. This is a hint and nothing more: whoever is
//! asked checks that it leads, so a request that follows an old one costs a detour and is not executed twice.
//!
//! What it does not do: it knows nothing of shards without a replica here.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use flotilla_raft::Term;
use flotilla_topology::{NodeId, ShardId};

/// Workers tell, requests ask.
#[derive(Debug, Default)]
pub struct Leaders(RwLock<BTreeMap<ShardId, (Term, Option<NodeId>)>>);

impl Leaders {
    /// The term and the leader of a shard; nothing, if it has no replica here.
    #[must_use]
    pub fn of(&self, shard: ShardId) -> Option<(Term, Option<NodeId>)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&shard).copied()
    }

    /// A worker tells what has changed.
    pub fn learn(&self, news: Vec<(ShardId, Term, Option<NodeId>)>) {
        if news.is_empty() {
            return;
        }
        let mut leaders = self.0.write().unwrap_or_else(PoisonError::into_inner);
        leaders.extend(news.into_iter().map(|(shard, term, leader)| (shard, (term, leader))));
    }
}
