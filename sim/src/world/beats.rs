//! Beats between nodes, as the transport's own threads do in a real node, and what the judge of leases hears of them and of the
//! leaders that rely on them.

use flotilla_node::host::{Beat, BeatAnswer, Effects, Event as Told, Input, Pair, ReplicaStatus};
use flotilla_store::memory::Memory;
use flotilla_topology::{NodeId, ShardId};

use super::World;
use crate::event::{AtNode, Event};
use crate::judges::{Seat, violated};

/// Between two beats of a node, on its own clock.
const BEAT_INTERVAL_US: u64 = 25_000;

impl World {
    /// A node beats, and will again.
    pub(super) fn beat(&mut self, id: NodeId) {
        let now_us = self.now_us;
        for other in self.peers(id) {
            let node = self.node(id);
            let now = node.clock.now(now_us).time;
            let beat = node.up().supports.beat(other, now);
            self.send_beat(id, other, now_us, || AtNode::Beaten(id, Box::new(beat.clone())));
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
            self.judges.leases.released(id, *leader);
            self.coverage.count("falls told by beats");
            self.input(id, Input::LeaderFell { node: from, leader: *leader }, now_us);
        }
        if let Some(answer) = answer.filter(|_| self.knows(id, from)) {
            let promiser = self.seat(id);
            self.judges.leases.promised(promiser, from, beat, answer, now_us);
            // An answer leaves with the next message to that node or with the next beat. (No chance is drawn for it.)
            let leaves_us = if now_us & 2 == 0 { now_us } else { now_us + now_us % BEAT_INTERVAL_US };
            self.send_beat(id, from, leaves_us, || AtNode::BeatAnswered(id, answer));
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
        let running = self.node(id).up();
        let statuses = running.workers().iter().flat_map(|worker| worker.statuses());
        let leaders: Vec<ReplicaStatus> = statuses.filter(|status| status.lease.is_some()).collect();
        leaders.iter().for_each(|status| self.judge_lease(id, status));
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

    fn seat(&mut self, id: NodeId) -> Seat {
        let node = self.node(id);
        Seat { node: id, boot: node.boot, clock: node.clock }
    }

    /// A turn ended: what it says and shows of promises and leases.
    pub(super) fn judge_promises(
        &mut self,
        id: NodeId,
        statuses: &[ReplicaStatus],
        effects: &Effects<Memory>,
    ) {
        let now_us = self.now_us;
        let judges = &mut self.judges;
        for (_, shard, message) in &effects.messages {
            judges.leases.said(id, *shard, message, &judges.replicas, now_us);
        }
        for status in statuses {
            judges.leases.check_vote(id, status, &judges.replicas, now_us);
        }
        for status in statuses.iter().filter(|status| status.lease.is_some()) {
            self.judge_lease(id, status);
        }
        for (shard, told) in &effects.events {
            let Some(status) = statuses.iter().find(|status| status.shard == *shard) else { continue };
            match told {
                Told::Elected if status.leads() => self.judge_election(id, *shard),
                Told::ReadsAsked { by_lease: true } => self.judge_read_alone(id, status),
                _ => {}
            }
        }
    }

    /// A leader here may read alone for a while, it says.
    fn judge_lease(&mut self, id: NodeId, status: &ReplicaStatus) {
        let (now_us, holder) = (self.now_us, self.seat(id));
        if let Some(what) = self.judges.leases.uncovered(holder, status, now_us) {
            self.lease_broken("leases covered", what);
        }
        let in_force = status.lease.is_some_and(|until| holder.clock.now(now_us).time < until);
        if in_force && self.judges.replicas.led_after(status.shard, status.term) {
            let what = format!("{id} would read {} alone in {}", status.shard, status.term);
            self.lease_broken("nobody beside a lease", what);
        }
    }

    fn judge_read_alone(&mut self, id: NodeId, status: &ReplicaStatus) {
        let (now_us, holder) = (self.now_us, self.seat(id));
        if let Some(what) = self.judges.leases.read_alone(holder, status, now_us) {
            self.lease_broken("leases covered", what);
        }
    }

    /// Somebody was elected: no leader of an earlier term reads alone any more, were it asked now.
    fn judge_election(&mut self, id: NodeId, shard: ShardId) {
        for (other, status) in self.statuses(shard) {
            if other != id && status.lease.is_some() {
                self.judge_lease(other, &status);
            }
        }
    }

    fn lease_broken(&mut self, judge: &'static str, what: String) {
        if !self.scenario.beyond_the_drift {
            violated(judge, what);
        }
        self.coverage.count("leases broken by clocks beyond the bound");
    }

    /// To whom runs now: what is on its way to a process that ends is lost with it.
    fn send_beat(&mut self, from: NodeId, to: NodeId, leaves_us: u64, what: impl Fn() -> AtNode) {
        for at_us in self.network.deliveries(from, to, leaves_us) {
            let node = self.node(to);
            if node.running.is_some() {
                let boot = node.boot;
                self.events.push(at_us, Event::AtNode(to, boot, what()));
            }
        }
    }
}
