//! Moves: the rounds of the controller, as the mover of a real node drives them (`flotilla_node::moves`). It observes, reads the map, and
//! has done what the production controller decides; questions and orders travel through the network, and orders may come late, twice, or
//! from somebody who leads the meta shard no more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flotilla_node::api::encode_replica;
use flotilla_node::controller::{FleetSeen, Step, concerned, is_work, orders, overlooked};
use flotilla_node::host::{Answer, Input, Refusal};
use flotilla_node::moves::decode_seen;
use flotilla_raft::{ConfigurationError, LogId};
use flotilla_topology::{Change, ClusterMap, NodeId, ShardId};

use super::{Waiter, World};
use crate::event::{AtNode, Event};
use crate::rounds::{MapQuestion, Order, Shown};

/// Between two rounds.
const ROUND_US: u64 = 50_000;
/// So long a round waits for answers.
const PATIENCE_US: u64 = 1_000_000;
/// Where there is no work, it is looked every so many ticks whether something is out of service.
const LOOK_TICKS: u64 = 8;
/// Every so many ticks a node says again which map it has.
const SPREAD_TICKS: u64 = 10;

impl World {
    /// A node looks whether there is something to do for its controller.
    pub(super) fn round_due(&mut self, id: NodeId) {
        let now_us = self.now_us;
        if (now_us / ROUND_US).is_multiple_of(SPREAD_TICKS) {
            self.spread_map(id);
        }
        let leads = self.leads(id, ShardId::META);
        let node = self.node(id);
        let (boot, map) = (node.boot, Arc::clone(&node.map));
        let rounds = &mut node.up().rounds;
        if !leads {
            rounds.watch = flotilla_node::controller::Watch::default();
        }
        if leads && !rounds.founded {
            self.read_map(id, MapQuestion::Found);
        }
        let looks = is_work(&map)
            || self.scenario.repair_after.is_some()
            || (now_us / ROUND_US).is_multiple_of(LOOK_TICKS);
        if leads && !self.moves_rest && looks {
            let dead = self.dead_to(id);
            self.observe(id, &map, concerned(&map, &dead), false);
            return;
        }
        self.events.push(now_us + ROUND_US, Event::AtNode(id, boot, AtNode::Round));
    }

    /// Whether a node leads a shard, by its own word.
    fn leads(&self, id: NodeId, shard: ShardId) -> bool {
        self.leading.contains(&(id, shard))
    }

    /// Whom the controller of a node takes for dead.
    fn dead_to(&mut self, id: NodeId) -> BTreeSet<NodeId> {
        let (now, grace) = (self.since_start(id), self.scenario.repair_after);
        let watch = &self.node(id).up().rounds.watch;
        grace.map(|grace| watch.dead(now, grace)).unwrap_or_default()
    }

    fn observe(&mut self, id: NodeId, map: &ClusterMap, asked: BTreeSet<ShardId>, is_second: bool) {
        self.next_round += 1;
        let number = self.next_round;
        let node = self.node(id);
        let boot = node.boot;
        let rounds = &mut node.up().rounds;
        rounds.begin(number, map, asked, is_second);
        let shards = Arc::clone(&rounds.asked);
        self.coverage.count(if is_second {
            "second looks of the controller"
        } else {
            "rounds of the controller"
        });
        for other in map.nodes.keys().copied() {
            if other == id {
                let shown = self.shown(id, &shards);
                self.inspected(id, id, number, shown);
            } else if self.node(other).running.is_none() {
                // Nobody listens there: the connection is refused at once.
                self.carry(id, AtNode::Refused(other, number));
            } else if self.network.carries(id, other, self.now_us) {
                self.carry(other, AtNode::Inspect(id, number, Arc::clone(&shards)));
            }
        }
        let over_us = self.now_us + PATIENCE_US;
        self.events.push(over_us, Event::AtNode(id, boot, AtNode::RoundOver(number)));
    }

    fn since_start(&mut self, id: NodeId) -> Duration {
        let now_us = self.now_us;
        let clock = self.node(id).clock;
        Duration::from_micros(clock.now(now_us).time.0.saturating_sub(clock.offset_us))
    }

    /// What a node says of itself, and of its replicas of these shards as it says it on the wire.
    fn shown(&mut self, id: NodeId, shards: &BTreeSet<ShardId>) -> Shown {
        let running = self.node(id).up();
        let out = running.quarantine.all().into_iter().map(|(shard, out)| (shard, out.replica)).collect();
        let statuses = running.workers().iter().flat_map(|worker| worker.statuses());
        let of_these = statuses.filter(|status| shards.contains(&status.shard));
        let encoded = of_these.map(|status| encode_replica(&status, None, |_| 0));
        let decode =
            |status| decode_seen(&status).unwrap_or_else(|error| panic!("{id} shows {status:?}: {error}"));
        let replicas = encoded.map(|status| (ShardId(status.shard), decode(status))).collect();
        Shown { replicas, quarantined: out }
    }

    /// What all running nodes say of all shards, at this moment.
    pub(crate) fn seen_now(&mut self) -> FleetSeen {
        let shards = self.map.shards.keys().copied().collect();
        let mut seen = FleetSeen::default();
        for id in self.running() {
            self.shown(id, &shards).add_to(id, &mut seen);
        }
        seen
    }

    /// The controller of another node asks.
    pub(super) fn inspect(&mut self, id: NodeId, from: NodeId, number: u64, shards: &BTreeSet<ShardId>) {
        if self.network.carries(id, from, self.now_us) {
            let shown = self.shown(id, shards);
            self.carry(from, AtNode::Inspected(id, number, shown));
        }
    }

    /// A node has answered the controller of this one.
    pub(super) fn inspected(&mut self, id: NodeId, of: NodeId, number: u64, shown: Shown) {
        if self.node(id).up().rounds.answered(number, of, shown) {
            self.observed(id);
        }
    }

    /// A node cannot be asked.
    pub(super) fn not_inspected(&mut self, id: NodeId, of: NodeId, number: u64) {
        if self.node(id).up().rounds.failed(number, of) {
            self.observed(id);
        }
    }

    /// Whoever has not answered by now will not be waited for.
    pub(super) fn round_over(&mut self, id: NodeId, number: u64) {
        let rounds = &self.node(id).up().rounds;
        if rounds.observes && rounds.number == number {
            self.coverage.count("rounds that waited in vain");
            self.observed(id);
        }
    }

    fn observed(&mut self, id: NodeId) {
        let (now, grace) = (self.since_start(id), self.scenario.repair_after);
        let node = self.node(id);
        let map = Arc::clone(&node.map);
        let rounds = &mut node.up().rounds;
        rounds.observed(now, grace, &map);
        let more = overlooked(&rounds.asked, &rounds.seen);
        if more.is_empty() || rounds.is_second {
            self.read_map(id, MapQuestion::Round);
        } else {
            let asked = &*rounds.asked | &more;
            self.observe(id, &map, asked, true);
        }
    }

    /// The map was read after the observation: now it is decided. Nothing: it could not be read.
    pub(super) fn decide(&mut self, id: NodeId, stored: Option<(Arc<ClusterMap>, u64)>) {
        let node = self.node(id);
        let boot = node.boot;
        let seen = std::mem::take(&mut node.up().rounds.seen);
        if let Some((map, version)) = stored {
            let orders = orders(&map, &seen);
            if !orders.errands.changes.is_empty() {
                self.coverage.count("errands begun by the controller");
                self.replace_map(id, (&*map, version), &orders.errands.changes);
            }
            for it in orders.errands.hand_overs {
                self.order(id, it.at, &Order::HandOver { shard: it.shard, to: Some(it.to) });
            }
            for (_, shard, decision) in orders.moves {
                match decision.step {
                    Step::Wait => {}
                    Step::Report(report) => self.change_map(id, Change::Report { shard, report }),
                    Step::Propose { at, change, derived_from } => {
                        self.order(id, at, &Order::Change { shard, change, derived_from });
                    }
                    Step::HandOver { at } => self.order(id, at, &Order::HandOver { shard, to: None }),
                }
            }
        }
        self.events.push(self.now_us + ROUND_US, Event::AtNode(id, boot, AtNode::Round));
    }

    /// An order is on its way.
    fn order(&mut self, from: NodeId, at: NodeId, order: &Order) {
        if let Some(script) = &mut self.script {
            script.orders.push(order.clone());
        }
        self.trace.line(self.now_us, || format!("{from} orders of {at}: {order:?}"));
        if from == at {
            self.ordered(at, order.clone());
            return;
        }
        for at_us in self.network.deliveries(from, at, self.now_us) {
            let node = self.node(at);
            if node.running.is_some() {
                let boot = node.boot;
                let what = AtNode::Ordered(Box::new(order.clone()));
                self.events.push(at_us, Event::AtNode(at, boot, what));
            }
        }
    }

    /// An order has arrived.
    pub(crate) fn ordered(&mut self, id: NodeId, order: Order) {
        let waiter = Waiter::Order(id, Box::new(order.clone()));
        self.ask(id, waiter, |token| match order {
            Order::Change { shard, change, derived_from } => {
                Input::Change { shard, token, change, derived_from }
            }
            Order::HandOver { shard, to } => Input::Transfer { shard, token, to },
        });
    }

    /// What came of an order.
    pub(super) fn order_answered(&mut self, id: NodeId, order: &Order, answer: &Answer) {
        self.trace.line(self.now_us, || format!("{id} answers {order:?}: {answer:?}"));
        match (order, answer) {
            (Order::Change { shard, derived_from, .. }, Answer::Changing(entry)) => {
                let entry: LogId = *entry;
                self.judges.members.proposed(*shard, entry, *derived_from);
                self.coverage.count("changes of members proposed");
                if let Some(script) = &mut self.script {
                    script.accepted.push(order.clone());
                }
            }
            (Order::Change { .. }, Answer::Refused(Refusal::Members { error, .. })) => {
                self.coverage.count(match error {
                    ConfigurationError::Stale { .. } => "changes of members refused: stale",
                    ConfigurationError::Pending { .. } => "changes of members refused: one is pending",
                    ConfigurationError::NotReady { .. } => "changes of members refused: not ready",
                    _ => "changes of members refused: otherwise",
                });
            }
            _ => {}
        }
    }
}
