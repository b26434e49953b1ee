//! What a node answers to the controller of moves, at its peer address.

use std::collections::BTreeSet;
use std::sync::Arc;

use flotilla_proto::v1;
use flotilla_raft::{Change, Index};
use flotilla_store::Stats;
use flotilla_topology::{NodeId, ShardId};
use tonic::Status;

use super::wire::decode_change;
use crate::api::{encode_quarantine, encode_replica, refusals, resting};
use crate::host::{Answer, ReplicaStatus};
use crate::runtime::{Input, Runtime};
use crate::storage::ClusterId;
use crate::transport::Transport;

/// Answers for one node.
#[derive(Clone, Debug)]
pub struct Office {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its workers.
    pub runtime: Arc<Runtime>,
    /// Its line to its peers.
    pub transport: Transport,
}

impl Office {
    /// What this node sees of its replicas of some shards.
    ///
    /// # Errors
    /// It is not the node that was meant, or it ends.
    pub async fn inspect(&self, request: v1::InspectRequest) -> Result<v1::InspectReply, Status> {
        self.check(request.cluster, request.to_node)?;
        let shards = request.shards.into_iter().map(ShardId).collect();
        self.look(&shards).await
    }

    /// The same for this node itself.
    pub(super) async fn look(&self, shards: &BTreeSet<ShardId>) -> Result<v1::InspectReply, Status> {
        // In this order: a replacement that is born in between is seen twice, and not overlooked.
        let quarantined = encode_quarantine(&self.runtime);
        let replicas = self.runtime.replicas().await.map_err(|_| refusals::ending(None))?;
        let replicas: Vec<_> = replicas.into_iter().filter(|it| shards.contains(&it.shard)).collect();
        let (stats, room) = resting(&self.runtime, replicas.iter().map(|it| it.shard).collect()).await?;
        let encoded = replicas.iter().zip(stats);
        let encode = |(it, stats): (&ReplicaStatus, Option<Stats>)| {
            encode_replica(it, stats.as_ref(), |to| self.transport.snapshot_bytes_sent(it.shard, to))
        };
        Ok(v1::InspectReply { replicas: encoded.map(encode).collect(), quarantined, room })
    }

    /// Other members for a shard that this node leads.
    ///
    /// # Errors
    /// It does not lead it, or the change is refused; then it surely never takes effect.
    pub async fn change_members(
        &self,
        request: v1::ChangeMembersRequest,
    ) -> Result<v1::ChangeMembersReply, Status> {
        self.check(request.cluster, request.to_node)?;
        let Some(change) = request.change else {
            return Err(flotilla_proto::status::invalid("change", "there is none that this version knows"));
        };
        let (shard, derived_from) = (ShardId(request.shard), Index(request.derived_from));
        self.change(shard, decode_change(change), derived_from).await
    }

    /// The same for this node itself.
    pub(super) async fn change(
        &self,
        shard: ShardId,
        change: Change,
        derived_from: Index,
    ) -> Result<v1::ChangeMembersReply, Status> {
        let question = |token| Input::Change { shard, token, change, derived_from };
        match self.runtime.order(shard, question).await.map_err(|_| refusals::ended(shard))? {
            Answer::Changing(entry) => Ok(v1::ChangeMembersReply {
                proposed: Some(v1::LogId { index: entry.index.0, term: entry.term.0 }),
            }),
            Answer::Refused(refusal) => Err(refusals::refused(shard, &refusal)),
            other => unreachable!("a change of members was answered by {other:?}"),
        }
    }

    /// This node shall lead a shard no more.
    ///
    /// # Errors
    /// It does not lead it, or nobody else could.
    pub async fn hand_over(&self, request: v1::HandOverRequest) -> Result<v1::HandOverReply, Status> {
        self.check(request.cluster, request.to_node)?;
        let to = (request.successor_node != 0).then_some(NodeId(request.successor_node));
        self.give_up(ShardId(request.shard), to).await
    }

    /// The same for this node itself.
    pub(super) async fn give_up(
        &self,
        shard: ShardId,
        to: Option<NodeId>,
    ) -> Result<v1::HandOverReply, Status> {
        let question = |token| Input::Transfer { shard, token, to };
        match self.runtime.order(shard, question).await.map_err(|_| refusals::ended(shard))? {
            Answer::Transfer => Ok(v1::HandOverReply {}),
            Answer::Refused(refusal) => Err(refusals::refused(shard, &refusal)),
            other => unreachable!("a transfer was answered by {other:?}"),
        }
    }

    /// A change that was meant for another node, or another fleet's, must not be carried out here: addresses are used again.
    fn check(&self, cluster: Option<v1::Id128>, to: u64) -> Result<(), Status> {
        let theirs = cluster.map(|cluster| ClusterId(cluster.into()));
        if theirs != Some(self.cluster) {
            return Err(refusals::precondition(None, "it is of another cluster"));
        }
        if to != self.node.0 {
            let text = format!("wanted node {to}, but this is node {}", self.node.0);
            return Err(refusals::precondition(None, text));
        }
        Ok(())
    }
}
