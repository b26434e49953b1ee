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
//! What begins by itself is derived in the same way: nodes that leave are emptied, dead ones are replaced.
//!
//! Reading order: `seen.rs` (what is observed), `plan.rs` (the next step), `start.rs` (whether a move may begin), `places.rs` (where to),
//! `errands.rs` (what begins by itself), `rounds.rs` (all of a round), `watch.rs` (who is dead), `even.rs` (what would be more even).
//!
//! What it does not do: it asks nobody and changes nothing. `moves/` does, on the node that leads the meta shard.

mod errands;
mod even;
mod places;
mod plan;
mod rounds;
mod seen;
mod start;
mod watch;

pub use errands::{
    Errands, HandOver, MOVES_AT_ONCE_MAX, Obstacle, Planned, check_force, errands, plan_emptying,
};
pub use even::{Evening, SPREAD_MAX, even};
pub use plan::{CAUGHT_UP_ENTRIES_MAX, Decision, Phase, Step, next};
pub use rounds::{Orders, concerned, is_work, orders, overlooked};
pub use seen::{FleetSeen, FollowerSeen, ReplicaSeen, ShardSeen};
pub use start::{Danger, check_start};
pub use watch::Watch;

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod tests;
