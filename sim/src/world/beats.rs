//! Beats between nodes: what the transport's own threads do in a real node.

use flotilla_node::host::{Beat, BeatAnswer, Input, Pair};
use flotilla_topology::NodeId;

use super::World;
use crate::event::{AtNode, Event};

/// Between two beats of a node, on its own clock.
const BEAT_INTERVAL_US: u64 = 25_000;

impl World {
    /// A node beats, and will again.
    pub(super) fn beat(&mut self, id: NodeId) {
        let now_us = self.now_us;
        for other in self.node_ids().into_iter().filter(|other| *other != id) {
            let node = self.node(id);
            let now = node.clock.now(now_us).time;
            let beat = node.up().supports.beat(other, now);
            self.send_beat(id, other, || AtNode::Beaten(id, Box::new(beat.clone())));
        }
        let node = self.node(id);
        let (boot, clock) = (node.boot, node.clock);
        let next = clock.now(now_us).time + std::time::Duration::from_micros(BEAT_INTERVAL_US);
        self.events.push(clock.true_at(next).max(now_us + 1), Event::AtNode(id, boot, AtNode::Beat));
    }

    /// A beat of another node arrives.
    pub(super) fn beaten(&mut self, id: NodeId, from: NodeId, beat: &Beat) {
        let now_us = self.now_us;
        let node = self.node(id);
        let now = node.clock.now(now_us).time;
        let supports = node.up().supports.clone();
        let before = supports.pair(from);
        let answer = supports.beaten(from, beat, now);
        self.note_pair(id, from, &before, supports.pair(from));
        for leader in &beat.fallen {
            self.coverage.count("falls told by beats");
            self.input(id, Input::LeaderFell { node: from, leader: *leader }, now_us);
        }
        if let Some(answer) = answer {
            self.send_beat(id, from, || AtNode::BeatAnswered(id, answer));
        }
    }

    /// A promise arrives.
    pub(super) fn beat_answered(&mut self, id: NodeId, from: NodeId, answer: BeatAnswer) {
        let now_us = self.now_us;
        let node = self.node(id);
        let now = node.clock.now(now_us).time;
        let supports = node.up().supports.clone();
        let before = supports.pair(from);
        supports.answered(from, answer, now);
        self.note_pair(id, from, &before, supports.pair(from));
    }

    /// A node hears of another under new names: its workers are told, or find out by themselves.
    fn note_pair(&mut self, id: NodeId, other: NodeId, before: &Pair, after: Pair) {
        if !after.differs(before) {
            return;
        }
        let now_us = self.now_us;
        self.coverage.count("pairs of nodes that changed their signs");
        self.judges.sleepers.changed(id, other, now_us);
        // Half of the time nobody says so. (No chance is drawn: worlds stay what they were.)
        if (now_us ^ id.0) & 1 == 0 {
            self.input_to_all(id, || Input::PairChanged { node: other }, now_us);
        }
    }

    /// To whom runs now: what is on its way to a process that ends is lost with it.
    fn send_beat(&mut self, from: NodeId, to: NodeId, what: impl Fn() -> AtNode) {
        for at_us in self.network.deliveries(from, to, self.now_us) {
            let node = self.node(to);
            if node.running.is_some() {
                let boot = node.boot;
                self.events.push(at_us, Event::AtNode(to, boot, what()));
            }
        }
    }
}
