//! Carries out the moves of replicas, and answers the nodes that do.
//!
//! ```text
//!   Mover (on the node that leads the meta shard)                   Office (on every node)
//!     observe ────────── Inspect, to all nodes of the shard ──────▶ replicas, with their members
//!     read the map, linearizably
//!     controller::next ─ what to do now
//!     report ─────────── compare and swap of the map
//!     propose ────────── ChangeMembers, to the shard's leader ────▶ the host judges it
//!     hand over ──────── HandOver ────────────────────────────────▶
//! ```
//!
//! A round of the mover keeps nothing but what it tells whoever lists moves. So it may end at any point, on this node or with
//! it: the next round, wherever it is, observes again. That the replica of a finished move ends is not its work either: each node
//! ends what the map names no more (`runtime/fleet.rs`).
//!
//! What nodes that leave or are dead make necessary is begun in the same rounds, by one compare and swap of the map that it was decided on.
//!
//! Reading order: `driver.rs` (the rounds), `leaving.rs` (what operators ask of whole nodes), `peers.rs` (how nodes are asked), `office.rs` (how they answer), `wire.rs`.
//!
//! What it does not do: decide. `controller/` does.

mod driver;
mod leaving;
mod office;
mod peers;
mod wire;

pub use driver::{Mover, Readied};
pub use leaving::NodeChange;
pub use office::Office;
pub use wire::decode_seen;
