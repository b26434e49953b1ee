//! The multi-raft host: many replicas, one log, no clock, no disk, no network.
//!
//! A node splits its shards over a few [`Worker`]s. A worker is a synchronous, deterministic state machine: it takes
//! [`Input`]s (messages, client operations, completions of the log, of the flusher and of the reader pool), and
//! returns [`Effects`] (messages, one log batch, replies, jobs). Threads drive it in a real node, the simulator
//! drives the very same code under virtual time.
//!
//! # A write
//!
//! ```text
//!   Input::Write ──► writes.rs: gathered with all others of its shard in this turn
//!                      └► ONE entry, proposed to the core (flotilla-raft)
//!                           ├► messages: appends leave before our own fsync
//!                           └► batch: one for all shards of the turn ──► log thread: one write, one fdatasync
//!   Input::Persisted ──► the core counts us among those that hold the entry
//!   Input::Peer (append reply) ──► committed ──► apply.rs ──► one reply per operation
//! ```
//!
//! # A read
//!
//! All linearizable reads of a turn share one ReadIndex round. When it is confirmed and the state machine has applied
//! that far, each is served from the overlay, or becomes a job for the reader pool with a view of the base.
//!
//! # Where to read on
//!
//! `boundary.rs` (what goes in and out, and the order of effects), `worker.rs` (the turn), `replica.rs` (one replica's
//! part of it), `writes.rs`, `reads.rs`, `apply.rs`, `flushing.rs`, `install.rs`, `recovery.rs`; small rooms:
//! `log_queue.rs`, `timers.rs`, `sleepers.rs`, `sleep.rs`, `support/` (what nodes promise each other), `promises.rs`, `tail.rs`, `birth.rs`, `members.rs`, `quarantine.rs`,
//! `transfer.rs`, `refusal.rs`, `status.rs`.
//!
//! # What it does not do
//!
//! It does not know addresses, connections or streams: a message goes to a node id. It decides nothing about the
//! fleet: which replicas live here comes from the cluster map, by [`Input::Create`] and
//! [`Input::Retire`]. It never waits.

mod apply;
mod birth;
mod boundary;
mod flushing;
mod install;
mod log_queue;
mod members;
mod options;
mod pace;
mod promises;
mod quarantine;
mod reads;
mod recovery;
mod refusal;
mod replica;
mod results;
mod sleep;
mod sleepers;
mod status;
mod support;
mod tail;
mod timers;
mod transfer;
mod worker;
mod writes;

pub use birth::{Birth, BirthError};
pub use boundary::{
    Answer, BaseJob, BatchTicket, Consistency, Effects, Event, Input, Now, ReadJob, Refusal, Reply, Served,
    SnapshotJob, Token,
};
pub use options::Options;
pub use quarantine::Quarantine;
pub use recovery::{RecoveredReplica, RecoveryError, ended, recover};
pub use sleep::Wakeup;
pub use status::{FollowerStatus, ReplicaStatus};
pub use support::{Beat, BeatAnswer, FallenLeader, Pair, Restart, SupportOptions, Supports};
pub use worker::Worker;
