//! Whoever promised a leader their support start again, with a shorter one or the same, while the leader is cut off and trusts it.
//!
//! ```text
//!   leader      ├─ beats ─┤ cut off; reads by its lease ──────────────│
//!   followers   ├ promise ┤ end, start ├──── vote for nobody ─────────┤ elect another
//!                         └───────────── the promise ─────────────────│
//! ```
//!
//! Worlds with all their faults come upon it too seldom: all who could elect another must start within one promise.

use std::time::Duration;

use flotilla_topology::ShardId;

use crate::network::Block;
use crate::runs::{Failure, guarded};
use crate::scenario::Scenario;
use crate::world::World;

const SHARD: ShardId = ShardId(1);
/// Longer than two election timeouts, so that who does not wait for it elects within it.
const SUPPORT: Duration = Duration::from_millis(700);
/// Everybody follows by then.
const BEGINS_US: u64 = 1_500_000;
/// How long processes are down.
const DOWN_US: u64 = 1_000;
/// The leader is back after so long; until then the others have elected another.
const CUT_US: u64 = 3_000_000;

/// Tells it. The broken promise, if there is one.
///
/// # Panics
/// The story does not come to its point: the leader has no lease, or nobody else is elected.
#[must_use]
pub fn start_again(shorter: bool) -> Option<Failure> {
    let mut world = World::new(calm());
    guarded(&mut world, |world| run(world, shorter))
}

/// Three nodes, to which nothing happens by itself.
fn calm() -> Scenario {
    let mut scenario = Scenario::calm(3);
    (scenario.support, scenario.clock_drift_ppm_max) = (SUPPORT, 200);
    scenario.options.raft.idle_after = None;
    scenario
}

fn run(world: &mut World, shorter: bool) {
    // Some begin with a shorter support: the second lives of all promise the whole of it.
    for id in world.node_ids() {
        world.end_process(id);
        world.node(id).choose_support(false);
        world.start_at(world.now_us + DOWN_US, id);
    }
    world.run_until(BEGINS_US);
    let leader = world.leader(SHARD).unwrap_or_else(|| panic!("{SHARD} has no leader"));
    let mut lease =
        world.statuses(SHARD).into_iter().filter_map(|(id, it)| it.lease.filter(|_| id == leader));
    assert!(lease.next().is_some(), "{leader} has no lease");
    let won = world.coverage.of("elections won");
    let until_us = world.now_us + CUT_US;
    for other in world.node_ids().into_iter().filter(|other| *other != leader) {
        world.network.block(leader, other, Block::Cut, until_us);
        world.network.block(other, leader, Block::Cut, until_us);
        world.end_process(other);
        world.node(other).choose_support(shorter);
        world.start_at(world.now_us + DOWN_US, other);
    }
    world.run_until(until_us);
    assert!(world.coverage.of("elections won") > won, "nobody else was elected");
    world.settle();
}
