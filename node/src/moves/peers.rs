//! How the mover asks nodes, itself among them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flotilla_proto::v1;
use flotilla_proto::v1::raft_client::RaftClient;
use flotilla_raft::{Change, Index, ReplicaId};
use flotilla_store::disk::Room;
use flotilla_tls::{Whom, connect_lazy};
use flotilla_topology::{ClusterMap, NodeId, ShardId};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};
use tracing::debug;

use super::office::Office;
use super::wire::{decode_seen, encode_change};
use crate::api::refusals;
use crate::controller::ReplicaSeen;

/// How long a node may take to answer, connecting included. A frozen one holds up a round for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a node says.
#[derive(Debug)]
pub(super) struct NodeSeen {
    pub replicas: Vec<(ShardId, ReplicaSeen)>,
    pub quarantined: BTreeMap<ShardId, ReplicaId>,
    pub room: Option<Room>,
}

/// Asks nodes at their peer addresses.
#[derive(Debug)]
pub(super) struct Peers {
    office: Office,
    /// One for each node and address. A channel connects again by itself, and resolves its host again each time.
    channels: Mutex<BTreeMap<(NodeId, String), Channel>>,
}

impl Peers {
    pub(super) fn new(office: Office) -> Self {
        Self { office, channels: Mutex::default() }
    }

    /// What a node sees of its replicas of these shards, and all that is out of service there.
    pub(super) async fn inspect(
        &self,
        map: &ClusterMap,
        node: NodeId,
        shards: &BTreeSet<ShardId>,
    ) -> Result<NodeSeen, Status> {
        let reply = if node == self.office.node {
            self.office.look(shards).await?
        } else {
            let request = v1::InspectRequest {
                cluster: Some(self.office.cluster.0.into()),
                to_node: node.0,
                shards: shards.iter().map(|shard| shard.0).collect(),
            };
            let mut client = self.client(map, node)?;
            in_time(async move { client.inspect(request).await }).await?
        };
        let decode = |status: &v1::ReplicaStatus| {
            decode_seen(status)
                .inspect_err(
                    |error| debug!(%node, shard = status.shard, %error, "what it says makes no sense"),
                )
                .ok()
                .map(|seen| (ShardId(status.shard), seen))
        };
        let out = |it: &v1::QuarantineStatus| (ShardId(it.shard), ReplicaId(it.replica));
        Ok(NodeSeen {
            replicas: reply.replicas.iter().filter_map(decode).collect(),
            quarantined: reply.quarantined.iter().map(out).collect(),
            room: reply.room.map(|it| Room { free: it.free_bytes, total: it.total_bytes }),
        })
    }

    /// Proposes other members to the leader of a shard.
    pub(super) async fn change(
        &self,
        map: &ClusterMap,
        node: NodeId,
        shard: ShardId,
        (change, derived_from): (Change, Index),
    ) -> Result<(), Status> {
        if node == self.office.node {
            return self.office.change(shard, change, derived_from).await.map(drop);
        }
        let request = v1::ChangeMembersRequest {
            cluster: Some(self.office.cluster.0.into()),
            to_node: node.0,
            shard: shard.0,
            derived_from: derived_from.0,
            change: encode_change(&change),
        };
        let mut client = self.client(map, node)?;
        in_time(async move { client.change_members(request).await }).await.map(drop)
    }

    /// Has the leader of a shard give up its office, to a voter on `to` or to whichever is furthest.
    pub(super) async fn hand_over(
        &self,
        map: &ClusterMap,
        node: NodeId,
        shard: ShardId,
        to: Option<NodeId>,
    ) -> Result<(), Status> {
        if node == self.office.node {
            return self.office.give_up(shard, to).await.map(drop);
        }
        let cluster = Some(self.office.cluster.0.into());
        let successor_node = to.map_or(0, |to| to.0);
        let request = v1::HandOverRequest { cluster, to_node: node.0, shard: shard.0, successor_node };
        let mut client = self.client(map, node)?;
        in_time(async move { client.hand_over(request).await }).await.map(drop)
    }

    fn client(&self, map: &ClusterMap, node: NodeId) -> Result<RaftClient<Channel>, Status> {
        let unknown = || refusals::precondition(None, format!("the map does not name node {}", node.0));
        let address = &map.nodes.get(&node).ok_or_else(unknown)?.peer_addr;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        // A node that took over the address of another has a certificate of its own.
        if let Some(channel) = channels.get(&(node, address.clone())) {
            return Ok(RaftClient::new(channel.clone()));
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|error| refusals::precondition(None, error.to_string()))?;
        let endpoint = endpoint.connect_timeout(PATIENCE).tcp_nodelay(true);
        let channel = connect_lazy(&endpoint, self.office.transport.tls(), Whom::Node(node));
        channels.insert((node, address.clone()), channel.clone());
        Ok(RaftClient::new(channel))
    }
}

async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match timeout(PATIENCE, call).await {
        Ok(answered) => answered.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} ms", PATIENCE.as_millis()))),
    }
}
