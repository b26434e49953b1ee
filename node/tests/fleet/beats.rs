//! Beats between nodes: what the transport's own threads do in a real node. Only where a test asks for them.

use flotilla_node::host::{Beat, BeatAnswer, Input};
use flotilla_raft::Time;
use flotilla_topology::{NodeId, ShardId};

use super::events::Event;
use super::{Fleet, Node};

/// Between two beats of a node.
const BEAT_INTERVAL_US: u64 = 25_000;

impl Fleet {
    /// From now on nodes tell each other that they live.
    pub fn start_beats(&mut self) {
        self.beats = true;
        for node in self.nodes() {
            self.begin_beats(node);
        }
    }

    /// Waits until every replica of these shards sleeps.
    pub fn until_all_sleep(&mut self, shards: &[ShardId]) {
        self.until("all sleep", std::time::Duration::from_secs(10), |fleet| {
            shards.iter().all(|shard| fleet.status(*shard).values().all(|status| status.sleeps()))
        });
    }

    pub(super) fn begin_beats(&mut self, node: NodeId) {
        if self.beats && self.alive(node) {
            let boot = self.nodes[&node].boot;
            self.events.push(self.now_us, Event::Beat { node, boot });
        }
    }

    pub(super) fn beat(&mut self, node: NodeId, boot: u64) {
        let now = Time(self.now_us);
        for to in self.nodes().into_iter().filter(|to| *to != node) {
            let beat = self.if_running(node, boot, |it: &mut Node| it.supports().beat(to, now));
            let Some(beat) = beat else { return };
            if let Some((at, boot)) = self.delivery(node, to) {
                self.events.push(at, Event::Beaten { node: to, boot, from: node, beat });
            }
        }
        self.events.push(self.now_us + BEAT_INTERVAL_US, Event::Beat { node, boot });
    }

    pub(super) fn beaten(&mut self, node: NodeId, boot: u64, from: NodeId, beat: &Beat) {
        let now = Time(self.now_us);
        let took = self.if_running(node, boot, |it| {
            let supports = it.supports();
            let before = supports.pair(from);
            (supports.beaten(from, beat, now), supports.pair(from).differs(&before))
        });
        let Some((answer, changed)) = took else { return };
        if changed {
            self.tell(node, Input::PairChanged { node: from });
        }
        for leader in &beat.fallen {
            self.tell(node, Input::LeaderFell { node: from, leader: *leader });
        }
        if let (Some(answer), Some((at, boot))) = (answer, self.delivery(node, from)) {
            self.events.push(at, Event::BeatAnswered { node: from, boot, from: node, answer });
        }
    }

    pub(super) fn beat_answered(&mut self, node: NodeId, boot: u64, from: NodeId, answer: BeatAnswer) {
        let now = Time(self.now_us);
        let changed = self.if_running(node, boot, |it| {
            let supports = it.supports();
            let before = supports.pair(from);
            supports.answered(from, answer, now);
            supports.pair(from).differs(&before)
        });
        if changed == Some(true) {
            self.tell(node, Input::PairChanged { node: from });
        }
    }

    /// When what one node sends to another now will arrive, and in which life of the other; if at all.
    fn delivery(&mut self, from: NodeId, to: NodeId) -> Option<(u64, u64)> {
        let at = self.now_us + self.draw_delay();
        let lost = self.draw(1000) < u64::from(self.weather.lost_permille);
        let arrives = !lost && !self.cuts.contains(&(from, to)) && self.alive(to);
        arrives.then(|| (at, self.nodes[&to].boot))
    }
}
