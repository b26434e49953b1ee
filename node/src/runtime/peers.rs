//! What the transport says of other nodes, and where it goes.

use std::fmt;
use std::sync::Arc;

use flotilla_raft::{Message, Rpc};
use flotilla_store::WriteBatch;
use flotilla_topology::{NodeId, ShardId};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::arrivals::Arrivals;
use super::flusher::FlusherQueue;
use super::inbox::Inbox;
use super::tokens::Tokens;
use super::{Input, worker_of};
use crate::host::Answer;
use crate::transport::{Events, PeerEvent, SnapshotOffer, Stage};

/// What a message costs in an inbox beside its entries, in bytes.
const MESSAGE_BYTES: usize = 128;

/// Where the transport's events go. Called on its threads: nothing here waits.
#[derive(Clone)]
pub struct PeerDesk {
    /// The workers' inboxes.
    pub inboxes: Vec<Arc<Inbox>>,
    /// The only writer of the base, which also writes what is staged.
    pub flusher: Arc<FlusherQueue>,
    /// For questions to workers.
    pub tokens: Arc<Tokens>,
    /// Maps of other nodes, for the fleet's keeper.
    pub maps: Arc<Arrivals>,
    /// Where answers are awaited.
    pub handle: Handle,
}

impl PeerDesk {
    /// As the transport wants it.
    pub fn events(self) -> Events {
        Arc::new(move |event| self.take(event))
    }

    fn take(&self, event: PeerEvent) {
        match event {
            PeerEvent::Connected { node, addresses } => {
                debug!(%node, peer = addresses.peer, "its stream stands");
            }
            PeerEvent::Lost { node } => {
                debug!(%node, "its stream broke");
                for inbox in &self.inboxes {
                    inbox.deliver(Input::PeerLost { node });
                }
            }
            PeerEvent::Silent { node } => {
                debug!(%node, "its stream to us broke");
                for inbox in &self.inboxes {
                    inbox.deliver(Input::PeerSilent { node });
                }
            }
            PeerEvent::Changed { node } => {
                for inbox in &self.inboxes {
                    inbox.deliver(Input::PairChanged { node });
                }
            }
            PeerEvent::Fallen { node, leaders } => {
                for leader in leaders {
                    self.inbox(leader.shard).deliver(Input::LeaderFell { node, leader });
                }
            }
            PeerEvent::Messages { node, messages } => self.messages(node, messages),
            PeerEvent::Map { epoch, map, .. } => self.maps.leave(epoch, map),
            PeerEvent::SnapshotOffered(offer) => self.offered(offer),
            PeerEvent::SnapshotStaged { shard, generation, snapshot } => {
                self.inbox(shard).deliver(Input::Staged { shard, generation, snapshot });
            }
        }
    }

    fn messages(&self, node: NodeId, messages: Vec<(ShardId, Message)>) {
        let mut sorted: Vec<Vec<(usize, Input)>> = self.inboxes.iter().map(|_| Vec::new()).collect();
        for (shard, message) in messages {
            let bytes = message_bytes(&message);
            sorted[worker_of(shard, self.inboxes.len())].push((bytes, Input::Peer { shard, message }));
        }
        for (inbox, messages) in self.inboxes.iter().zip(sorted) {
            let dropped = inbox.offer_peers(messages);
            if dropped > 0 {
                warn!(%node, dropped, "a worker does not keep up: messages were dropped");
            }
        }
    }

    /// Asks the replica's worker where to stage a snapshot.
    fn offered(&self, offer: SnapshotOffer) {
        let desk = self.clone();
        self.handle.spawn(async move {
            let SnapshotOffer { shard, to, term, meta, answer, node, .. } = offer;
            let waiting = desk.tokens.draw();
            let question = Input::Stage { shard, token: waiting.token(), to, term, last: meta.last };
            desk.inbox(shard).deliver(question);
            let told = match waiting.await {
                Ok(Answer::Stage { generation }) => Ok(generation),
                Ok(Answer::Refused(refusal)) => Err(refusal.to_string()),
                Ok(other) => unreachable!("a worker answered an offer of a snapshot with {other:?}"),
                Err(ended) => Err(ended.to_string()),
            };
            let Ok(generation) = told else {
                drop(answer.send(told.map(|_| unreachable!("a refusal carries no generation"))));
                return;
            };
            info!(%shard, %node, generation, last = %meta.last, "taking a snapshot");
            let flusher = Arc::clone(&desk.flusher);
            let sink = Box::new(move |batch: WriteBatch, committed: oneshot::Sender<Result<(), String>>| {
                flusher.push_batch(batch, committed);
            });
            if answer.send(Ok(Stage { generation, sink })).is_err() {
                // The stream broke before it had a stage, so it will not report the end of it.
                desk.inbox(shard).deliver(Input::Staged { shard, generation, snapshot: None });
            }
        });
    }

    fn inbox(&self, shard: ShardId) -> &Inbox {
        &self.inboxes[worker_of(shard, self.inboxes.len())]
    }
}

/// The room that a message takes, in bytes.
fn message_bytes(message: &Message) -> usize {
    let entries = match &message.rpc {
        Rpc::Append { entries, .. } => entries.iter().map(|entry| entry.bytes()).sum(),
        _ => 0,
    };
    MESSAGE_BYTES.saturating_add(usize::try_from(entries).unwrap_or(usize::MAX))
}

impl fmt::Debug for PeerDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerDesk").field("workers", &self.inboxes.len()).finish_non_exhaustive()
    }
}
