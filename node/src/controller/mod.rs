//! How a replica gets from one node to another: the next step of every move, as a pure function of the cluster map and of what
//! is observed.
//!
//! ```text
//!   the map records r4 ─▶ node 4 creates it ─▶ r4 is a learner ─▶ it caught up ─▶ another than r1 leads
//!       ─▶ joint: r4 for r1 ─▶ left, by the leader itself ─▶ settled ─▶ reported: r1 leaves the map ─▶ node 1 drops it
//! ```
//!
//! Why a function and not a program with a position in it: whoever carries out a move may die after any step, and another one
//! goes on. It knows what the map says and what the replicas say, and nothing else. So nothing else is ever asked: there
//! is no step that is "done" because somebody remembers to have asked for it.
//!
//! Two controllers may be at work for a moment, the later leader of the meta shard and one that has not heard of its end. That
//! is why
//!
//! - every proposal names the configuration that was observed, and the shard's leader refuses it when another is in effect;
//! - the shard is observed *before* the map is read, and the map is read linearizably. Whoever observed a configuration that came
//!   of a cancellation also reads the cancellation;
//! - nothing but a report is ever proposed while the map has not heard of the observed configuration.
//!
//! Reading order: `seen.rs` (what is observed), `plan.rs` (the next step), `start.rs` (whether a move may begin).
//!
//! What it does not do: it asks nobody and changes nothing. `moves/` does, on the node that leads the meta shard.

mod plan;
mod seen;
mod start;

pub use plan::{CAUGHT_UP_ENTRIES_MAX, Decision, Phase, Step, next};
pub use seen::{FollowerSeen, ReplicaSeen, ShardSeen};
pub use start::{Danger, check_start};

#[cfg(test)]
mod tests;
