//! How a fleet is founded, once, and how a node joins it later.
//!
//! Why so much care: were two clusters founded by one command, each would acknowledge writes that the other does not have; and were
//! a node that lost its directory let in again, it could vote twice in one term.
//!
//! ```text
//!   lowest id                                          each other node
//!   ask all: who are you?  ── Probe ──▶                blank, or promised
//!   draw the cluster id, write Promised
//!   be of this cluster     ── Adopt ──▶                write Promised, confirm
//!   all confirmed: write GENESIS and Founded
//!   the fleet is founded   ── Adopt(map) ──▶           write GENESIS and Founded
//!   run                                                run
//! ```
//!
//! A node starts only when its own stamp says Founded. The lowest id writes that only after every named node has written
//! Promised; the others only when a founded node gave them the genesis map. So a founded node proves that all nodes have promised
//! themselves to one cluster, and a blank directory of a founded fleet proves that it was wiped.
//!
//! A node that has promised asks all others again and again; any founded one that is asked hands it the map. So the
//! fleet is complete even if the lowest id never comes back after founding it.
//!
//! Reading order: `machine.rs` (who may do what; no I/O; its tests enumerate crashes), `answer.rs` (what nodes say to each
//! other), `door.rs` (answers the others), `driver.rs` (asks them), `join.rs` (a fleet that runs is joined), `error.rs`.

mod answer;
mod door;
mod driver;
mod error;
mod join;
mod machine;

pub use door::Door;
pub use driver::{FirstStart, Founded, Options, found};
pub use error::{BootstrapError, Difference};

#[cfg(test)]
mod tests;
