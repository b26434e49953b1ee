//! The cluster map as it stands in the meta shard: read and replaced through the own replica, if that leads.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_proto::status;
use flotilla_raft::Term;
use flotilla_store::{Action, Operation, Outcome, Record};
use flotilla_topology::{Change, ClusterMap, NodeId, Refusal, ShardId};
use tonic::Status;

use super::{Input, Runtime};
use crate::host::{Answer, Consistency, Refusal as Refused};

/// Where the map stands in the meta shard. Under the prefix that the meta shard owns.
pub const MAP_KEY: &[u8] = b"\0flotilla/map";

/// How often a compare-and-swap that met another change is tried.
const SWAPS_MAX: u32 = 8;

/// The map's place in the meta shard, reached through the replica of this node.
#[derive(Clone, Debug)]
pub struct MapRecord {
    runtime: Arc<Runtime>,
}

/// A map as it stands in the meta shard.
#[derive(Debug)]
pub struct StoredMap {
    /// The map.
    pub map: ClusterMap,
    /// The version of its record.
    pub version: u64,
}

/// Why the map was not read, or was not changed.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// The change makes no sense on the map.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// The map.
        map: Box<ClusterMap>,
    },
    /// This node does not lead the meta shard.
    #[error("this node does not lead the meta shard")]
    NotLeader {
        /// The term of its replica.
        term: Term,
        /// Who leads, if that is known.
        leader: Option<NodeId>,
    },
    /// It was not possible; the status says whether it surely was not done.
    #[error("{}", .0.message())]
    Failed(Status),
}

/// The write that replaces the map, if its record still has this version; 0: if there is none.
#[must_use]
pub const fn swap_of(expected: u64, value: Bytes) -> Operation {
    let key = Bytes::from_static(MAP_KEY);
    Operation { request: None, action: Action::CompareAndSwap { key, expected, value, ttl_ms: None } }
}

impl NotChanged {
    /// As gRPC says it.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Refused { refusal, .. } => crate::api::refusals::map(refusal),
            Self::NotLeader { .. } => status::unavailable(Some(ShardId::META.0), 0, self.to_string()),
            Self::Failed(status) => status,
        }
    }
}

impl MapRecord {
    /// Through the workers of this node.
    #[must_use]
    pub const fn new(runtime: Arc<Runtime>) -> Self {
        Self { runtime }
    }

    /// The map as the meta shard has it now.
    ///
    /// # Errors
    /// Another node leads the meta shard, or it cannot be read.
    pub async fn stored(&self) -> Result<StoredMap, NotChanged> {
        let failed = |text: String| NotChanged::Failed(status::unavailable(Some(ShardId::META.0), 0, text));
        match self.read(Consistency::Linearizable).await {
            Ok(Some(record)) => {
                let map = ClusterMap::decode(&record.value).map_err(|error| {
                    NotChanged::Failed(Status::data_loss(format!("the map in the meta shard: {error}")))
                })?;
                Ok(StoredMap { map, version: record.version })
            }
            Ok(None) => Err(failed("the fleet has not been founded yet".to_string())),
            Err(Some(Refused::NotLeader { term, leader, .. })) => Err(NotChanged::NotLeader { term, leader }),
            Err(Some(refusal)) => Err(failed(refusal.to_string())),
            Err(None) => Err(failed("this node is ending".to_string())),
        }
    }

    /// Changes the map: again from the map that won, when another change was faster.
    ///
    /// # Errors
    /// The map refuses the change, another node leads the meta shard, or it cannot be written.
    pub async fn change(&self, change: &Change) -> Result<ClusterMap, NotChanged> {
        for _ in 0..SWAPS_MAX {
            let StoredMap { map, version } = self.stored().await?;
            let next = match map.apply(change.clone()) {
                Ok(next) => next,
                Err(refusal) => return Err(NotChanged::Refused { refusal, map: Box::new(map) }),
            };
            if self.swap(version, next.encode().into()).await.map_err(NotChanged::Failed)? {
                return Ok(next);
            }
        }
        Err(NotChanged::Failed(status::unavailable(Some(ShardId::META.0), 0, "the map keeps changing")))
    }

    /// Makes all of these changes to the map that was read, or none of them: if the map is another by now, or refuses one. Whether it did.
    ///
    /// # Errors
    /// It cannot be written; the status says whether it surely was not.
    pub async fn replace(&self, stored: &StoredMap, changes: &[Change]) -> Result<bool, Status> {
        let changed = changes.iter().try_fold(stored.map.clone(), |map, change| map.apply(change.clone()));
        match changed {
            Ok(next) => self.swap(stored.version, next.encode().into()).await,
            Err(_) => Ok(false),
        }
    }

    /// The map's record. The error is a refusal; `None`: the node ends.
    pub(super) async fn read(&self, consistency: Consistency) -> Result<Option<Record>, Option<Refused>> {
        let shard = ShardId::META;
        let key = Bytes::from_static(MAP_KEY);
        let answer = self.runtime.order(shard, |token| Input::Get { shard, token, key, consistency }).await;
        match answer {
            Ok(Answer::Got(_, record)) => Ok(record),
            Ok(Answer::Refused(refusal)) => Err(Some(refusal)),
            Ok(other) => unreachable!("a read of the map was answered by {other:?}"),
            Err(_) => Err(None),
        }
    }

    /// Replaces the map if it still has this version. Whether it had.
    pub(super) async fn swap(&self, expected: u64, value: Bytes) -> Result<bool, Status> {
        let shard = ShardId::META;
        let operation = swap_of(expected, value);
        match self.runtime.order(shard, |token| Input::Write { shard, token, operation }).await {
            Ok(Answer::Written(_, Outcome::Swapped { .. })) => Ok(true),
            Ok(Answer::Written(_, Outcome::Conflict { .. })) => Ok(false),
            Ok(Answer::Refused(refusal)) if refusal.definite() => {
                Err(status::unavailable(Some(shard.0), 0, refusal.to_string()))
            }
            Ok(Answer::Refused(refusal)) => Err(status::unknown(Some(shard.0), refusal.to_string())),
            Ok(other) => unreachable!("a swap of the map was answered by {other:?}"),
            Err(ended) => Err(status::unknown(Some(shard.0), ended.to_string())),
        }
    }
}
