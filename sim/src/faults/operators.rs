//! What operators do to a fleet: not faults, but at a bad moment as good.

use flotilla_node::controller::check_start;
use flotilla_node::host::Input;
use flotilla_topology::{Change, NodeId, ShardId};

use super::FaultKind;
use crate::event::Event;
use crate::world::{Waiter, World};

/// Between two wishes of those who ask for moves, about.
const WISHES_EVERY_US: u64 = 1_200_000;
/// Of 1000 moves, how many are asked for without looking first whether they may begin.
const RASH_PERMILLE: u64 = 200;

impl World {
    pub(super) fn transfer(&mut self) -> bool {
        let shards: Vec<_> = self.map.shards.keys().copied().collect();
        let Some(shard) = self.faults.chance.pick(&shards).copied() else { return false };
        let Some(leader) = self.leader(shard) else { return false };
        let homes: Vec<_> = self.map.preference(shard).collect();
        let to = self.faults.chance.pick(&homes).copied().filter(|_| self.faults.chance.permille(700));
        self.ask(leader, Waiter::Nobody, |token| Input::Transfer { shard, token, to });
        self.coverage.count("transfers started");
        true
    }

    pub(super) fn flush(&mut self) -> bool {
        let shards: Vec<_> = self.map.shards.keys().copied().collect();
        let Some(shard) = self.faults.chance.pick(&shards).copied() else { return false };
        let nodes = self.running();
        let Some(node) = self.faults.chance.pick(&nodes).copied() else { return false };
        self.ask(node, Waiter::Nobody, |token| Input::Flush { shard, token });
        true
    }

    /// Draws what operators wish of moves between two moments.
    pub(crate) fn plan_moves(&mut self, from_us: u64, until_us: u64) {
        let of_moves = self.scenario.faults.iter().copied().filter(|kind| kind.is_of_moves());
        let mut kinds: Vec<FaultKind> = of_moves.filter(|_| self.scenario.moves).collect();
        if kinds.is_empty() {
            return;
        }
        // Most wish for a move.
        kinds.extend([FaultKind::Move, FaultKind::Move]);
        let mut at_us = from_us;
        while at_us < until_us {
            if let Some(kind) = self.operators.pick(&kinds).copied() {
                self.events.push(at_us, Event::Fault(kind));
            }
            at_us += self.operators.between(WISHES_EVERY_US / 8, WISHES_EVERY_US * 2);
        }
    }

    /// Some operators look first whether a move may begin, as `kvctl` does. The map refuses what makes no sense.
    pub(super) fn start_move(&mut self) -> bool {
        let map = std::sync::Arc::clone(&self.map);
        let shards: Vec<ShardId> =
            map.shards.keys().copied().filter(|shard| map.move_of(*shard).is_none()).collect();
        let Some(shard) = self.operators.pick(&shards).copied() else { return false };
        let homes = |has: bool| -> Vec<NodeId> {
            map.nodes.keys().copied().filter(|node| map.replica_on(shard, *node).is_some() == has).collect()
        };
        let leader = self.leader(shard).filter(|_| self.operators.permille(400));
        let Some(from) = leader.or_else(|| self.operators.pick(&homes(true)).copied()) else { return false };
        let Some(to) = self.operators.pick(&homes(false)).copied() else { return false };
        let start = Change::StartMove { shard, from, to };
        let is_rash = self.operators.permille(RASH_PERMILLE);
        (is_rash || self.may_begin(&start)) && self.wish(start)
    }

    /// Whether a move may begin, as `kvctl` has it looked at first.
    pub(crate) fn may_begin(&mut self, start: &Change) -> bool {
        let Change::StartMove { shard, .. } = start else { return false };
        let Ok(started) = self.map.apply(start.clone()) else { return false };
        let seen = self.seen_now();
        let Some((_, moving)) = started.move_of(*shard) else { return false };
        check_start(&started, moving, &seen).is_ok()
    }

    pub(super) fn cancel_move(&mut self) -> bool {
        let moves: Vec<_> = self.map.moves.keys().copied().collect();
        let id = self.operators.pick(&moves).copied();
        id.is_some_and(|id| self.wish(Change::CancelMove { id }))
    }

    /// Who is drained already stays after all; at most one node is.
    pub(super) fn drain(&mut self) -> bool {
        let drained = self.map.leaving.keys().next().copied();
        let nodes: Vec<NodeId> = self.map.nodes.keys().copied().collect();
        let any = self.operators.pick(&nodes).copied();
        match (drained, any) {
            (Some(node), _) => self.wish(Change::Undrain { node }),
            (None, Some(node)) => self.wish(Change::Drain { node }),
            (None, None) => false,
        }
    }

    /// Whoever leads the meta shard is asked for a change of the map.
    pub(crate) fn wish(&mut self, change: Change) -> bool {
        let Some(at) = self.leader(ShardId::META) else { return false };
        self.trace.line(self.now_us, || format!("an operator asks {at}: {change:?}"));
        self.change_map(at, change);
        true
    }
}
