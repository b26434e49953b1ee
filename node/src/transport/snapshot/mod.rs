//! Snapshots on connections of their own, so that they never delay an append.
//!
//! ```text
//!   reader thread ─ chunk ─▶ (2 wait) ══ Snapshot ══▶ writer: order, checksums ─ batch ─▶ sink: commit ─┐
//!                                                     ▲───────── the next chunk is read only then ──────┘
//! ```
//!
//! Memory is bounded on both sides: a chunk is read from the base when the network took the one before, and from the network
//! when the base took the one before. A stream on which nothing moves is given up by both sides. Whatever goes
//! wrong, both hosts are told, once.
//!
//! What leaves is bounded per node: so many streams at once, the others wait; so many bytes in a second, all streams together.
//! Who takes in as many as it may refuses, and is asked again. A stream that is given up makes room for the next.
//!
//! Reading order: `sender.rs`, `budget.rs`, `receiver.rs`, `progress.rs`, `traffic.rs`. What a chunk holds is the store's matter.

mod budget;
mod progress;
mod receiver;
mod sender;
mod traffic;

pub use traffic::SnapshotCounts;

pub(super) use budget::Budget;
pub(super) use progress::SnapshotProgress;
pub(super) use receiver::receive;
pub(super) use sender::send;
pub(super) use traffic::Traffic;

use super::connection::ConnectError;

/// Why a snapshot was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The node is no peer.
    #[error("{0} is no peer")]
    Unknown(flotilla_topology::NodeId),
    /// The node was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The base has nothing of the shard.
    #[error("the base holds nothing of the shard")]
    Empty,
    /// The base failed.
    #[error("reading the snapshot: {0}")]
    Read(#[from] flotilla_store::Error),
    /// Nothing moved for too long.
    #[error("nothing moved for {0:?}")]
    Idle(std::time::Duration),
    /// The receiver gave up.
    #[error("the receiver gave up: {0}")]
    Refused(String),
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Broken(String),
    /// This node shuts down.
    #[error("this node shuts down")]
    Shutdown,
}
