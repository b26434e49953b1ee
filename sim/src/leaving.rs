//! A replica is replaced, and the members of the shard fall silent at the very moment at which it has left.
//!
//! ```text
//!   node 1   r1 leaves; leads the meta shard      ├──────────── must not drop r1 yet ─────────────│ may
//!   leader   joint ─▶ left, and applied           ├─ commits nothing more ─┤ leads no more ───────│
//!   others   have acknowledged that               ┤ end                                           ├ start
//! ```
//!
//! Who is elected next may be one that never heard that the joint configuration is over: it needs a majority of the old half too, and r1
//! counts there. Worlds come upon it too seldom: a leader commits the entry that settles its members within a millisecond.

use flotilla_node::host::Input;
use flotilla_topology::{Change, NodeId, ShardId};

use crate::runs::{Failure, guarded};
use crate::scenario::Scenario;
use crate::stories::SHARD;
use crate::world::{Waiter, World};

/// The move begins when everybody follows.
const BEGINS_US: u64 = 1_500_000;
/// How often it is looked how far the move is: an entry takes longer to be committed.
const LOOK_US: u64 = 100;
/// By then it is done.
const ENDS_US: u64 = 6_000_000;
/// The others are down for so long: many rounds of the controller.
const DOWN_US: u64 = 500_000;

/// Tells it. What the shard's configurations were, or the broken promise.
///
/// # Errors
/// The broken promise.
///
/// # Panics
/// The story does not come to its point: the replica never leaves.
pub fn leave_unsettled() -> Result<Vec<String>, Failure> {
    let mut scenario = Scenario::calm(4);
    (scenario.moves, scenario.operations_max) = (true, 20);
    let mut world = World::new(scenario);
    guarded(&mut world, run).map_or_else(|| Ok(world.judges.members.changes(SHARD)), Err)
}

fn run(world: &mut World) {
    world.run_until(BEGINS_US);
    let source = world.leader(SHARD).unwrap_or_else(|| panic!("{SHARD} has no leader"));
    if let Some(controller) = world.leader(ShardId::META).filter(|it| *it != source) {
        let to = Some(source);
        world.ask(controller, Waiter::Nobody, |token| Input::Transfer { shard: ShardId::META, token, to });
        world.run_until(world.now_us + 500_000);
    }
    assert_eq!(world.leader(ShardId::META), Some(source), "the source leads the meta shard");
    let nodes = world.node_ids();
    let free = nodes.into_iter().find(|node| world.map.replica_on(SHARD, *node).is_none());
    let to = free.unwrap_or_else(|| panic!("no node is free"));
    assert!(
        world.wish(Change::StartMove { shard: SHARD, from: source, to }),
        "somebody leads the meta shard"
    );
    let leader = loop {
        assert!(world.now_us < ENDS_US, "the replica never left");
        if let Some(leader) = has_left(world, source) {
            break leader;
        }
        world.run_until(world.now_us + LOOK_US);
    };
    for other in world.node_ids().into_iter().filter(|other| ![source, leader].contains(other)) {
        world.end_process(other);
        world.start_at(world.now_us + DOWN_US, other);
    }
    world.run_until(world.now_us + 2 * DOWN_US);
    world.settle();
}

/// Who leads the shard without the source, which is still a member by the map.
fn has_left(world: &mut World, source: NodeId) -> Option<NodeId> {
    let leaving = world.map.replica_on(SHARD, source)?;
    let mut led = world.statuses(SHARD).into_iter().filter(|(_, status)| status.leads());
    led.find(|(_, status)| !status.configuration.is_joint() && !status.configuration.is_member(leaving))
        .map(|(node, _)| node)
}
