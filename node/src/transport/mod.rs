//! Node to node: one stream each way between two nodes, for all shards; snapshots on connections of their own.
//!
//! ```text
//!   workers ── send ──▶ outbox of n2 ──▶ dialer of n2 ══ Frames ══▶ acceptor at n2 ──▶ PeerEvent::Messages
//!                                                   ◀─ Hello, map_wanted ─
//!   send_snapshot ──▶ reader thread ──▶ a connection of its own ══ Snapshot ══▶ stage at n2 ──▶ PeerEvent::SnapshotStaged
//! ```
//!
//! Each node dials every peer and sends on that stream only; what it receives comes on the streams that it accepted. Raft
//! tolerates loss, so nothing here waits for a slow peer: an outbox is bounded in bytes, and what does not fit is dropped
//! and counted. What arrives while one frame is being written leaves with the next: there are no timers in the path.
//!
//! A stream begins with a handshake: cluster, both node ids, both directories, protocol version, frame limit.
//! What does not match is refused with a line on both sides. Two fleets started on each other's ports refuse each other.
//!
//! Reading order: `hello.rs` (who may talk), `outbox.rs` (what waits), `codec.rs` (raft messages and their protobuf),
//! `dialer.rs`, `acceptor.rs`, `snapshot/`, `switchboard.rs` (all peers), `service.rs` (the gRPC face), `voucher.rs`.
//!
//! A connection is made in `connection.rs` and accepted in `listener.rs`, nowhere else. Where it is encrypted, the certificates say which
//! node is at each end before anything is said, and nobody speaks for another one (`voucher.rs`).
//!
//! Not here: what a message means, which nodes there are (the cluster map: [`Transport::set_peers`]).

mod acceptor;
mod backoff;
mod beats;
pub mod codec;
mod connection;
mod counters;
mod dialer;
mod event;
mod hello;
mod listener;
mod options;
mod outbox;
mod service;
mod shelf;
mod snapshot;
mod switchboard;
mod voucher;

#[cfg(test)]
mod tests;

pub use beats::Pulse;
pub use connection::ConnectError;
pub use counters::PeerCounters;
pub use event::{BatchSink, Events, PeerEvent, SnapshotOffer, Stage};
pub use hello::{Addresses, Identity, Mismatch};
pub use listener::serve;
pub use options::Options;
pub use service::{Clerk, Clerks, Errand, PeerService};
pub use snapshot::{SnapshotCounts, SnapshotError};
pub use switchboard::{PeerStatus, Transport};

pub(crate) use backoff::Backoff;
pub(crate) use connection::{Patience, connect, explained};
