//! The shared write-ahead log: one per node, for all its shards.
//!
//! What: workers hand over [`Batch`]es of [`Record`]s; [`Log::append`] writes them as one frame with one write and
//! one `fdatasync`, however many shards they speak of. [`Log::open`] gives back what every shard had been promised.
//!
//! Why one log: a node hosts many replicas, and a sync costs the same for one of them as for all. The live part of
//! every shard's Raft log stays in the memory of its replica; this log is read only when a node starts, and by its
//! own garbage collector.
//!
//! Rot (damage to what had been durable) is never cut silently: [`Log::open`] refuses it, [`Log::open_quarantining`] takes the
//! shards that it concerns out of service, for ever and durably, and goes on with the others.
//!
//! What it does not do: no threads, no clock, no paths (see [`Disk`]), no locking of the directory, no index for
//! reading single entries.
//!
//! Reading order: `record.rs` (what is remembered), `spent.rs` (what others remember), `frame.rs` and `segment.rs` (bytes),
//! `log.rs` (open, append, rotate), `shelf.rs` (spare files), `scan.rs`, `replay.rs` and `recovery.rs` (what is found at start),
//! `book.rs` and `collect.rs` (garbage collection), [`inspect`] (a look without opening), [`simulated`] (the disk of the tests).

mod book;
mod codec;
mod collect;
mod disk;
mod error;
mod frame;
pub mod inspect;
mod log;
mod options;
mod record;
mod recovery;
mod replay;
mod scan;
mod segment;
mod shelf;
pub mod simulated;
mod spent;

pub use collect::Step;
pub use disk::{Disk, File};
pub use error::{AppendError, CollectError, DecodeError, OpenError};
pub use frame::FrameKind;
pub use log::{Log, Quarantined, Recovered, Rot, ShardState, Stats, TornTail};
pub use options::{Options, OptionsError};
pub use record::{Batch, Record, RotAt};
pub use segment::{BLOCK_BYTES, FORMAT_VERSION};
pub use spent::Spent;
