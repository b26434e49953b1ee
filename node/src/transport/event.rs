//! What the transport tells the node.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_raft::{Message, ReplicaId, SnapshotMeta, Term};
use flotilla_store::WriteBatch;
use flotilla_topology::{Epoch, NodeId, ShardId};
use tokio::sync::oneshot;

use super::hello::Addresses;
use crate::host::FallenLeader;

/// Where events go. Called on the transport's threads, in order for each stream: it must not block and must not panic.
pub type Events = Arc<dyn Fn(PeerEvent) + Send + Sync>;

/// What happened between this node and another.
#[derive(Debug)]
pub enum PeerEvent {
    /// Our stream to a node stands: messages flow.
    Connected {
        /// The node.
        node: NodeId,
        /// The addresses that it advertises.
        addresses: Addresses,
    },
    /// Our stream to a node broke: what was in flight may be lost. Only after [`PeerEvent::Connected`], once each.
    Lost {
        /// The node.
        node: NodeId,
    },
    /// A node's stream to us broke: nothing more comes on it. After everything that came on it. A node that has opened another
    /// one meanwhile is not silent, and its last word may come before this.
    Silent {
        /// The node.
        node: NodeId,
    },
    /// The messages of one frame, in the order in which they were sent.
    Messages {
        /// Who sent them.
        node: NodeId,
        /// The messages.
        messages: Vec<(ShardId, Message)>,
    },
    /// A node is heard in another life, or promises under another number, than before.
    Changed {
        /// The node.
        node: NodeId,
    },
    /// Leaders on a node lead no more. Told again until the node has heard that it was heard.
    Fallen {
        /// The node.
        node: NodeId,
        /// Who.
        leaders: Vec<FallenLeader>,
    },
    /// A node sent its cluster map, which is newer than the one announced here.
    Map {
        /// Who sent it.
        node: NodeId,
        /// The epoch that it announced with the map.
        epoch: Epoch,
        /// The map, encoded.
        map: Bytes,
    },
    /// A node wants to stream a snapshot. Answer, or drop the answer to refuse.
    SnapshotOffered(SnapshotOffer),
    /// A stream that was given a [`Stage`] ended. Always, and once.
    SnapshotStaged {
        /// The shard.
        shard: ShardId,
        /// The generation of the stage.
        generation: u64,
        /// The leader's message, to be stepped now that all data was committed by the sink; `None`: the stream broke, or
        /// its content was wrong.
        snapshot: Option<Message>,
    },
}

/// A snapshot that a leader on another node wants to stream to a replica here.
#[derive(Debug)]
pub struct SnapshotOffer {
    /// The node that has it.
    pub node: NodeId,
    /// Its shard.
    pub shard: ShardId,
    /// The leader that sends it.
    pub from: ReplicaId,
    /// The replica that it is for.
    pub to: ReplicaId,
    /// The leader's term.
    pub term: Term,
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// Where to put it, or why not.
    pub answer: oneshot::Sender<Result<Stage, String>>,
}

/// Where a snapshot goes.
pub struct Stage {
    /// The generation under which it is staged.
    pub generation: u64,
    /// Takes its batches, in order.
    pub sink: BatchSink,
}

/// Takes one batch and commits it to the base, on the thread that writes the base. The next batch is read from the network only
/// when the last one was committed, which bounds the memory of a stream. The text says why a batch was not.
pub type BatchSink = Box<dyn FnMut(WriteBatch, oneshot::Sender<Result<(), String>>) + Send>;

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("generation", &self.generation).finish_non_exhaustive()
    }
}
