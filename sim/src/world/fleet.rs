//! How a fleet grows and shrinks: nodes that were not there when it was founded ask to be let in, as `kvnode --join` does
//! (`node/src/bootstrap/join.rs`); machines that are lost for good are removed by force; who was removed is stopped by its operators.
//!
//! ```text
//!   join     n5 asks ─▶ whoever leads the meta shard: Change::Join ─▶ the map that names n5 ─▶ n5 starts, with an empty disk
//!   lose     the power of n2 fails for good ─▶ check_force ─▶ Change::RemoveByForce ─▶ the controller replaces its replicas, and removes it
//!            (some come back, before or after)
//!   removed  n2 is a member no more, and its process is stopped: soon, not at once
//! ```
//!
//! What decides is the product's: `ClusterMap::apply`, `check_force`, and the controller. A node speaks to whom its own map names, and
//! listens to everybody of its cluster, as the transport does.

use std::collections::BTreeSet;
use std::sync::Arc;

use flotilla_node::controller::check_force;
use flotilla_topology::{Change, ClusterMap, Leaving, NodeId};

use super::{World, info_of};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::event::{AtNode, Event};
use crate::faults::FaultKind;
use crate::node::Node;

/// Between two looks of operators at what they wait for.
const LOOK_US: u64 = 1_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Who asks to be let in, and does not know yet that it was.
    pub asking: BTreeSet<NodeId>,
    /// Machines that are lost for good, and not removed yet.
    pub lost: BTreeSet<NodeId>,
    /// What a rebalance has still to begin, if one is under way.
    pub evening: Option<super::evening::Evening>,
}

/// One step of it.
#[derive(Debug)]
pub enum FleetStep {
    /// A node asks to be let in, unless it was.
    Ask(NodeId),
    /// A node hears that it was let in.
    LetIn(NodeId, Arc<ClusterMap>),
    /// Operators have a lost machine removed by force.
    Force(NodeId),
    /// A machine that was lost is found.
    Found(NodeId),
    /// Operators want a drained node to leave the fleet, empty or not.
    Leave(NodeId),
    /// Operators stop the process of a node that was removed.
    Stop(NodeId),
    /// It is time to look how far the rebalance is.
    Even,
}

impl World {
    pub(super) fn fleet_step(&mut self, step: FleetStep) {
        match step {
            FleetStep::Ask(id) => self.ask_to_join(id),
            FleetStep::LetIn(id, map) => self.join(id, map),
            FleetStep::Force(id) => self.force_out(id),
            FleetStep::Found(id) => self.find_again(id),
            FleetStep::Leave(id) => self.leave(id),
            FleetStep::Stop(id) => self.stop(id),
            FleetStep::Even => self.evening_due(),
        }
    }

    fn fleet_step_at(&mut self, at_us: u64, step: FleetStep) {
        self.events.push(at_us, Event::Fleet(step));
    }

    /// Whether the map of one node names another, so that it speaks to it.
    pub(super) fn knows(&mut self, id: NodeId, other: NodeId) -> bool {
        self.node(id).map.nodes.contains_key(&other)
    }

    /// Whom a node speaks to.
    pub(super) fn peers(&mut self, id: NodeId) -> Vec<NodeId> {
        self.node(id).map.nodes.keys().copied().filter(|other| *other != id).collect()
    }

    /// A machine with an empty disk asks to be let in. Its id is one that the fleet never had.
    pub(crate) fn one_more_node(&mut self) -> NodeId {
        let id = NodeId(self.nodes.keys().last().map_or(1, |last| last.0 + 1));
        let mut chance = Chance::new(self.scenario.seed ^ id.0 << 48, "nodes");
        let drifts = self.scenario.faults.contains(&FaultKind::Drift);
        let drift_ppm = if drifts { super::drift_ppm(&mut chance) } else { 0 };
        let clock = Clock { drift_ppm, ..Clock::default() };
        self.nodes.insert(id, Node::new(id, chance.number(), clock, Arc::clone(&self.genesis)));
        self.fleet.asking.insert(id);
        self.fleet_step_at(self.now_us, FleetStep::Ask(id));
        id
    }

    /// It asks whom it takes for the leader of the meta shard, mostly rightly, until it hears that it was let in.
    fn ask_to_join(&mut self, id: NodeId) {
        if !self.fleet.asking.contains(&id) {
            return;
        }
        let running = self.running();
        let any = self.operators.pick(&running).copied();
        let leader = self.leader(flotilla_topology::ShardId::META).filter(|_| self.operators.permille(800));
        if let Some(at) = leader.or(any) {
            for at_us in self.network.deliveries(id, at, self.now_us) {
                let boot = self.node(at).boot;
                self.events.push(at_us, Event::AtNode(at, boot, AtNode::AskedIn(id)));
            }
        }
        let again_us = self.now_us + self.operators.between(100_000, 600_000);
        self.fleet_step_at(again_us, FleetStep::Ask(id));
    }

    pub(super) fn asked_in(&mut self, id: NodeId, asks: NodeId) {
        self.change_map(id, join_of(asks, directory_of(asks)));
    }

    /// The map names who asked. Its answer may be lost: then it asks again.
    pub(super) fn let_in(&mut self, id: NodeId, asked: NodeId, map: &Arc<ClusterMap>) {
        for at_us in self.network.deliveries(id, asked, self.now_us) {
            self.fleet_step_at(at_us, FleetStep::LetIn(asked, Arc::clone(map)));
        }
    }

    /// A node knows that it was let in, and starts.
    fn join(&mut self, id: NodeId, map: Arc<ClusterMap>) {
        if self.fleet.asking.remove(&id) {
            self.coverage.count("nodes that joined and started");
            self.node(id).cached_map = map;
            self.start(id);
        }
    }

    /// Somebody asks under an id that the fleet knows, or knew, with a directory that it does not.
    pub(crate) fn join_under_a_known_id(&mut self) -> bool {
        let mut known: Vec<NodeId> = self.judges.nodes.gone().iter().copied().collect();
        if known.is_empty() {
            known.extend(self.map.nodes.keys());
        }
        let Some(id) = self.operators.pick(&known).copied() else { return false };
        self.coverage.count("joins under an id that is known");
        self.wish(join_of(id, directory_of(id) + (1 << 64)))
    }

    /// The nodes that are up and stay.
    pub(crate) fn homes(&self) -> Vec<NodeId> {
        self.running().into_iter().filter(|node| self.map.is_home(*node)).collect()
    }

    /// Whether the fleet can do without a node: the others have room for its replicas, and clients know some of them.
    pub(crate) fn can_spare(&self, node: NodeId) -> bool {
        let others = self.homes().into_iter().filter(|other| *other != node).count();
        let founders = self.genesis.nodes.keys().filter(|it| **it != node && self.map.is_home(**it)).count();
        others >= self.scenario.replicas && founders >= 2
    }

    /// A machine is lost for good: so its operators think.
    pub(crate) fn lose_machine(&mut self, id: NodeId) {
        self.faults.suffer(id, u64::MAX);
        self.cut_power(id);
        self.node(id).dead = Some("lost for good".to_owned());
        self.fleet.lost.insert(id);
        let force_us = self.now_us + self.operators.between(300_000, 3_000_000);
        self.fleet_step_at(force_us, FleetStep::Force(id));
        if self.operators.permille(400) {
            let found_us = self.now_us + self.operators.between(1_000_000, 10_000_000);
            self.fleet_step_at(found_us, FleetStep::Found(id));
        }
    }

    /// As `kvctl node remove --force`, again and again until it is recorded.
    fn force_out(&mut self, id: NodeId) {
        if !self.fleet.lost.contains(&id) {
            return;
        }
        if self.map.leaving.get(&id) != Some(&Leaving::Removed) {
            let (map, seen) = (Arc::clone(&self.map), self.seen_now());
            if let Err(obstacle) = check_force(&map, &seen, id) {
                self.trace.line(self.now_us, || format!("{id} cannot be removed: {obstacle}"));
            } else {
                self.wish(Change::RemoveByForce { node: id });
            }
        }
        self.fleet_step_at(self.now_us + LOOK_US, FleetStep::Force(id));
    }

    /// The machine is there again, with all that was on its disk. Perhaps the fleet has replaced it meanwhile.
    fn find_again(&mut self, id: NodeId) {
        if self.is_peace() || self.node(id).dead.is_none() {
            return;
        }
        self.node(id).dead = None;
        self.fleet.lost.remove(&id);
        self.faults.recover(id);
        self.sick.remove(&id);
        self.start(id);
        let is_gone = self.judges.nodes.gone().contains(&id);
        self.coverage.count(if is_gone {
            "lost machines that came back, removed"
        } else {
            "lost machines that came back"
        });
        if is_gone {
            self.stop_soon(id);
        }
    }

    /// Who joined, became empty, or left between the map before and the one that is known now.
    pub(super) fn note_nodes(&mut self, before: &ClusterMap) {
        let map = Arc::clone(&self.map);
        let joined = map.nodes.keys().filter(|node| !before.nodes.contains_key(node));
        self.coverage.add("nodes joined", joined.count() as u64);
        for (node, how) in &before.leaving {
            let had = before.replicas_on(*node).next().is_some();
            let is_drained = had && *how == Leaving::Drained && map.leaving.contains_key(node);
            let is_empty = is_drained && map.replicas_on(*node).next().is_none();
            self.coverage.add("nodes drained", u64::from(is_empty));
        }
        for node in before.nodes.keys().copied().filter(|node| !map.nodes.contains_key(node)) {
            let by_force = before.leaving.get(&node) == Some(&Leaving::Removed);
            self.coverage.count(if by_force { "nodes removed by force" } else { "nodes removed" });
            self.trace.line(self.now_us, || format!("{node} is no member any more"));
            self.sick.remove(&node);
            self.faults.recover(node);
            if !self.fleet.lost.remove(&node) {
                self.stop_soon(node);
            }
        }
    }

    /// A node shall be empty and leave. Operators do not wait until it is: the map refuses them.
    pub(crate) fn drain_to_leave(&mut self, id: NodeId) -> bool {
        let leaves_us = self.now_us + self.operators.between(50_000, 2_000_000);
        self.fleet_step_at(leaves_us, FleetStep::Leave(id));
        self.wish(Change::Drain { node: id })
    }

    fn leave(&mut self, id: NodeId) {
        let is_drained = self.map.leaving.get(&id) == Some(&Leaving::Drained);
        if is_drained && self.can_spare(id) {
            self.wish(Change::RemoveNode { node: id });
        }
    }

    fn stop_soon(&mut self, id: NodeId) {
        let at_us = self.now_us + self.operators.between(100_000, 5_000_000);
        self.fleet_step_at(at_us, FleetStep::Stop(id));
    }

    /// The process of a node that was removed ends for good.
    pub(super) fn stop(&mut self, id: NodeId) {
        self.end_process(id);
        self.node(id).dead = Some("removed".to_owned());
    }
}

/// The directory that a node joins with.
fn directory_of(node: NodeId) -> u128 {
    u128::from(node.0)
}

fn join_of(node: NodeId, directory: u128) -> Change {
    Change::Join { node, info: info_of(node), directory }
}
