//! How nodes learn of the cluster map, as the keeper of a real node does (`runtime/fleet.rs`): from the own replica of the meta
//! shard when that applied a write, else from other nodes; and what their workers are told then, which is the product's own
//! (`told_of_map`). A map is on the disk before anything is born of it.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_node::host::{Answer, Consistency, Input};
use flotilla_node::runtime::{MAP_KEY, swap_of, told_of_map};
use flotilla_store::{Outcome, Record};
use flotilla_topology::{Change, ClusterMap, NodeId, Refusal, ShardId};

use super::{Waiter, World};
use crate::event::{AtNode, Event};
use crate::rounds::{MapQuestion, ended_moves};

/// A change that met another one is tried again so often, as the product does.
const SWAPS_MAX: u32 = 8;

impl World {
    /// A node takes in a map, if it is newer than its own.
    pub(super) fn take_map(&mut self, id: NodeId, map: Arc<ClusterMap>) {
        let node = self.node(id);
        if node.running.is_none() || node.map.epoch >= map.epoch {
            return;
        }
        let before = std::mem::replace(&mut node.map, Arc::clone(&map));
        // First the disk, then the births (docs/decisions/0013).
        node.cached_map = Arc::clone(&map);
        self.note_map(&map);
        self.tell_workers(id, Some(&before));
        self.spread_map(id);
    }

    /// A node that was away for long brings the first map of all.
    pub(crate) fn bring_first_map(&mut self, to: NodeId) {
        let map = Arc::clone(&self.genesis);
        self.carry(to, AtNode::MapArrived(map));
    }

    /// The newest map that anybody knows.
    fn note_map(&mut self, map: &Arc<ClusterMap>) {
        if map.epoch <= self.map.epoch {
            return;
        }
        for (_, finished) in ended_moves(&self.map, map) {
            self.coverage.count(if finished { "moves finished" } else { "moves rolled back" });
        }
        self.judges.placed(map);
        self.trace.line(self.now_us, || format!("map {}: {:?}", map.epoch, map.moves));
        let before = std::mem::replace(&mut self.map, Arc::clone(map));
        self.note_nodes(&before);
    }

    /// A node knows its map, and had one before. What it hosts and what the map says are brought together.
    pub(super) fn tell_workers(&mut self, id: NodeId, before: Option<&ClusterMap>) {
        let moves = self.scenario.moves;
        let node = self.node(id);
        let map = Arc::clone(&node.map);
        let statuses = node.up().workers().iter().flat_map(|worker| worker.statuses());
        let here: Vec<_> = statuses.map(|status| (status.shard, status.replica)).collect();
        let out = node.up().quarantine.all().into_iter().map(|(shard, out)| (shard, out.replica));
        for (_, input) in told_of_map(&map, before, id, here, out.collect::<Vec<_>>()) {
            if let Input::Create { shard, birth } = &input {
                self.judges.members.told(id, *shard, birth.replica);
            }
            // Where nothing moves, nobody has to hear again where it lives: worlds stay what they were.
            if moves || matches!(input, Input::Create { .. }) {
                self.input(id, input, self.now_us);
            }
        }
    }

    /// A node says to all others that it knows which map it has.
    pub(super) fn spread_map(&mut self, id: NodeId) {
        let map = Arc::clone(&self.node(id).map);
        // Who is no member any more, and still dials those that it knew, hears it from them.
        let left: Vec<NodeId> = self.judges.nodes.gone().iter().copied().filter(|gone| *gone != id).collect();
        for other in self.peers(id).into_iter().chain(left) {
            if self.network.carries(id, other, self.now_us) {
                let map = Arc::clone(&map);
                self.carry(other, AtNode::MapArrived(map));
            }
        }
    }

    /// Something that a connection carries reaches a node, if it lives.
    pub(super) fn carry(&mut self, to: NodeId, what: AtNode) {
        let at_us = self.now_us + self.network.delay_us();
        let node = self.node(to);
        if node.running.is_some() {
            let boot = node.boot;
            self.events.push(at_us, Event::AtNode(to, boot, what));
        }
    }

    /// Asks a node for the map in the meta shard.
    pub(super) fn read_map(&mut self, id: NodeId, why: MapQuestion) {
        let stale = matches!(why, MapQuestion::Look | MapQuestion::Found);
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        if !stale {
            let committed = self.judges.replicas.committed(ShardId::META);
            self.judges.reads.asked(flotilla_node::host::Token(self.next_token), ShardId::META, committed);
        }
        let (shard, key) = (ShardId::META, Bytes::from_static(MAP_KEY));
        self.ask(id, Waiter::Map(id, why), |token| Input::Get { shard, token, key, consistency });
    }

    fn write_map(&mut self, id: NodeId, expected: u64, next: &ClusterMap, why: MapQuestion) {
        let operation = swap_of(expected, next.encode().into());
        if let Some(script) = &mut self.script {
            script.swaps.push((expected, next.clone()));
        }
        let shard = ShardId::META;
        self.ask(id, Waiter::Map(id, why), |token| Input::Write { shard, token, operation });
    }

    /// A node is asked to change the map: it reads, applies, and swaps, again where another was faster.
    pub(crate) fn change_map(&mut self, id: NodeId, change: Change) {
        self.read_map(id, MapQuestion::Change(change, 0));
    }

    /// Changes of the controller: all of them to this map, or none.
    pub(super) fn replace_map(&mut self, id: NodeId, stored: (&ClusterMap, u64), changes: &[Change]) {
        let (map, version) = stored;
        let changed = changes.iter().try_fold(map.clone(), |map, change| map.apply(change.clone()));
        if let Ok(next) = changed {
            self.write_map(id, version, &next, MapQuestion::Errand);
        }
    }

    /// The meta shard answered. What refuses or fails is tried again by whoever still wants it.
    pub(super) fn map_answered(&mut self, id: NodeId, why: MapQuestion, answer: Answer) {
        match (why, answer) {
            (MapQuestion::Round, Answer::Got(_, record)) => {
                self.decide(id, record.map(|record| decoded(&record)));
            }
            (MapQuestion::Round, _) => self.decide(id, None),
            (MapQuestion::Look, Answer::Got(_, Some(record))) => self.take_map(id, decoded(&record).0),
            (MapQuestion::Found, Answer::Got(_, Some(record))) => {
                self.node(id).up().rounds.founded = true;
                self.take_map(id, decoded(&record).0);
            }
            (MapQuestion::Found, Answer::Got(_, None)) => {
                let genesis = Arc::clone(&self.genesis);
                self.write_map(id, 0, &genesis, MapQuestion::Errand);
            }
            (MapQuestion::Change(change, tries), Answer::Got(_, Some(record))) => {
                let (map, version) = decoded(&record);
                match map.apply(change.clone()) {
                    Ok(next) => self.write_map(id, version, &next, MapQuestion::Swap(change, tries + 1)),
                    Err(refusal) => match (change, refusal) {
                        (Change::Join { node, .. }, Refusal::Unchanged) => self.let_in(id, node, &map),
                        _ => self.coverage.count("changes of the map refused"),
                    },
                }
            }
            (MapQuestion::Swap(change, tries), Answer::Written(_, Outcome::Conflict { .. })) => {
                self.coverage.count("changes of the map that met another");
                if tries < SWAPS_MAX {
                    self.read_map(id, MapQuestion::Change(change, tries));
                }
            }
            // Who joins hears which map it is in now.
            (MapQuestion::Swap(change @ Change::Join { .. }, tries), Answer::Written(..)) => {
                self.read_map(id, MapQuestion::Change(change, tries));
            }
            _ => {}
        }
    }
}

fn decoded(record: &Record) -> (Arc<ClusterMap>, u64) {
    let map = ClusterMap::decode(&record.value);
    let map = map.unwrap_or_else(|error| panic!("the map in the meta shard: {error}"));
    (Arc::new(map), record.version)
}
