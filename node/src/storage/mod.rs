//! The data directory: who owns it, and what it says of the node.
//!
//! ```text
//!   DIR/LOCK      locked while a process lives; holds its pid
//!   DIR/STAMP     format, node id, random directory id, how far the node has come into a cluster
//!   DIR/BOOT      how often the node was started
//!   DIR/SUPPORT   the longest support that it may ever have promised
//!   DIR/GENESIS   the first cluster map, written once, before the stamp says that the fleet is founded
//!   DIR/MAP       the newest cluster map that reached the node: a cache, but one that finds a moved shard 0
//!   DIR/wal/      the shared log
//!   DIR/base/     the base of the state machines
//! ```
//!
//! Why a stamp: Raft is safe only while a replica remembers its votes. A directory that belongs to another node, to
//! another cluster, or to nobody must never be taken for the one that holds them. The bytes are described in
//! `docs/formats/directory.md`.
//!
//! Reading order: `directory.rs` (the door), `stamp.rs` (what the stamp says), `sealed.rs` (small files that are
//! replaced in one step and checked when read), `real_disk.rs` (the disk of the shared log), `resting.rs` (a look while no node runs), `chance.rs` (random ids).
//!
//! Not here: what the map means (topology), what the log and the base hold (wal, store), who decides about
//! the stamp (`bootstrap`).

mod chance;
mod codec;
mod direct;
mod directory;
mod error;
mod real_disk;
mod resting;
mod sealed;
mod stamp;

pub use chance::{Chance, SystemChance};
pub use directory::{Boot, DataDirectory};
pub use error::DirectoryError;
pub use real_disk::{RealDisk, RealFile};
pub use resting::Resting;
pub use stamp::{BootId, ClusterId, DirectoryId, Founding, FoundingNode, Membership, Stamp};

pub use codec::CodecError;
