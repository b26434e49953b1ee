//! The keeper of the cluster map on one node.
//!
//! The map is an ordinary value in the meta shard (shard 0), under one key, replaced by compare-and-swap. Its keeper
//!
//! - founds it: whichever node leads the meta shard writes the genesis map, if there is none yet;
//! - learns of newer maps: from the own replica of the meta shard when that applied a write, else from other nodes;
//! - spreads them: to the disk (a restarted node finds a moved meta shard), to the transport, which tells the peers, to
//!   the workers (which replicas live here, which have ended, and where the others are), to the services (`watch`);
//! - sees to it that the map states this node's addresses.
//!
//! What it does not do: it decides nothing. `ClusterMap::apply` does, wherever a change is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flotilla_daemon::causes::Causes;
use flotilla_proto::v1;
use flotilla_proto::v1::raft_client::RaftClient;
use flotilla_raft::Term;
use flotilla_tls::Whom;
use flotilla_topology::{Change, ClusterMap, NodeId, NodeInfo, Refusal, ShardId};
use tokio::sync::{Notify, watch};
use tonic::Status;
use tracing::{info, warn};

use super::births::told_of_map;
use super::map_record::{MapRecord, NotChanged};
use super::{Arrivals, Input, Runtime};
use crate::host::Consistency;
use crate::storage::DataDirectory;
use crate::transport::{Patience, Transport, connect};

/// The newest map that this node has.
pub type NewestMap = Option<Arc<ClusterMap>>;

/// How often what is still to be done (founding, stating our addresses) is tried. An election takes about as long.
const RETRY: Duration = Duration::from_millis(100);
/// How long a node may take to hear of our addresses.
const ANNOUNCE_PATIENCE: Patience = Patience {
    connect: Duration::from_secs(1),
    keepalive_interval: Duration::from_secs(1),
    keepalive_timeout: Duration::from_secs(1),
};
/// Keeps the cluster map of one node up to date.
#[derive(Debug)]
pub struct FleetKeeper {
    node: NodeId,
    own: NodeInfo,
    genesis: Bytes,
    runtime: Arc<Runtime>,
    record: MapRecord,
    transport: Transport,
    directory: Arc<DataDirectory>,
    newest: watch::Sender<NewestMap>,
    /// A map of which no replica was born here yet, because it could not be put on the disk.
    unborn: Mutex<Option<Bytes>>,
}

/// Why a keeper woke.
enum Event {
    /// The own replica of the meta shard applied a write.
    Changed,
    /// Another node sent its map.
    Arrived(Bytes),
    /// Something is still to be done.
    Retry,
}

impl FleetKeeper {
    /// A keeper that knows no map yet. `own` is what the map shall say of this node, `genesis` the map that founds it.
    #[must_use]
    pub fn new(
        node: NodeId,
        own: NodeInfo,
        genesis: Bytes,
        runtime: Arc<Runtime>,
        transport: Transport,
        directory: Arc<DataDirectory>,
    ) -> Self {
        let record = MapRecord::new(Arc::clone(&runtime));
        let (newest, unborn) = (watch::Sender::new(None), Mutex::default());
        Self { node, own, genesis, runtime, record, transport, directory, newest, unborn }
    }

    /// Hears of every newer map.
    #[must_use]
    pub fn maps(&self) -> watch::Receiver<NewestMap> {
        self.newest.subscribe()
    }

    /// Takes in a map, if it is newer than the one that is known.
    pub async fn take(&self, encoded: Bytes) {
        let map = match ClusterMap::decode(&encoded) {
            Ok(map) => map,
            Err(error) => {
                warn!(reason = %Causes(&error), "a cluster map that cannot be read");
                return;
            }
        };
        let known = self.newest.borrow().as_ref().map(|known| (known.epoch, known.cluster));
        if known.is_some_and(|(epoch, cluster)| epoch >= map.epoch || cluster != map.cluster) {
            return;
        }
        info!(epoch = %map.epoch, nodes = map.nodes.len(), shards = map.shards.len(), "a newer cluster map");
        let is_member = map.nodes.contains_key(&self.node);
        if !is_member {
            warn!(
                epoch = %map.epoch,
                "this node is no member of the fleet any more: its replicas end. Stop it; its id and its directory are of no more use"
            );
        }
        let members = map.nodes.iter().filter(|_| is_member);
        let peers: BTreeMap<NodeId, String> =
            members.map(|(node, info)| (*node, info.peer_addr.clone())).collect();
        self.transport.set_peers(&peers);
        // First the disk, then the births: should the log ever lose a birth, the map on the disk knows its id.
        let is_cached = self.cache(encoded.clone()).await;
        *self.unborn() = (!is_cached).then(|| encoded.clone());
        self.tell_workers(&map, is_cached).await;
        self.transport.announce_map(map.epoch, encoded);
        self.newest.send_replace(Some(Arc::new(map)));
    }

    /// Bears the replicas of a map that could not be put on the disk before.
    async fn bear_late(&self) {
        let Some(map) = self.newest.borrow().clone() else { return };
        let Some(encoded) = self.unborn().clone() else { return };
        if self.cache(encoded).await {
            self.unborn().take();
            self.tell_workers(&map, true).await;
        }
    }

    fn unborn(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.unborn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which replicas live here, and where the others of their shards are.
    async fn tell_workers(&self, map: &ClusterMap, may_bear: bool) {
        // An error says that the node ends.
        let here = self.runtime.replicas().await.unwrap_or_default();
        let here = here.iter().map(|it| (it.shard, it.replica));
        let out = self.runtime.quarantine().all().into_iter().map(|(shard, out)| (shard, out.replica));
        let before = self.newest.borrow().clone();
        for (shard, input) in told_of_map(map, before.as_deref(), self.node, here, out) {
            if let Input::Retire { shard, replica } = &input {
                info!(%shard, %replica, "a replica is no member any more: it ends");
            }
            if may_bear || !matches!(input, Input::Create { .. }) {
                self.runtime.tell(shard, input);
            }
        }
    }

    /// Puts a map on the disk. Whether it is there.
    async fn cache(&self, encoded: Bytes) -> bool {
        let directory = Arc::clone(&self.directory);
        let cached = tokio::task::spawn_blocking(move || directory.cache_map(&encoded)).await;
        match cached {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => warn!(reason = %Causes(&error), "the cluster map cannot be cached"),
            Err(error) => warn!(%error, "the cluster map cannot be cached"),
        }
        false
    }

    /// Runs until the node ends. `changed` tells of writes in the meta shard, `arrivals` brings other nodes' maps.
    pub async fn run(
        self: Arc<Self>,
        changed: Arc<Notify>,
        arrivals: Arc<Arrivals>,
        mut ended: watch::Receiver<bool>,
    ) {
        let mut founded = !self.hosts_meta();
        let mut stated = false;
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                () = changed.notified() => Event::Changed,
                map = arrivals.take() => Event::Arrived(map),
                _ = retry.tick(), if !founded || !stated || self.unborn().is_some() => Event::Retry,
                _ = ended.wait_for(|ended| *ended) => return,
            };
            match event {
                Event::Changed => self.look().await,
                Event::Arrived(map) => self.take(map).await,
                Event::Retry => {
                    // Neither waits for the other. A node that restarts at another address before it heard that the map is committed
                    // would wait for that word from peers that still dial the old address.
                    founded = founded || self.found().await;
                    stated = stated || self.state_addresses().await;
                    self.bear_late().await;
                }
            }
        }
    }

    fn hosts_meta(&self) -> bool {
        self.newest.borrow().as_ref().is_some_and(|map| map.replica_on(ShardId::META, self.node).is_some())
    }

    /// Reads what the own replica of the meta shard has applied.
    async fn look(&self) {
        if let Ok(Some(record)) = self.record.read(Consistency::Stale).await {
            self.take(record.value).await;
        }
    }

    /// Writes the genesis map, if this node leads the meta shard and there is none. Whether there is one now.
    async fn found(&self) -> bool {
        if let Ok(Some(record)) = self.record.read(Consistency::Stale).await {
            self.take(record.value).await;
            return true;
        }
        self.record.swap(0, self.genesis.clone()).await.is_ok()
    }

    /// Sees to it that the map states this node's addresses. Whether it does.
    async fn state_addresses(&self) -> bool {
        let Some(map) = self.newest.borrow().clone() else { return false };
        if map.nodes.get(&self.node).is_none_or(|stated| *stated == self.own) {
            return true;
        }
        let request = v1::AnnounceRequest {
            cluster: Some(map.cluster.into()),
            node: self.node.0,
            directory: Some(self.directory.stamp().directory.0.into()),
            client_addr: self.own.client_addr.clone(),
            peer_addr: self.own.peer_addr.clone(),
            http_addr: self.own.http_addr.clone(),
        };
        if self.announced(request.clone()).await.is_ok_and(|reply| is_epoch(&reply)) {
            return true;
        }
        for node in map.preference(ShardId::META).filter(|node| *node != self.node) {
            let Some(info) = map.nodes.get(&node) else { continue };
            match self.announce_to(node, &info.peer_addr, request.clone()).await {
                Ok(reply) if is_epoch(&reply) => return true,
                Ok(_) => {}
                Err(failure) => {
                    warn!(%node, reason = failure.message(), "our new addresses were not taken");
                }
            }
        }
        false
    }

    async fn announce_to(
        &self,
        node: NodeId,
        address: &str,
        request: v1::AnnounceRequest,
    ) -> Result<v1::AnnounceReply, Status> {
        let channel = connect(address, Whom::Node(node), ANNOUNCE_PATIENCE, self.transport.tls()).await;
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(RaftClient::new(channel).announce(request).await?.into_inner())
    }

    /// Another node (or this one) announces its addresses: if this node leads the meta shard, the map will state them.
    ///
    /// # Errors
    /// The node is not of this fleet, or the map refuses; UNAVAILABLE while there is no leader.
    pub async fn announced(&self, request: v1::AnnounceRequest) -> Result<v1::AnnounceReply, Status> {
        let node = NodeId(request.node);
        self.check_speaker(node, request.cluster, request.directory)?;
        let info = NodeInfo {
            client_addr: request.client_addr,
            peer_addr: request.peer_addr,
            http_addr: request.http_addr,
        };
        let change = Change::SetAddresses { node, info };
        match self.record.change(&change).await {
            Ok(map) => {
                info!(%node, epoch = %map.epoch, "the map states its new addresses");
                Ok(reply(v1::announce_reply::Outcome::Epoch(map.epoch.0)))
            }
            Err(NotChanged::Refused { refusal: Refusal::Unchanged, map }) => {
                Ok(reply(v1::announce_reply::Outcome::Epoch(map.epoch.0)))
            }
            Err(NotChanged::Refused { refusal, .. }) => Err(Status::failed_precondition(refusal.to_string())),
            Err(NotChanged::NotLeader { term, leader }) => {
                Ok(reply(v1::announce_reply::Outcome::Redirect(to_leader(term, leader))))
            }
            Err(NotChanged::Failed(status)) => Err(status),
        }
    }

    /// A node with an empty directory asks to be let in: if this node leads the meta shard, the map will name it. Whoever asks again,
    /// because the answer was lost, is answered again.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for good, with the reason for its operator; UNAVAILABLE while there is no leader.
    pub async fn joined(&self, request: v1::JoinRequest) -> Result<v1::JoinReply, Status> {
        let node = NodeId(request.node);
        self.check_speaker(node, request.cluster, request.directory)?;
        let directory = request.directory.map(u128::from);
        let directory = directory.ok_or_else(|| Status::invalid_argument("the directory is missing"))?;
        let info = NodeInfo {
            client_addr: request.client_addr,
            peer_addr: request.peer_addr,
            http_addr: request.http_addr,
        };
        let outcome = match self.record.change(&Change::Join { node, info, directory }).await {
            Ok(map) => {
                info!(%node, epoch = %map.epoch, "a node joined the fleet");
                v1::join_reply::Outcome::Map(map.encode().into())
            }
            Err(NotChanged::Refused { refusal: Refusal::Unchanged, map }) => {
                v1::join_reply::Outcome::Map(map.encode().into())
            }
            Err(NotChanged::Refused { refusal, .. }) => {
                warn!(%node, reason = %refusal, "a node was not let in");
                return Err(Status::failed_precondition(refusal.to_string()));
            }
            Err(NotChanged::NotLeader { term, leader }) => {
                v1::join_reply::Outcome::Redirect(to_leader(term, leader))
            }
            Err(NotChanged::Failed(status)) => return Err(status),
        };
        Ok(v1::JoinReply { outcome: Some(outcome) })
    }

    fn check_speaker(
        &self,
        node: NodeId,
        cluster: Option<v1::Id128>,
        directory: Option<v1::Id128>,
    ) -> Result<(), Status> {
        let Some(map) = self.newest.borrow().clone() else {
            return Err(Status::unavailable("this node has no cluster map yet"));
        };
        if cluster.map(u128::from) != Some(map.cluster) {
            return Err(Status::failed_precondition("it belongs to another cluster"));
        }
        let seen = self.transport.directory_of(node).map(|directory| directory.0);
        let claimed = directory.map(u128::from);
        if seen.is_some() && seen != claimed {
            return Err(Status::failed_precondition(format!("{node} was seen with another data directory")));
        }
        Ok(())
    }
}

/// Who leads the meta shard instead, for a node that knows where nodes are.
fn to_leader(term: Term, leader: Option<NodeId>) -> v1::Redirect {
    v1::Redirect {
        shard: ShardId::META.0,
        term: term.0,
        leader_node: leader.map_or(0, |node| node.0),
        ..v1::Redirect::default()
    }
}

fn reply(outcome: v1::announce_reply::Outcome) -> v1::AnnounceReply {
    v1::AnnounceReply { outcome: Some(outcome) }
}

fn is_epoch(reply: &v1::AnnounceReply) -> bool {
    matches!(reply.outcome, Some(v1::announce_reply::Outcome::Epoch(_)))
}
