//! All peers of this node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use flotilla_raft::Message;
use flotilla_store::View;
use flotilla_tls::Tls;
use flotilla_topology::{Epoch, NodeId, ShardId};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::beats::{self, Pulse};
use super::counters::PeerCounters;
use super::dialer::{self, Peer};
use super::event::Events;
use super::hello::{Doorman, Identity};
use super::options::Options;
use super::outbox::Bounds;
use super::shelf::Shelf;
use super::snapshot::{self, Budget, SnapshotCounts, SnapshotError, SnapshotProgress, Traffic};
use crate::host::SnapshotJob;
use crate::storage::DirectoryId;

/// The node's line to its peers. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Transport {
    pub(super) shared: Arc<Shared>,
}

/// What a node sees of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// Whether our stream to it stands.
    pub connected: bool,
    /// What was counted.
    pub counters: PeerCounters,
}

/// What all parts of the transport have in common.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) doorman: Doorman,
    pub(super) events: Events,
    pub(super) pulse: Pulse,
    pub(super) shelf: Arc<Shelf>,
    pub(super) sending: Arc<Semaphore>,
    pub(super) receiving: Arc<Semaphore>,
    pub(super) snapshots: Arc<SnapshotProgress>,
    pub(super) budget: Arc<Budget>,
    pub(super) traffic: Arc<Traffic>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    /// How many streams were accepted.
    accepted: AtomicU64,
    ended: watch::Sender<bool>,
    handle: Handle,
}

impl Transport {
    /// A transport without peers. It accepts streams as soon as a [`PeerService`](super::PeerService) was opened with it.
    ///
    /// # Panics
    /// Called outside of a tokio runtime.
    #[must_use]
    pub fn start(options: Options, identity: Identity, events: Events, pulse: Pulse) -> Self {
        let shared = Shared {
            doorman: Doorman::new(identity, options.frame_bytes_max),
            events,
            pulse,
            shelf: Arc::default(),
            sending: Arc::new(Semaphore::new(options.snapshots_sent_max)),
            receiving: Arc::new(Semaphore::new(options.snapshots_received_max)),
            peers: RwLock::default(),
            accepted: AtomicU64::new(0),
            snapshots: Arc::default(),
            budget: Arc::new(Budget::new(options.snapshot_bytes_per_second)),
            traffic: Arc::default(),
            ended: watch::channel(false).0,
            handle: Handle::current(),
            options,
        };
        let shared = Arc::new(shared);
        shared.handle.spawn(beats::run(Arc::clone(&shared)));
        Self { shared }
    }

    /// Queues a message for a node, or drops it: if the node is no peer, or its queue is full. Never waits; for any thread.
    pub fn send(&self, to: NodeId, shard: ShardId, message: Message) {
        if let Some(peer) = self.shared.peer(to) {
            peer.outbox.push(shard, message);
        }
    }

    /// Says which peers there are, with their peer addresses. New ones are dialled, gone ones are cut off, a new address is used
    /// at the next attempt. This node itself may be among them.
    pub fn set_peers(&self, addresses: &BTreeMap<NodeId, String>) {
        let shared = &self.shared;
        let ours = shared.doorman.identity().node;
        let mut peers = shared.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|node, peer| {
            let stays = addresses.contains_key(node);
            if !stays {
                peer.leave();
            }
            stays
        });
        for (node, address) in addresses.iter().filter(|(node, _)| **node != ours) {
            if let Some(peer) = peers.get(node) {
                peer.set_address(address);
                continue;
            }
            let peer = Arc::new(Peer::new(*node, address.clone(), shared.bounds()));
            peers.insert(*node, Arc::clone(&peer));
            shared.handle.spawn(dialer::run(Arc::clone(shared), peer));
        }
    }

    /// Tells all peers that this node has this map. Who has an older one asks for it. An older one than was announced before is
    /// ignored.
    pub fn announce_map(&self, epoch: Epoch, map: Bytes) {
        if self.shared.shelf.put(epoch, map) {
            let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
            peers.values().for_each(|peer| peer.outbox.nudge());
        }
    }

    /// Streams a snapshot to a follower. `done` is called once, on a thread of the transport, when the follower has staged it
    /// (with the position of its last entry) or the stream failed. For any thread; never waits.
    pub fn send_snapshot<V: View>(
        &self,
        job: SnapshotJob<V>,
        done: impl FnOnce(Result<flotilla_raft::LogId, SnapshotError>) + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        self.shared.handle.spawn(async move { done(snapshot::send(&shared, job).await) });
    }

    /// How much of a snapshot has been sent to a replica, in bytes; 0: there is no stream to it.
    #[must_use]
    pub fn snapshot_bytes_sent(&self, shard: ShardId, to: flotilla_raft::ReplicaId) -> u64 {
        self.shared.snapshots.sent(shard, to)
    }

    /// With what connections to other nodes are encrypted.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.shared.options.tls.as_ref()
    }

    /// What snapshots took of the network, and how many are under way.
    #[must_use]
    pub fn snapshot_counts(&self) -> SnapshotCounts {
        let shared = &self.shared;
        let taken = |places: &Semaphore, max: usize| max.saturating_sub(places.available_permits());
        let sending = taken(&shared.sending, shared.options.snapshots_sent_max);
        shared.traffic.read(sending, taken(&shared.receiving, shared.options.snapshots_received_max))
    }

    /// Every peer, in the order of their ids.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        let status = |peer: &Arc<Peer>| PeerStatus {
            node: peer.node,
            connected: peer.outbox.is_open(),
            counters: peer.counters.read(),
        };
        peers.values().map(status).collect()
    }

    /// The directory under which a node was seen since this process started.
    #[must_use]
    pub fn directory_of(&self, node: NodeId) -> Option<DirectoryId> {
        self.shared.doorman.directory_of(node)
    }

    /// Ends all streams, for good.
    pub fn shutdown(&self) {
        self.shared.ended.send_replace(true);
    }
}

impl Shared {
    pub(super) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// A stream was accepted: its number, greater than that of any before.
    pub(super) fn next_accepted(&self) -> u64 {
        self.accepted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Every peer.
    pub(super) fn all_peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Becomes true when the transport is shut down.
    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            connected: self.options.queue_bytes_max,
            unconnected: self.options.queue_unconnected_bytes_max,
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("identity", self.doorman.identity()).finish_non_exhaustive()
    }
}
