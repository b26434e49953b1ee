//! Who leads the shards that have a replica here, as their workers said last.
//!
//! A request that is for another node need not wake a worker here only to be told so. This is a hint and nothing more: whoever is
//! asked checks that it leads, so a request that follows an old one costs a detour and is not executed twice.
//!
//! What it does not do: it knows nothing of shards without a replica here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use flotilla_raft::Term;
use flotilla_topology::{NodeId, ShardId};

/// Workers tell, requests ask.
#[derive(Debug, Default)]
pub struct Leaders {
    known: RwLock<BTreeMap<ShardId, (Term, Option<NodeId>)>>,
    /// How often somebody told something.
    news: AtomicU64,
}

/// Why a shard cannot be served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unled {
    /// It has no replica here yet.
    Unborn(ShardId),
    /// Its replica here knows no leader.
    Leaderless(ShardId),
}

impl Leaders {
    /// The term and the leader of a shard; nothing, if it has no replica here.
    #[must_use]
    pub fn of(&self, shard: ShardId) -> Option<(Term, Option<NodeId>)> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&shard).copied()
    }

    /// The first of these shards that has no known leader.
    #[must_use]
    pub fn first_unled(&self, shards: impl IntoIterator<Item = ShardId>) -> Option<Unled> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        shards.into_iter().find_map(|shard| match known.get(&shard) {
            None => Some(Unled::Unborn(shard)),
            Some((_, None)) => Some(Unled::Leaderless(shard)),
            Some((_, Some(_))) => None,
        })
    }

    /// Another number than before says that somebody told something. As long as it is the same, so is all that is known.
    #[must_use]
    pub fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// A worker tells what has changed.
    pub fn learn(&self, news: Vec<(ShardId, Term, Option<NodeId>)>) {
        if news.is_empty() {
            return;
        }
        let mut leaders = self.known.write().unwrap_or_else(PoisonError::into_inner);
        leaders.extend(news.into_iter().map(|(shard, term, leader)| (shard, (term, leader))));
        self.news.fetch_add(1, Ordering::Release);
    }
}
