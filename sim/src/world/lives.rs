//! How nodes start and end.

use std::sync::Arc;

use flotilla_node::host::{Input, Token};
use flotilla_raft::Term;
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::simulated::Faults as DiskFaults;
use flotilla_wal::{Batch, OpenError, Recovered};

use super::{Waiter, World};
use crate::clients::Said;
use crate::event::{AtNode, Event};
use crate::judges::{hold, violated};

/// Who ended because its disk failed is started again after so long, as by a service manager.
const RESTART_US: u64 = 400_000;

impl World {
    /// A node starts, on whatever its disk and its base hold.
    pub(super) fn start(&mut self, id: NodeId) {
        let (now_us, scenario) = (self.now_us, self.scenario.clone());
        let begins_us = self.chance.below(1 << 40);
        let is_stranger = self.fleet.asking.contains(&id);
        let node = self.node(id);
        if node.running.is_some() || node.dead.is_some() || is_stranger {
            return;
        }
        // The product's clock counts from the start of the process.
        node.clock.offset_us = begins_us;
        let now = node.clock.now(now_us);
        match node.start(now, &scenario) {
            Ok(found) => {
                self.quarantined(id, &found);
                let in_flight = self.in_flight.remove(&id).unwrap_or_default();
                self.coverage.add("torn tails cut", u64::from(found.torn.is_some()));
                let judges = &mut self.judges;
                let there = judges.logs.recovered(id, &found, &in_flight, &judges.rot);
                self.coverage.add("writes in flight survived a power cut", there);
                let map = Arc::clone(&self.node(id).cached_map);
                let blind = self.judges.rot.is_blind(id).then_some(&*map);
                let by_map_alone = self.judges.members.recovered(id, &found, blind);
                self.coverage.add("ends that only the map remembers", by_map_alone);
                for (shard, state) in &found.shards {
                    self.judges.leases.recovered(*shard, state.replica, state.hard_state.term);
                }
                self.coverage.count("starts");
                self.tell_workers(id, None);
                let moves = self.scenario.moves;
                let node = self.node(id);
                let (boot, clock, shortens) = (node.boot, node.clock, node.up().shortens);
                self.events.push(now_us, Event::AtNode(id, boot, AtNode::Beat));
                if moves {
                    self.events.push(now_us, Event::AtNode(id, boot, AtNode::Round));
                }
                if let Some((over, _)) = shortens {
                    let at_us = clock.true_at(over).max(now_us);
                    self.events.push(at_us, Event::AtNode(id, boot, AtNode::PromisesOver));
                }
            }
            // The disk is full or fails at the moment: the service manager tries again.
            Err(error @ (OpenError::NoSpace(_) | OpenError::Disk { .. })) => {
                self.coverage.count("starts put off");
                let unread = matches!(error, OpenError::Disk { action: "read", .. });
                self.coverage.add("reads that failed at a start", u64::from(unread));
                // What the failed start may have written is not what was in flight: it stays possible.
                self.node(id).disk.kill();
                self.start_at(now_us + RESTART_US, id);
            }
            Err(error) if self.may_refuse(id, &error) => {
                self.coverage.count("rot found at start");
                self.trace.line(now_us, || format!("{id} does not start: {error}"));
                self.node(id).dead = Some(error.to_string());
            }
            Err(error) => violated("log", format!("{id} cannot open its log, and nothing rotted: {error}")),
        }
    }

    /// Whether a node may refuse to start for good: rot took the name of a segment that is needed, or what nobody else has.
    fn may_refuse(&self, id: NodeId, error: &OpenError) -> bool {
        let is_alone = self.scenario.replicas == 1;
        let why = match error {
            OpenError::Missing { .. } => self.judges.rot.is_blind(id),
            OpenError::Rot { .. } => is_alone,
            _ => false,
        };
        why && self.judges.rot.is_rotten(id)
    }

    /// Whom rot took out of service, nobody expects back; and nothing else takes anybody.
    fn quarantined(&mut self, id: NodeId, found: &Recovered) {
        if let Some(rot) = &found.rot {
            hold(self.judges.rot.is_rotten(id), "log", || format!("{id} finds {rot:?}, and nothing rotted"));
            self.coverage.count("rot found at start");
            self.coverage.add("shards quarantined", rot.shards.len() as u64);
            self.coverage.add("shards beside a quarantine", found.shards.len() as u64);
            self.trace.line(self.now_us, || format!("{id} takes out of service: {rot:?}"));
        }
        for (shard, out) in &found.quarantined {
            self.judges.members.out_of_service(id, *shard, out.replica);
        }
    }

    /// A node on which something rotted suffers no more when a start has found it, and what that took out of service has been
    /// replaced. Others may suffer then.
    pub(super) fn note_healed(&mut self) {
        for (id, life) in self.sick.clone() {
            let node = self.node(id);
            let is_healed = node.boot > life
                && node.running.as_ref().is_some_and(|running| running.quarantine.all().is_empty());
            let is_replacing = self.map.moves.values().any(|moving| moving.to == id);
            if is_healed && !is_replacing {
                self.sick.remove(&id);
                self.faults.recover(id);
                self.coverage.count("nodes healed of rot");
                self.trace.line(self.now_us, || format!("{id} has healed"));
            }
        }
    }

    /// A node will be started.
    pub(crate) fn start_at(&mut self, at_us: u64, id: NodeId) {
        self.events.push(at_us, Event::Start(id));
    }

    /// A process ends of itself, because it cannot trust its disk, and is started again.
    pub(super) fn end_process_and_restart(&mut self, id: NodeId) {
        self.coverage.count("processes that gave up");
        self.end_process(id);
        self.start_at(self.now_us + RESTART_US, id);
    }

    /// A process ends; the machine goes on.
    pub(crate) fn end_process(&mut self, id: NodeId) {
        let ended = self.node(id).killed();
        let Some(ended) = ended else { return };
        self.remember_in_flight(id, ended.writing.into_iter().map(|(_, _, batch)| batch).collect());
        self.mourn(id);
    }

    /// The power of a machine fails. The write under way may have reached the disk, whole or in part.
    pub(crate) fn cut_power(&mut self, id: NodeId) {
        let seed = self.chance.number();
        let how = self.chance.below(3);
        let soon = self.chance.between(1, 3);
        let node = self.node(id);
        let Some(running) = &mut node.running else {
            // Nothing runs, but the kernel may hold what a process wrote before it ended.
            let lost = node.power_cut(seed);
            self.coverage.add("unsynced base batches lost", lost);
            return;
        };
        let writing: Vec<Batch> = running.writing.iter().map(|(_, _, batch)| batch.clone()).collect();
        if how > 0 && !writing.is_empty() {
            let crash_at_call = (how == 1).then(|| node.disk.calls() + soon);
            node.disk.set_faults(DiskFaults { crash_at_call, ..DiskFaults::default() });
            // Nobody hears what came of it.
            drop(running.finish_log_write());
        }
        let lost = node.power_cut(seed);
        self.coverage.add("unsynced base batches lost", lost);
        self.coverage.count("power cuts");
        self.remember_in_flight(id, writing);
        self.mourn(id);
    }

    /// What was in flight at an earlier end, and never seen by a start since, may still be there.
    fn remember_in_flight(&mut self, id: NodeId, writing: Vec<Batch>) {
        self.in_flight.entry(id).or_default().extend(writing);
    }

    /// From a moment on a node notices that its connections with another broke.
    pub(crate) fn break_connection(&mut self, at: NodeId, with: NodeId, from_us: u64) {
        let at_us = from_us + self.network.delay_us();
        self.input_to_all(at, || Input::PeerLost { node: with }, at_us);
        let at_us = from_us + self.network.delay_us();
        self.input_to_all(at, || Input::PeerSilent { node: with }, at_us);
    }

    /// Those who talked with a node notice, or not.
    fn mourn(&mut self, id: NodeId) {
        self.trace.line(self.now_us, || format!("{id} ended"));
        self.judges.replicas.forget(id);
        self.judges.sleepers.forget(id);
        self.leading.retain(|(node, _)| *node != id);
        for other in self.running() {
            if self.chance.permille(700) {
                let at_us = self.now_us + self.network.delay_us();
                self.input_to_all(other, || Input::PeerLost { node: id }, at_us);
            }
            if self.chance.permille(700) {
                let at_us = self.now_us + self.network.delay_us();
                self.input_to_all(other, || Input::PeerSilent { node: id }, at_us);
            }
        }
        let waits_there = |waiter: &Waiter| match waiter {
            Waiter::Nobody => false,
            Waiter::Client(node, _)
            | Waiter::Stream(node, _)
            | Waiter::Map(node, _)
            | Waiter::Order(node, _) => *node == id,
        };
        let waited: Vec<Token> =
            self.waiters.iter().filter(|(_, waiter)| waits_there(waiter)).map(|(token, _)| *token).collect();
        for token in waited {
            let waiter = self.waiters.remove(&token);
            self.judges.reads.forget(token);
            if let Some(Waiter::Client(_, question)) = waiter
                && self.chance.permille(700)
            {
                self.coverage.count("connections broken");
                let failure = flotilla_client::dispatch::Failure::lost("the connection broke");
                self.tell(&question, Said::Failed(failure));
            }
        }
        self.break_streams(id);
    }

    /// A process stands still until a moment; its clocks go on.
    pub(crate) fn pause_until(&mut self, id: NodeId, until_us: u64, leading: Vec<(ShardId, Term)>) {
        let wakes_slowly = self.chance.permille(500);
        let node = self.node(id);
        (node.paused_until_us, node.wakes_slowly) = (until_us, wakes_slowly);
        self.paused_leading.insert(id, (until_us, leading));
    }

    /// A process stands still no more.
    pub(super) fn wake(&mut self, id: NodeId) {
        let (now_us, node) = (self.now_us, self.node(id));
        node.paused_until_us = node.paused_until_us.min(now_us);
        let boot = node.boot;
        let workers = node.running.as_ref().map_or(0, |running| running.inboxes.len());
        for worker in 0..workers {
            self.events.push(now_us, Event::AtNode(id, boot, AtNode::Turn(worker)));
        }
    }

    /// Whether a leader slept so long that another was elected.
    pub(super) fn note_paused(&mut self) {
        let now_us = self.now_us;
        let over = |until_us: &u64| *until_us <= now_us;
        let woken: Vec<NodeId> = self
            .paused_leading
            .iter()
            .filter(|(_, (until_us, _))| over(until_us))
            .map(|(id, _)| *id)
            .collect();
        for id in woken {
            let Some((_, leading)) = self.paused_leading.remove(&id) else { continue };
            let replaced = leading.iter().any(|(shard, term)| self.judges.replicas.led_after(*shard, *term));
            self.coverage.add("leaders paused past their term", u64::from(replaced));
        }
    }
}
