//! Keeps our stream to one peer standing: connects, greets, and begins again when it breaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flotilla_proto::v1::raft_client::RaftClient;
use flotilla_tls::Whom;
use flotilla_topology::{Epoch, NodeId};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::backoff::Backoff;
use super::connection::{ConnectError, connect, explained};
use super::counters::Counters;
use super::event::PeerEvent;
use super::hello::Mismatch;
use super::outbox::{Bounds, Outbox};
use super::switchboard::Shared;

/// One peer, as its dialer, its acceptor and the workers see it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) counters: Arc<Counters>,
    address: Mutex<String>,
    /// A reason not to wait any longer before the next attempt.
    kick: Notify,
    /// The newest stream that was accepted from the peer.
    accepted: AtomicU64,
    /// True when the peer has left the map.
    left: watch::Sender<bool>,
}

impl Peer {
    pub(super) fn new(node: NodeId, address: String, bounds: Bounds) -> Self {
        let counters = Arc::<Counters>::default();
        let outbox = Arc::new(Outbox::new(bounds, Arc::clone(&counters)));
        let (left, _) = watch::channel(false);
        Self {
            node,
            outbox,
            counters,
            address: Mutex::new(address),
            kick: Notify::new(),
            accepted: AtomicU64::new(0),
            left,
        }
    }

    /// A stream of the peer was accepted under this number.
    pub(super) fn accepted(&self, stream: u64) {
        self.accepted.fetch_max(stream, Ordering::Relaxed);
    }

    /// Whether no stream of the peer was accepted after this one.
    pub(super) fn is_newest(&self, stream: u64) -> bool {
        self.accepted.load(Ordering::Relaxed) == stream
    }

    pub(super) fn address(&self) -> String {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next attempt goes to this address. A stream that stands is left alone: it reaches the right node.
    pub(super) fn set_address(&self, address: &str) {
        let mut held = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if *held != address {
            address.clone_into(&mut held);
            self.kick.notify_one();
        }
    }

    /// Tries at once: something says that the peer is there.
    pub(super) fn kick(&self) {
        self.kick.notify_one();
    }

    pub(super) fn leave(&self) {
        self.left.send_replace(true);
    }

    pub(super) fn has_left(&self) -> bool {
        *self.left.borrow()
    }
}

/// Why a stream does not stand.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer in time")]
    Silent,
    #[error("refused: {0}")]
    Mismatch(#[from] Mismatch),
    #[error("it refuses us: {0}")]
    Refused(String),
    #[error("the stream broke: {}", .0.message())]
    Stream(Status),
    #[error("the peer closed the stream")]
    Closed,
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::FailedPrecondition | Code::Unauthenticated => Self::Refused(status.message().to_string()),
            _ => Self::Stream(status),
        }
    }
}

/// Dials until the peer has left or the transport is shut down.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut ended = shared.ended();
    let mut left = peer.left.subscribe();
    let work = dial_for_ever(&shared, &peer);
    tokio::select! {
        () = work => {}
        _ = ended.wait_for(|ended| *ended) => {}
        _ = left.wait_for(|left| *left) => {}
    }
}

async fn dial_for_ever(shared: &Arc<Shared>, peer: &Arc<Peer>) {
    let identity = shared.doorman.identity();
    let seed = identity.boot.0 ^ u128::from(peer.node.0);
    let mut backoff = Backoff::new(shared.options.backoff_min, shared.options.backoff_max, seed);
    let mut said = String::new();
    loop {
        let address = peer.address();
        let broken = stand(shared, peer, &address, &mut backoff, &mut said).await;
        // A peer that stays away is one line, not one a second.
        let why = broken.to_string();
        if said == why {
            tracing::debug!(peer = %peer.node, %address, %why, "still no stream to the peer");
        } else {
            tracing::warn!(peer = %peer.node, %address, %why, "no stream to the peer");
            said = why;
        }
        let pause = backoff.next();
        // Either end of the pause will do.
        let _ = timeout(pause, peer.kick.notified()).await;
    }
}

/// One attempt: returns why the stream did not come to stand, or broke.
async fn stand(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: &str,
    backoff: &mut Backoff,
    said: &mut String,
) -> Broken {
    match attempt(shared, peer, address, backoff, said).await {
        Ok(()) => Broken::Closed,
        Err(Broken::Stream(status)) => {
            Broken::Stream(explained(address, status, shared.options.tls.as_ref()).await)
        }
        Err(broken) => broken,
    }
}

async fn attempt(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: &str,
    backoff: &mut Backoff,
    said: &mut String,
) -> Result<(), Broken> {
    let patience = shared.options.connect_timeout;
    let (whom, tls) = (Whom::Node(peer.node), shared.options.tls.as_ref());
    let channel = connect(address, whom, shared.options.patience(), tls).await?;
    let limit = shared.options.message_bytes_max();
    let mut client =
        RaftClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit);
    let frames = peer.outbox.open(shared.doorman.hello(peer.node), Arc::clone(&shared.shelf));
    let mut standing = Standing { shared, peer, attempt: frames.attempt(), told: false };
    let answers = timeout(patience, client.frames(frames)).await.map_err(|_| Broken::Silent)??;
    let mut answers = answers.into_inner();
    let first = timeout(patience, answers.message()).await.map_err(|_| Broken::Silent)??;
    let first = first.ok_or(Broken::Closed)?;
    let greeting = shared.doorman.check(first.hello, Some(peer.node))?;
    standing.begin(greeting.frame_bytes_max);
    backoff.reset();
    said.clear();
    tracing::info!(peer = %peer.node, address, boot = %greeting.boot, "the stream to the peer stands");
    (shared.events)(PeerEvent::Connected { node: peer.node, addresses: greeting.addresses });
    while let Some(answer) = answers.message().await? {
        if answer.map_wanted {
            peer.outbox.want_map(standing.attempt);
        }
        // A peer has a stream of its own for that, unless we are none of its peers any more.
        let epoch = Epoch(answer.map_epoch);
        if !answer.map.is_empty() && epoch > shared.shelf.epoch() {
            (shared.events)(PeerEvent::Map { node: peer.node, epoch, map: answer.map });
        }
    }
    Ok(())
}

/// However an attempt ends, its outbox is closed, and who was told that it stands is told that it broke.
struct Standing<'a> {
    shared: &'a Arc<Shared>,
    peer: &'a Arc<Peer>,
    attempt: u64,
    told: bool,
}

impl Standing<'_> {
    fn begin(&mut self, frame_bytes_max: usize) {
        self.peer.counters.connected();
        self.peer.outbox.accept(self.attempt, frame_bytes_max);
        self.told = true;
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.peer.outbox.close(self.attempt);
        if self.told {
            (self.shared.events)(PeerEvent::Lost { node: self.peer.node });
        }
    }
}
