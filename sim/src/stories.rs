//! One move, told again and again: whoever takes part ends at each durable step, and every earlier decision comes again later. An
//! operator wants it, or rot in the log of the source: then the controller begins it by itself.
//!
//! A calm fleet of four nodes, all of whose chance is that of one seed, so that every telling goes alike up to the point where it is
//! told otherwise.
//!
//! ```text
//!   node 1   r1, leads: the source        node 2, 3   r2, r3; one leads the meta shard: the controller        node 4   the destination
//!
//!   learner ─▶ snapshot ─▶ caught up ─▶ another leads ─▶ joint ─▶ left ─▶ settled ─▶ reported ─▶ r1 ends
//! ```

use std::time::Duration;

use flotilla_node::controller::{Step, orders};
use flotilla_node::host::Input;
use flotilla_node::runtime::swap_of;
use flotilla_raft::{Index, LogId, Message, ReplicaId, Rpc, Term};
use flotilla_topology::{Change, Epoch, MoveId, NodeId, ShardId};

use crate::coverage::Coverage;
use crate::faults::Hit;
use crate::rounds::Order;
use crate::runs::{Failure, guarded};
use crate::scenario::Scenario;
use crate::script::{Crash, Script};
use crate::world::{Waiter, World};

/// The shard that moves.
pub const SHARD: ShardId = ShardId(1);
/// How often it is looked how far the story is.
const LOOK_US: u64 = 5_000;
/// The move begins when there is something to copy.
const BEGINS_US: u64 = 1_500_000;
/// A story in which so much time passes does not end.
const ENDS_US: u64 = 12_000_000;

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Gives its replica up, and leads.
    pub source: NodeId,
    /// Gets one: another node, if any has room.
    pub destination: NodeId,
    /// Leads the meta shard.
    pub controller: NodeId,
}

/// Why a replica moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// An operator wants it to.
    #[default]
    Wish,
    /// Its log has rotted, and another node has room.
    Rot,
    /// Its log has rotted, and no other node has room: it is replaced where it is.
    RotInPlace,
}

/// What moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// A replica of a shard, off a node that does not lead the meta shard.
    #[default]
    Shard,
    /// The same, off the node that leads the meta shard: its controller.
    OfTheController,
    /// The replica of the meta shard that leads it: the controller is another one in the end.
    Meta,
}

/// How a move is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plot {
    /// What moves.
    pub what: What,
    /// Why it is begun.
    pub cause: Cause,
    /// Somebody ends at a step.
    pub crash: Option<Crash>,
    /// An operator has the move undone: at that end, or when the map has changed so often since the move began.
    pub cancel: Option<Cancel>,
    /// At each state all that was decided before is ordered again.
    pub again: bool,
    /// When the move is over, rot takes the tombstone of whoever left.
    pub lost_tombstone: Option<Hit>,
}

/// When a move is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// When somebody has ended.
    AtTheCrash,
    /// When the map has changed so often since the move began.
    AfterChanges(u64),
}

/// What came of a story.
#[derive(Debug)]
pub struct Told {
    /// Who took part.
    pub cast: Option<Cast>,
    /// The broken promise, if there is one.
    pub failure: Option<Failure>,
    /// The configurations of the shard, after the first one.
    pub members: Vec<String>,
    /// What was written down.
    pub script: Script,
    /// What was seen.
    pub coverage: Coverage,
    /// How often earlier decisions were ordered again, and how many of these orders were taken.
    pub again: (usize, usize),
}

impl Plot {
    /// The shard that moves.
    const fn shard(&self) -> ShardId {
        match self.what {
            What::Shard | What::OfTheController => SHARD,
            What::Meta => ShardId::META,
        }
    }
}

/// Tells a move.
#[must_use]
pub fn tell(plot: Plot) -> Told {
    let mut world = World::new(calm(plot.cause));
    let script = Script { crash: plot.crash, ..Script::default() };
    world.script = Some(Box::new(script));
    let mut story =
        Story { plot, cast: None, begun: Epoch(0), states: Vec::new(), orders: Vec::new(), again: (0, 0) };
    let failure = guarded(&mut world, |world| story.run(world));
    Told {
        cast: story.cast,
        failure,
        members: world.judges.members.changes(plot.shard()),
        coverage: world.coverage.clone(),
        again: story.again,
        script: world.script.map(|script| *script).unwrap_or_default(),
    }
}

/// A fleet in which nothing goes wrong by itself. Its log keeps so little that a new replica needs a snapshot.
fn calm(cause: Cause) -> Scenario {
    let mut scenario = Scenario::calm(if cause == Cause::RotInPlace { 3 } else { 4 });
    scenario.moves = true;
    scenario.operations_max = 60;
    scenario.habits.rest_us_max = 10_000;
    scenario.options = flotilla_node::host::Options {
        flush_bytes: 1 << 10,
        flush_interval: Duration::from_millis(100),
        log_retain_bytes: 256,
        ..flotilla_node::host::Options::default()
    };
    scenario
}

struct Story {
    plot: Plot,
    cast: Option<Cast>,
    /// The epoch with which the move began.
    begun: Epoch,
    /// The states that were seen: the map, and the entry of the newest configuration.
    states: Vec<(Epoch, Index)>,
    /// What a controller may have decided at any of them.
    orders: Vec<Order>,
    again: (usize, usize),
}

impl Story {
    fn run(&mut self, world: &mut World) {
        world.run_until(BEGINS_US);
        let cast = self.cast(world);
        self.cast = Some(cast);
        if let Some(script) = &mut world.script {
            script.counts = true;
        }
        self.begun = world.map.epoch;
        if self.plot.cause != Cause::Wish {
            world.rot_frame(cast.source, Hit::Records, |shards| shards == [SHARD]);
        }
        let start = Change::StartMove { shard: self.plot.shard(), from: cast.source, to: cast.destination };
        let mut is_begun = false;
        while world.now_us < ENDS_US {
            if world.map.greatest_move == MoveId(0) && self.plot.cause != Cause::Wish {
                // The controller has not begun it yet.
            } else if world.map.greatest_move == MoveId(0) {
                // It may be lost with whoever leads the meta shard; it makes one move in any case.
                if !is_begun || world.now_us.is_multiple_of(500_000) {
                    is_begun = world.wish(start.clone());
                }
            } else if world.map.moves.is_empty() && world.nothing_left() {
                break;
            }
            self.cancel(world);
            world.run_until(world.now_us + LOOK_US);
            self.look(world);
        }
        if let Some(script) = &mut world.script {
            script.counts = false;
        }
        self.repeat(world);
        world.run_until(world.now_us + 500_000);
        if let Some(hit) = self.plot.lost_tombstone {
            lose_tombstone(world, cast, hit);
        }
        world.settle();
    }

    /// The source leads its shard; the meta shard is led by whom the plot wants.
    fn cast(&self, world: &mut World) -> Cast {
        let shard = self.plot.shard();
        let source = match self.plot.what {
            What::Shard | What::OfTheController => leader(world, shard),
            // As in the other stories, r1 is the one that leaves.
            What::Meta => {
                world.map.node_of(shard, ReplicaId(1)).unwrap_or_else(|| panic!("{shard} has no r1"))
            }
        };
        let nodes = world.node_ids();
        let free = nodes.iter().copied().find(|node| world.map.replica_on(shard, *node).is_none());
        let destination = free.unwrap_or(source);
        let controls = |node: &NodeId| (*node == source) == (self.plot.what != What::Shard);
        let able = |node: &NodeId| controls(node) && world.map.replica_on(ShardId::META, *node).is_some();
        let to = nodes.iter().copied().find(able);
        let now = leader(world, ShardId::META);
        if !controls(&now) {
            world.ask(now, Waiter::Nobody, |token| Input::Transfer { shard: ShardId::META, token, to });
            world.run_until(world.now_us + 500_000);
        }
        Cast { source, destination, controller: leader(world, ShardId::META) }
    }

    fn cancel(&self, world: &mut World) {
        let due = match self.plot.cancel {
            None => false,
            Some(Cancel::AtTheCrash) => world.script.as_ref().is_some_and(|script| script.crashed),
            Some(Cancel::AfterChanges(changes)) => world.map.epoch.0 >= self.begun.0 + changes,
        };
        let open = world.map.moves.iter().find(|(_, moving)| !moving.cancelled).map(|(id, _)| *id);
        if let Some(id) = open.filter(|_| due && world.now_us.is_multiple_of(10 * LOOK_US)) {
            world.wish(Change::CancelMove { id });
        }
    }

    /// At each new state, what was decided at earlier ones is ordered again.
    fn look(&mut self, world: &mut World) {
        let state = (world.map.epoch, world.judges.members.newest(self.plot.shard()).0);
        if self.plot.again && !self.states.contains(&state) {
            self.states.push(state);
            self.repeat(world);
        }
        if self.plot.again {
            let seen = world.seen_now();
            for (_, shard, decision) in orders(&world.map.clone(), &seen).moves {
                if let Step::Propose { change, derived_from, .. } = decision.step {
                    let order = Order::Change { shard, change, derived_from };
                    if !self.orders.contains(&order) {
                        self.orders.push(order);
                    }
                }
            }
        }
    }

    /// Orders all that was ever decided, and writes all maps that were ever written.
    fn repeat(&mut self, world: &mut World) {
        let Some(script) = world.script.as_ref().filter(|_| self.plot.again) else { return };
        let (mut orders, swaps, accepted) =
            (script.orders.clone(), script.swaps.clone(), script.accepted.len());
        orders.extend(self.orders.iter().cloned());
        orders.retain(|order| matches!(order, Order::Change { .. }));
        if let Some(leader) = world.leader(self.plot.shard()) {
            self.again.0 += orders.len();
            orders.into_iter().for_each(|order| world.ordered(leader, order));
        }
        if let Some(leader) = world.leader(ShardId::META) {
            for (expected, map) in swaps {
                let operation = swap_of(expected, map.encode().into());
                let write = |token| Input::Write { shard: ShardId::META, token, operation };
                world.ask(leader, Waiter::Nobody, write);
            }
        }
        world.run_until(world.now_us + LOOK_US);
        self.again.1 += world.script.as_ref().map_or(0, |script| script.accepted.len()) - accepted;
    }
}

fn leader(world: &mut World, shard: ShardId) -> NodeId {
    world.leader(shard).unwrap_or_else(|| panic!("{shard} has no leader"))
}

/// Nothing is left at the source but the tombstone of r1: rot takes that, and the node starts again, twice. Each time somebody who was
/// away brings it the first map, which places r1 there, and a question that r1 was once asked.
fn lose_tombstone(world: &mut World, cast: Cast, hit: Hit) {
    // What is written after it states that it had been durable.
    for _ in 0..2 {
        let leader = world.leader(ShardId::META).unwrap_or(cast.controller);
        world.ask(leader, Waiter::Nobody, |token| Input::Transfer { shard: ShardId::META, token, to: None });
        world.run_until(world.now_us + 500_000);
    }
    world.rot_frame(cast.source, hit, |shards| shards.contains(&SHARD));
    for _ in 0..2 {
        world.run_until(world.now_us + 200_000);
        world.bring_first_map(cast.source);
        let rpc = Rpc::Vote { last: LogId::new(Index(1 << 40), Term(1 << 20)), transfer: true };
        let vote = Message { from: ReplicaId(2), to: ReplicaId(1), term: Term(1 << 20), rpc };
        world.late_message(cast.source, SHARD, vote);
        world.run_until(world.now_us + 200_000);
        world.end_process(cast.source);
        world.start_at(world.now_us + 10_000, cast.source);
    }
}
