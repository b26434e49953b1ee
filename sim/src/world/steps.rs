//! What happens at a node: turns, and what comes out of them.

use flotilla_node::host::{Effects, Event as Told, FallenLeader, Input, ReplicaStatus, Wakeup};
use flotilla_raft::{Message, Rpc, Term};
use flotilla_store::memory::Memory;
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::Record;

use super::World;
use crate::event::{AtNode, Event};
use crate::faults::Ending;
use crate::judges::{hold, violated};
use crate::node::{Job, Read, Written, run_read};
use crate::rounds::MapQuestion;

/// The log thread waits so long for company before it states that all is durable.
const LOG_IDLE_US: u64 = 100_000;
/// A full disk is tried again after so long, and given up after so long, as the log thread does.
const FULL_RETRY_US: u64 = 100_000;
const FULL_PATIENCE_US: u64 = 5_000_000;
/// Writes larger than a sector may be torn. Of 1000 of them so many are the moment of a power cut, where those are on.
const DELICATE_WRITE_BYTES: u64 = 600;
const DELICATE_WRITE_PERMILLE: u64 = 4;
/// Within so long a process that stood still has read what waits with the kernel.
const READING_UP_US: u64 = 10_000;
/// More often than all workers of a fleet together have reason to be woken at one moment.
const WAKES_AT_ONCE_MAX: u64 = 10_000;
/// A tail of so many entries is worth telling.
const LONG_TAIL: u64 = 6;

/// The shard that an input is for; nothing: all.
pub(super) const fn shard_of(input: &Input) -> Option<ShardId> {
    Some(match input {
        Input::Peer { shard, .. }
        | Input::Write { shard, .. }
        | Input::Get { shard, .. }
        | Input::Scan { shard, .. }
        | Input::Flushed { shard, .. }
        | Input::Loaded { shard, .. }
        | Input::Stage { shard, .. }
        | Input::Staged { shard, .. }
        | Input::SnapshotSent { shard, .. }
        | Input::Create { shard, .. }
        | Input::Placed { shard, .. }
        | Input::Change { shard, .. }
        | Input::Retire { shard, .. }
        | Input::Forgotten { shard }
        | Input::Transfer { shard, .. }
        | Input::Flush { shard, .. } => *shard,
        Input::Activated { machine } => machine.shard(),
        Input::LeaderFell { leader, .. } => leader.shard,
        Input::PeerLost { .. }
        | Input::PeerSilent { .. }
        | Input::PairChanged { .. }
        | Input::Persisted { .. }
        | Input::Inspect { .. } => return None,
    })
}

/// The fall that an input tells of.
const fn fall(input: &Input) -> Option<FallenLeader> {
    match input {
        Input::LeaderFell { leader, .. } => Some(*leader),
        _ => None,
    }
}

impl World {
    pub(super) fn step(&mut self, event: Event) {
        if !self.paused_leading.is_empty() {
            self.note_paused();
        }
        match event {
            Event::AtNode(id, boot, what) => self.step_at(id, boot, what),
            Event::Asked(id, question) => self.asked(id, question),
            Event::Answered(asker, attempt, said) => self.hear(asker, attempt, said),
            Event::Routed(id, _) | Event::RouterDue(id, _) => self.at_router(id, event),
            Event::ClientDue(client) => self.client_due(client),
            Event::Start(id) => self.start(id),
            Event::Fault(kind) => self.begin_fault(kind),
            Event::Ambush(id) => self.spring(id),
            Event::Ends(ending) => self.end_fault(ending),
            Event::Stream(stream) => self.stream_on(stream),
            Event::Fleet(step) => self.fleet_step(step),
        }
    }

    fn step_at(&mut self, id: NodeId, boot: u64, what: AtNode) {
        let now_us = self.now_us;
        let node = self.node(id);
        if node.running.is_none() || node.boot != boot {
            return;
        }
        if node.paused_until_us > now_us {
            self.put_off(id, boot, what);
            return;
        }
        match what {
            AtNode::Wake(worker) => {
                node.up().woken(worker);
                self.judge_spinning(id, worker);
                self.turn(id, worker);
            }
            AtNode::Input(worker, input) => self.arrive(id, worker, *input),
            AtNode::Turn(worker) => {
                // A deadline may have come first.
                if !node.up().inboxes[worker].is_empty() {
                    self.turn(id, worker);
                }
            }
            AtNode::Beat => self.beat(id),
            AtNode::Beaten(from, beat) => self.beaten(id, from, &beat),
            AtNode::BeatAnswered(from, answer) => self.beat_answered(id, from, answer),
            AtNode::PromisesOver => {
                node.shorten_promise();
                self.coverage.count("longest promises shortened");
            }
            AtNode::Round => self.round_due(id),
            AtNode::RoundOver(number) => self.round_over(id, number),
            AtNode::Inspect(from, number, shards) => self.inspect(id, from, number, &shards),
            AtNode::Inspected(of, number, shown) => self.inspected(id, of, number, shown),
            AtNode::Refused(of, number) => self.not_inspected(id, of, number),
            AtNode::Ordered(order) => self.ordered(id, *order),
            AtNode::MapArrived(map) => self.take_map(id, map),
            AtNode::AskedIn(node) => self.asked_in(id, node),
            AtNode::LogWritten => self.log_written(id),
            AtNode::LogIdle => self.log_idle(id),
            AtNode::JobDone => self.job_done(id, boot),
            AtNode::ReadDone(job) => match run_read(*job) {
                Read::Reply(reply) => {
                    self.coverage.count("reads served from the base");
                    self.reply(id, *reply);
                }
                Read::Input(input) => {
                    self.coverage.count("keys loaded from the base");
                    self.input(id, *input, now_us);
                }
            },
        }
    }

    /// A worker that is woken again and again at one moment is stuck there: its deadline lies in the past, and no turn moves it.
    fn judge_spinning(&mut self, id: NodeId, worker: usize) {
        let (at_us, times) = self.woken;
        self.woken = (self.now_us, if at_us == self.now_us { times + 1 } else { 0 });
        if times >= WAKES_AT_ONCE_MAX {
            let worker = &self.node(id).up().workers()[worker];
            let (deadline, statuses) = (worker.deadline(), worker.statuses());
            violated("liveness", format!("{id} spins with the deadline {deadline:?}: {statuses:?}"));
        }
    }

    /// A process stands still. What reaches it waits: in its queues, then one turn takes it all when it wakes; or with the kernel,
    /// then it reads up on one connection after the other, and may serve those who ask before it hears that it was replaced.
    fn put_off(&mut self, id: NodeId, boot: u64, what: AtNode) {
        let node = self.node(id);
        let later_us = node.paused_until_us;
        match what {
            AtNode::Input(..) if node.wakes_slowly => {
                let at_us = later_us + self.chance.below(READING_UP_US);
                self.events.push(at_us, Event::AtNode(id, boot, what));
            }
            AtNode::Input(worker, input) => {
                let inbox = &mut node.up().inboxes[worker];
                inbox.push(*input);
                if inbox.len() == 1 {
                    self.events.push(later_us, Event::AtNode(id, boot, AtNode::Turn(worker)));
                }
            }
            what => self.events.push(later_us, Event::AtNode(id, boot, what)),
        }
    }

    /// A worker takes all that has reached it.
    pub(super) fn turn(&mut self, id: NodeId, worker: usize) {
        let (now_us, mut effects) = (self.now_us, Effects::default());
        let node = self.node(id);
        let now = node.clock.now(now_us);
        let inputs = std::mem::take(&mut node.up().inboxes[worker]);
        let shared = inputs.len() > 1;
        let supports = node.up().supports.clone();
        let falls: Vec<_> = inputs.iter().filter_map(fall).collect();
        let turning = &mut node.up().workers()[worker];
        turning.turn(now, inputs, &mut effects);
        let statuses = turning.statuses();
        self.coverage.add("turns shared", u64::from(shared));
        let (sent, replied, written) =
            (effects.messages.len(), effects.replies.len(), effects.batch.is_some());
        self.trace.hash(&[now_us, id.0, worker as u64, sent as u64, replied as u64, u64::from(written)]);
        if let Some((_, batch)) = &effects.batch {
            let cuts = self.judges.accepted(id, batch);
            self.coverage.add("log truncated", cuts.len() as u64);
            let ends = batch.records().filter(|it| matches!(it.1, Record::Tombstone { .. }));
            self.coverage.add("replicas ended", ends.count() as u64);
            let long = cuts.iter().filter(|cut| **cut >= LONG_TAIL).count();
            self.coverage.add("long tails cut", long as u64);
        }
        for (_, shard, message) in &effects.messages {
            self.judges.logs.check_message(id, *shard, message);
            self.judges.members.check_speaker(id, *shard, message);
        }
        if self.trace.all {
            self.trace.line(now_us, || format!("{id} {statuses:?} {:?}", effects.batch));
        }
        falls.into_iter().for_each(|leader| self.judges.sleepers.told(id, leader));
        for status in &statuses {
            self.judges.sleepers.check(id, status, (now.time, now_us), |other| supports.pair(other));
        }
        for status in &statuses {
            let judges = &mut self.judges;
            judges.replicas.check(id, status, &judges.logs, &mut judges.members);
            self.note_leading(id, status);
        }
        self.judge_promises(id, &statuses, &effects);
        self.judges.reads.check(id, &effects, &statuses);
        self.carry_out(id, worker, effects);
        self.schedule_wake(id, worker);
    }

    fn note_leading(&mut self, id: NodeId, status: &ReplicaStatus) {
        let place = (id, status.shard);
        if status.leads() {
            self.leading.insert(place);
        } else if self.leading.remove(&place) {
            self.coverage.count("leaders stepped down");
        }
    }

    fn schedule_wake(&mut self, id: NodeId, worker: usize) {
        let now_us = self.now_us;
        let node = self.node(id);
        let (boot, clock) = (node.boot, node.clock);
        let running = node.up();
        let Some(deadline) = running.workers()[worker].deadline() else { return };
        let at_us = clock.true_at(deadline).max(now_us);
        if running.wakes_at(worker, at_us) {
            self.events.push(at_us, Event::AtNode(id, boot, AtNode::Wake(worker)));
        }
    }

    fn carry_out(&mut self, id: NodeId, worker: usize, effects: Effects<Memory>) {
        let boot = self.node(id).boot;
        assert!(effects.impossible.is_empty(), "nobody lies here: {:?}", effects.impossible);
        for (to, shard, message) in effects.messages {
            self.send(id, to, shard, message);
        }
        if let Some((ticket, batch)) = effects.batch {
            self.node(id).up().queued.push((worker, ticket, batch));
            self.start_log_write(id);
        }
        for reply in effects.replies {
            self.reply(id, reply);
        }
        for job in effects.base_jobs {
            let done_us = self.now_us + 200 + self.network.delay_us();
            let at_us = self.node(id).up().queue_base_job(job, done_us);
            self.events.push(at_us, Event::AtNode(id, boot, AtNode::JobDone));
        }
        for job in effects.reads {
            let slow_us = self.node(id).slow_reads_us;
            let at_us = self.now_us + self.network.delay_us() + self.chance.below(slow_us);
            self.events.push(at_us, Event::AtNode(id, boot, AtNode::ReadDone(Box::new(job))));
        }
        for job in effects.snapshots {
            self.open_stream(id, job);
        }
        for (shard, told) in effects.events {
            self.told(id, shard, told);
        }
        if effects.map_changed && self.scenario.moves {
            self.read_map(id, MapQuestion::Look);
        }
    }

    fn told(&mut self, id: NodeId, shard: ShardId, told: Told) {
        let what = match told {
            Told::Proposed => {
                self.faults.busy(shard);
                "entries proposed"
            }
            Told::Applied { .. } => "entries applied",
            Told::Campaigned => "elections begun",
            Told::Elected => "elections won",
            Told::ReadsAsked { by_lease: true } => "reads by lease",
            Told::ReadsAsked { by_lease: false } => "reads by round",
            Told::HandsOver => "leaders handed over",
            Told::SnapshotSent => "snapshots sent",
            Told::SnapshotInstalled => {
                let members = self.judges.members.newest(shard).1;
                let here = self.map.replica_on(shard, id);
                let learns = here.is_some_and(|replica| members.learners.contains(&replica));
                self.coverage.add("learners that began with a snapshot", u64::from(learns));
                "snapshots installed"
            }
            Told::Slept => "replicas fell asleep",
            Told::Woke { why: Wakeup::Asked } => "sleepers woken by being asked",
            Told::Woke { why: Wakeup::Told } => "sleepers woken by another replica",
            Told::Woke { why: Wakeup::Silent } => "sleepers woken by a silent node",
            Told::Woke { why: Wakeup::Changed } => "sleepers woken by a node's new sign",
            Told::Woke { why: Wakeup::Broken } => "sleepers woken by a broken connection",
            Told::Woke { why: Wakeup::Fallen } => "sleepers woken by the fall of their leader",
        };
        self.coverage.count(what);
        if matches!(told, Told::Elected | Told::SnapshotInstalled) {
            self.trace.line(self.now_us, || format!("{id} {shard}: {what}"));
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, shard: ShardId, message: Message) {
        if matches!(message.rpc, Rpc::AppendRejected { .. }) {
            self.coverage.count("appends rejected");
        }
        if !self.knows(from, to) {
            return;
        }
        for at_us in self.network.deliveries(from, to, self.now_us) {
            self.input(to, Input::Peer { shard, message: message.clone() }, at_us);
        }
    }

    /// A message that was long on its way reaches a node.
    pub(crate) fn late_message(&mut self, to: NodeId, shard: ShardId, message: Message) {
        self.input(to, Input::Peer { shard, message }, self.now_us);
    }

    fn start_log_write(&mut self, id: NodeId) {
        let took_us = 100 + self.network.delay_us() / 4;
        let now_us = self.now_us;
        let node = self.node(id);
        let (boot, slow_us) = (node.boot, node.slow_us);
        if node.up().start_log_write() {
            let bytes: u64 = node.up().writing.iter().map(|(_, _, batch)| batch.bytes()).sum();
            self.events.push(now_us + took_us + slow_us, Event::AtNode(id, boot, AtNode::LogWritten));
            if bytes > DELICATE_WRITE_BYTES && self.chance.permille(DELICATE_WRITE_PERMILLE) {
                // Of a large frame, a power cut leaves some sectors and not others.
                self.ambush(id, took_us + slow_us);
            }
        }
    }

    fn log_written(&mut self, id: NodeId) {
        let now_us = self.now_us;
        if self.is_told_to_end(id, false) {
            return;
        }
        let node = self.node(id);
        let boot = node.boot;
        let waited = node.up().full_since_us;
        match node.up().finish_log_write() {
            Written::Broken => {
                self.coverage.count("syncs failed");
                self.end_process_and_restart(id);
            }
            Written::Full => {
                let since_us = *node.up().full_since_us.get_or_insert(now_us);
                // What the log can free, it frees; if that does not help in time, the process ends.
                let tidied = node.up().tidy_up();
                if tidied.is_none() || now_us - since_us > FULL_PATIENCE_US {
                    self.end_process_and_restart(id);
                } else {
                    self.events.push(now_us + FULL_RETRY_US, Event::AtNode(id, boot, AtNode::LogWritten));
                }
            }
            Written::Durable(stable) => {
                let written = std::mem::take(&mut node.up().writing);
                let unsynced = node.disk.unsynced_sectors();
                let left = std::mem::replace(&mut node.left_unsynced, unsynced);
                hold(unsynced <= left, "durable promises", || {
                    format!("{id} takes its log for durable, and {unsynced} sectors are not on its disk")
                });
                self.coverage.add("full disks waited out", u64::from(waited.is_some()));
                for (_, _, batch) in &written {
                    self.judges.durable(id, batch);
                }
                if self.script.is_some() && self.ends_at_step(id, true, String::new) {
                    return;
                }
                for (worker, ticket) in stable {
                    self.arrive(id, worker, Input::Persisted { ticket });
                }
                self.after_log_write(id);
            }
        }
    }

    /// Whether the story of this world ends a node while it writes its log.
    fn is_told_to_end(&mut self, id: NodeId, after: bool) -> bool {
        if self.script.is_none() {
            return false;
        }
        let records =
            |(_, _, batch): &crate::node::Waiting| format!("{:?}", batch.records().collect::<Vec<_>>());
        let what: Vec<String> = self.node(id).up().writing.iter().map(records).collect();
        self.ends_at_step(id, after, || what.join(" "))
    }

    fn after_log_write(&mut self, id: NodeId) {
        let node = self.node(id);
        let boot = node.boot;
        if node.up().housekeeping_due() && !self.tidy_log(id) {
            return;
        }
        self.start_log_write(id);
        if self.node(id).up().writing.is_empty() {
            self.events.push(self.now_us + LOG_IDLE_US, Event::AtNode(id, boot, AtNode::LogIdle));
        }
    }

    fn log_idle(&mut self, id: NodeId) {
        let running = self.node(id).up();
        if !running.writing.is_empty() || !running.queued.is_empty() {
            return;
        }
        if self.tidy_log(id) && !self.node(id).up().state_durable() {
            self.end_process_and_restart(id);
        }
    }

    /// Whether the log is still good.
    fn tidy_log(&mut self, id: NodeId) -> bool {
        let tidied = self.node(id).up().tidy_up();
        self.coverage.add("log segments tidied up", tidied.unwrap_or(0));
        if tidied.is_none() {
            self.end_process_and_restart(id);
        }
        tidied.is_some()
    }

    fn job_done(&mut self, id: NodeId, boot: u64) {
        let node = self.node(id);
        if node.stalled {
            // Its end announces all that waits.
            return;
        }
        if self.script.is_some() && self.ends_at_step(id, false, || "base".to_owned()) {
            return;
        }
        let job = self.node(id).run_base_job();
        if self.script.is_some() && self.ends_at_step(id, true, String::new) {
            return;
        }
        match job {
            Job::Done(None) => {}
            Job::Done(Some(input)) => {
                if let Some(shard) = shard_of(&input) {
                    self.check_base(id, shard);
                }
                if matches!(input, Input::Activated { .. }) {
                    // The base has switched, and the log does not know it yet.
                    self.ambush(id, 1_000);
                }
                self.input(id, input, self.now_us);
            }
            Job::Again => self.events.push(self.now_us + 50_000, Event::AtNode(id, boot, AtNode::JobDone)),
            Job::Fatal => self.end_process_and_restart(id),
        }
    }

    /// The base was written: it must hold what other bases hold after the same entry.
    pub(super) fn check_base(&mut self, id: NodeId, shard: ShardId) {
        use flotilla_store::Base;
        let view = self.node(id).base.view();
        let stats = flotilla_store::stats(&view, shard);
        let stats = stats.unwrap_or_else(|error| panic!("{id}: the base cannot be read: {error}"));
        if let Some(stats) = stats {
            self.judges.replicas.check_base(id, shard, &stats);
        }
    }

    pub(super) fn end_fault(&mut self, ending: Ending) {
        match ending {
            Ending::Storm => self.network.weather = self.scenario.weather,
            Ending::Disk(id) => {
                let node = self.node(id);
                (node.slow_us, node.slow_reads_us) = (0, 0);
                node.disk.set_faults(flotilla_wal::simulated::Faults::default());
            }
            Ending::Flusher(id) => self.resume_flusher(id),
        }
    }

    pub(super) fn resume_flusher(&mut self, id: NodeId) {
        let now_us = self.now_us;
        let node = self.node(id);
        node.stalled = false;
        node.base.set_failing(false);
        let boot = node.boot;
        let waiting = node.running.as_ref().map_or(0, crate::node::Running::base_jobs);
        for place in 1..=waiting as u64 {
            self.events.push(now_us + 500 * place, Event::AtNode(id, boot, AtNode::JobDone));
        }
    }

    /// The node that leads a shard in the greatest term.
    pub(crate) fn leader(&mut self, shard: ShardId) -> Option<NodeId> {
        let statuses = self.statuses(shard);
        let leaders = statuses.into_iter().filter(|(_, status)| status.leads());
        leaders.max_by_key(|(_, status)| status.term).map(|(id, _)| id)
    }

    /// In which terms a node leads.
    pub(crate) fn leading_terms(&mut self, id: NodeId) -> Vec<(ShardId, Term)> {
        let Some(running) = &mut self.node(id).running else { return Vec::new() };
        let statuses = running.workers().iter().flat_map(|worker| worker.statuses());
        statuses.filter(ReplicaStatus::leads).map(|status| (status.shard, status.term)).collect()
    }

    /// Every running replica of a shard.
    pub(crate) fn statuses(&mut self, shard: ShardId) -> Vec<(NodeId, ReplicaStatus)> {
        let mut all = Vec::new();
        for id in self.running() {
            let statuses = self.node(id).up().workers().iter().flat_map(|worker| worker.statuses());
            all.extend(statuses.filter(|status| status.shard == shard).map(|status| (id, status)));
        }
        all
    }
}
