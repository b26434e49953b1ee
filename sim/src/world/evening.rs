//! Rebalances, as `kvctl shard rebalance` has them done: the fleet plans (`controller::even`), the operator has the planned moves begin,
//! a few at a time, and then the leaderships go where they are fewer.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use flotilla_node::controller::{MOVES_AT_ONCE_MAX, Planned, even};
use flotilla_node::host::Input;
use flotilla_topology::{Change, NodeId, ShardId};

use super::{FleetStep, Waiter, World};
use crate::event::Event;
use crate::judges::check_even;

/// Between two looks at how far it is.
const LOOK_US: u64 = 300_000;

/// A rebalance that is under way.
#[derive(Debug, Default)]
pub(crate) struct Evening {
    /// What has not begun yet.
    open: VecDeque<Planned>,
    /// The replicas are where they shall be, and leaders were asked to hand over.
    leaders: bool,
}

impl World {
    /// An operator asks for a rebalance. Whether there is anything to do.
    pub(crate) fn rebalance(&mut self) -> bool {
        if self.fleet.evening.is_some() {
            return false;
        }
        let plan = even(&Arc::clone(&self.map), &self.seen_now());
        if plan.moves.is_empty() && plan.hand_overs.is_empty() {
            self.coverage.count("rebalances with nothing to do");
            return false;
        }
        self.trace.line(self.now_us, || format!("an operator asks for a rebalance: {plan:?}"));
        self.fleet.evening = Some(Evening { open: plan.moves.into(), leaders: false });
        self.evening_due();
        true
    }

    /// The operator looks how far it is.
    pub(super) fn evening_due(&mut self) {
        let Some(mut evening) = self.fleet.evening.take() else { return };
        let map = Arc::clone(&self.map);
        let mut moving: BTreeSet<ShardId> = map.moves.values().map(|it| it.shard).collect();
        if evening.open.is_empty() && moving.is_empty() {
            if evening.leaders {
                self.coverage.count("rebalances carried out");
                return;
            }
            self.even_leaders();
            evening.leaders = true;
        }
        // Of one shard, what comes later waits for what comes before.
        let may_be_next = |it: &Planned, moving: &BTreeSet<ShardId>| {
            moving.len() < MOVES_AT_ONCE_MAX && !moving.contains(&it.shard)
        };
        while let Some(it) = evening.open.front().copied().filter(|it| may_be_next(it, &moving)) {
            evening.open.pop_front();
            moving.insert(it.shard);
            let start = Change::StartMove { shard: it.shard, from: it.from, to: it.to };
            // One that may not begin now is left to the next rebalance.
            if self.may_begin(&start) {
                self.coverage.count("moves begun by a rebalance");
                self.wish(start);
            }
        }
        self.fleet.evening = Some(evening);
        self.events.push(self.now_us + LOOK_US, Event::Fleet(FleetStep::Even));
    }

    fn even_leaders(&mut self) {
        for it in even(&Arc::clone(&self.map), &self.seen_now()).hand_overs {
            let shard = it.shard;
            self.ask(it.at, Waiter::Nobody, |token| Input::Transfer { shard, token, to: Some(it.to) });
        }
    }

    /// In peace: whether a rebalance has nothing left to do. If it has, one is asked for.
    pub(super) fn is_even(&mut self) -> bool {
        if self.fleet.evening.is_some() || !self.moves_over() {
            return false;
        }
        !self.rebalance()
    }

    /// What a rebalance promises holds.
    pub(super) fn judge_evenness(&mut self) {
        let map = Arc::clone(&self.map);
        let homes: BTreeSet<NodeId> = self.homes().into_iter().collect();
        let mut spread = crate::judges::Spread::default();
        for (shard, info) in &map.shards {
            let places = info.replicas.values().map(|placement| placement.node).collect();
            if let Some(leader) = self.leader(*shard) {
                spread.insert(*shard, (places, leader));
            }
        }
        check_even(&spread, &homes);
    }
}
