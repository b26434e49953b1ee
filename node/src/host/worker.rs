//! A worker: a fixed set of shards, one turn at a time.
//!
//! How replicas are born and end on it: `worker/lives.rs`.

mod lives;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use flotilla_raft::{ReplicaId, Term, Time};
use flotilla_store::Base;
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::Record;

use super::boundary::{Answer, BaseJob, BatchTicket, Effects, Input, Now, Refusal, Token};
use super::log_queue::{Completion, LogQueue};
use super::members::Ending;
use super::options::Options;
use super::pace::Pace;
use super::quarantine::Quarantine;
use super::reads::Wanted;
use super::recovery::RecoveredReplica;
use super::replica::{Replica, Turn};
use super::sleepers::Sleepers;
use super::status::ReplicaStatus;
use super::support::Supports;
use super::timers::Timers;

/// The replicas of a fixed set of shards, driven by one thread. Synchronous and deterministic: equal inputs at equal
/// moments have equal effects.
pub struct Worker<B: Base> {
    node: NodeId,
    options: Options,
    base: B,
    replicas: BTreeMap<ShardId, Replica>,
    /// The greatest replica id that ever lived here, per shard: ids below it are spent.
    greatest: BTreeMap<ShardId, ReplicaId>,
    ending: Ending,
    log: LogQueue,
    timers: Timers,
    sleepers: Sleepers,
    supports: Supports,
    quarantine: Quarantine,
    /// When a stalled log is a reason to hand over again.
    next_hand_over: Time,
    pace: Pace,
    memory: BTreeMap<ShardId, Memory>,
    memory_total: Memory,
    /// What was last told of each shard's leader.
    told: BTreeMap<ShardId, (Term, Option<NodeId>)>,
    seed: u64,
}

/// What overlays take, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// Not in the base yet.
    dirty: usize,
    /// In the base too, and only cached.
    clean: usize,
}

impl<B: Base> fmt::Debug for Worker<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("node", &self.node)
            .field("shards", &self.replicas.len())
            .finish_non_exhaustive()
    }
}

impl<B: Base> Worker<B> {
    /// A worker without replicas. `seed` is where all its chance comes from.
    pub fn new(node: NodeId, options: Options, base: B, seed: u64) -> Self {
        Self {
            node,
            options,
            base,
            replicas: BTreeMap::new(),
            greatest: BTreeMap::new(),
            ending: Ending::default(),
            log: LogQueue::default(),
            timers: Timers::default(),
            sleepers: Sleepers::default(),
            supports: Supports::default(),
            quarantine: Quarantine::default(),
            next_hand_over: Time(0),
            pace: Pace::default(),
            memory: BTreeMap::new(),
            memory_total: Memory::default(),
            told: BTreeMap::new(),
            seed,
        }
    }

    /// The same, with the promises between this node and others: all workers of a node share one table. Without it nobody is
    /// bound, and all reads go by ReadIndex.
    #[must_use]
    pub fn supported(mut self, supports: Supports) -> Self {
        self.supports = supports;
        self
    }

    /// The same, with what is out of service on this node: all workers of a node share one table.
    #[must_use]
    pub fn quarantining(mut self, quarantine: Quarantine) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// A shard of this worker is out of service; the base may hold generations up to this one of it, which are kept. Before the
    /// first turn.
    pub fn keep_out(&mut self, shard: ShardId, newest_generation: u64) {
        self.ending.keep(shard, newest_generation);
    }

    /// Remembers that replica ids up to this one are spent on this node, whether or not one lives.
    pub fn remember(&mut self, shard: ShardId, replica: ReplicaId) {
        let greatest = self.greatest.entry(shard).or_default();
        *greatest = replica.max(*greatest);
    }

    /// The base still holds generations up to this one of a replica that has ended ([`super::ended`]): they are dropped, and
    /// whoever is created there waits for it. Before the first turn.
    pub fn bury(&mut self, shard: ShardId, newest_generation: u64) {
        self.ending.resume(shard, newest_generation);
    }

    /// Takes in a replica that was found at start. Before the first turn.
    pub fn adopt(&mut self, now: Now, recovered: RecoveredReplica) {
        let shard = recovered.shard;
        self.remember(shard, recovered.birth.replica);
        if let Some(last) = recovered.reset {
            self.log.push(shard, Record::Reset(last));
        }
        let mut replica =
            Replica::recovered(self.options.raft.clone(), self.replica_seed(shard), now, recovered);
        replica.raft.in_life(self.supports.life());
        self.timers.set(shard, replica.deadline(&self.options));
        self.replicas.insert(shard, replica);
    }

    /// What its replicas look like at this moment.
    #[must_use]
    pub fn statuses(&self) -> Vec<ReplicaStatus> {
        self.replicas.values().map(|replica| replica.status(&self.supports)).collect()
    }

    /// When the next turn must be, whether or not anything arrives.
    pub fn deadline(&self) -> Option<Time> {
        let pace = self.pace.deadline(self.log_until());
        [self.timers.earliest(), self.sleepers.deadline(), self.stalls_at(), pace].into_iter().flatten().min()
    }

    /// Until when proposals wait at most for the log, which is busy.
    fn log_until(&self) -> Option<Time> {
        self.log.waiting_since().map(|since| since + self.options.hold_max)
    }

    /// When the log will have made no progress for so long that leaders hand over.
    fn stalls_at(&self) -> Option<Time> {
        self.log.waiting_since().map(|since| (since + self.options.log_stall).max(self.next_hand_over))
    }

    /// One turn: step all inputs, fire what is due, then let every touched replica carry out what is ready. All log
    /// records of the turn leave as one batch.
    pub fn turn(&mut self, now: Now, inputs: impl IntoIterator<Item = Input>, out: &mut Effects<B>) {
        let mut touched = BTreeSet::new();
        self.pace.begin();
        out.base_jobs.extend(self.ending.take_found().into_iter().map(|shard| BaseJob::Forget { shard }));
        for input in inputs {
            self.take(now, input, &mut touched, out);
        }
        self.look_after_sleepers(now, &mut touched, out);
        for shard in self.timers.due(now.time) {
            self.with(now, shard, out, |replica, turn| {
                replica.bind(turn.now, turn.supports);
                replica.quiesce(turn);
                replica.raft.tick(turn.now.time);
            });
            touched.insert(shard);
        }
        if self.stalls_at().is_some_and(|at| at <= now.time) {
            self.next_hand_over = now.time + self.options.log_stall;
            let shards: Vec<ShardId> = self.replicas.keys().copied().collect();
            shards.iter().for_each(|shard| self.with(now, *shard, out, Replica::hand_over));
            touched.extend(shards);
        }
        touched.append(&mut self.released(now));
        for shard in touched {
            self.with(now, shard, out, Replica::drain);
            self.settle(now, shard, out);
        }
        out.batch = self.log.seal(now.time);
    }

    fn take(&mut self, now: Now, input: Input, touched: &mut BTreeSet<ShardId>, out: &mut Effects<B>) {
        match input {
            Input::Persisted { ticket } => self.persisted(now, ticket, touched, out),
            Input::PeerLost { node } => {
                self.replicas.values_mut().for_each(|replica| replica.peer_lost(node));
                touched.extend(self.replicas.keys());
            }
            Input::PeerSilent { node } => self.peer_silent(now, node, touched, out),
            Input::PairChanged { .. } => self.sleepers.look_soon(),
            Input::Inspect { token } => {
                out.reply(token, Answer::Status(self.statuses()));
            }
            Input::Create { shard, birth } => {
                self.create(now, shard, birth, out);
                touched.insert(shard);
            }
            Input::Peer { shard, message } => {
                touched.insert(shard);
                self.with(now, shard, out, |replica, turn| replica.take_message(turn, message));
            }
            Input::Staged { shard, generation, snapshot } => {
                self.staged(now, shard, out, generation, snapshot);
                touched.insert(shard);
            }
            Input::Write { shard, token, operation } => {
                touched.insert(shard);
                self.ask(now, shard, token, out, |replica, turn| replica.admit(turn, token, operation));
            }
            Input::Get { shard, token, key, consistency } => {
                touched.insert(shard);
                self.ask(now, shard, token, out, |replica, turn| {
                    replica.read(turn, token, Wanted::Key(key), consistency);
                });
            }
            Input::Scan { shard, token, range, limits, consistency } => {
                touched.insert(shard);
                self.ask(now, shard, token, out, |replica, turn| {
                    replica.read(turn, token, Wanted::Page(range, limits), consistency);
                });
            }
            rest => self.take_rarely(now, rest, touched, out),
        }
    }

    /// What arrives seldom.
    fn take_rarely(&mut self, now: Now, input: Input, touched: &mut BTreeSet<ShardId>, out: &mut Effects<B>) {
        let shard = match input {
            Input::Flushed { shard, flushed } => {
                self.with(now, shard, out, |replica, turn| replica.flushed(turn, flushed));
                shard
            }
            Input::Loaded { shard, generation, records } => {
                self.with(now, shard, out, |replica, _| replica.loaded(generation, records));
                shard
            }
            Input::Activated { machine } => {
                let shard = machine.shard();
                self.with(now, shard, out, |replica, turn| replica.activated(turn, *machine));
                shard
            }
            Input::Stage { shard, token, to, term, last } => {
                self.ask(now, shard, token, out, |replica, turn| replica.stage(turn, token, to, term, last));
                shard
            }
            Input::SnapshotSent { shard, to, delivered } => {
                self.with(now, shard, out, |replica, turn| replica.snapshot_sent(turn, to, delivered));
                shard
            }
            Input::Placed { shard, placement } => {
                // No home is ever forgotten: a replica id is never reused, and a promise may still bind to who has left.
                self.with(now, shard, out, |replica, _| replica.placement.extend(placement));
                shard
            }
            Input::Change { shard, token, change, derived_from } => {
                self.ask(now, shard, token, out, |replica, turn| {
                    replica.change(turn, token, &change, derived_from);
                });
                shard
            }
            Input::Retire { shard, replica } => {
                self.retire(now, shard, replica, out);
                shard
            }
            Input::Forgotten { shard } => {
                if let Some((birth, generation)) = self.ending.finish(shard) {
                    self.bear(now, shard, birth, generation);
                }
                shard
            }
            Input::Transfer { shard, token, to } => {
                self.ask(now, shard, token, out, |replica, turn| replica.transfer(turn, token, to));
                shard
            }
            Input::LeaderFell { node, leader } => {
                self.with(now, leader.shard, out, |replica, turn| {
                    replica.leader_fell(turn.now, node, leader)
                });
                leader.shard
            }
            Input::Flush { shard, token } => {
                self.ask(now, shard, token, out, |replica, turn| replica.flush_for(turn, token));
                shard
            }
            other => unreachable!("{other:?} is taken elsewhere"),
        };
        touched.insert(shard);
    }

    fn peer_silent(&mut self, now: Now, node: NodeId, touched: &mut BTreeSet<ShardId>, out: &mut Effects<B>) {
        let shards: Vec<ShardId> = self.replicas.keys().copied().collect();
        for shard in shards {
            self.with(now, shard, out, |replica, turn| {
                if replica.peer_silent(turn, node) {
                    touched.insert(shard);
                }
            });
        }
    }

    /// Wakes those for whom the nodes can speak no more.
    fn look_after_sleepers(&mut self, now: Now, touched: &mut BTreeSet<ShardId>, out: &mut Effects<B>) {
        let patience = self.options.raft.election_timeout_min;
        for (shard, _, why) in self.sleepers.disturbed(now.time, &self.supports, patience) {
            self.with(now, shard, out, |replica, turn| replica.disturbed(turn, why));
            touched.insert(shard);
        }
    }

    fn persisted(
        &mut self,
        now: Now,
        ticket: BatchTicket,
        touched: &mut BTreeSet<ShardId>,
        out: &mut Effects<B>,
    ) {
        self.pace.on_stable();
        for (shard, completion) in self.log.persisted(ticket) {
            if completion == Completion::Tombstone {
                out.base_jobs.push(BaseJob::Forget { shard });
                continue;
            }
            self.with(now, shard, out, |replica, turn| replica.persisted(turn, completion));
            touched.insert(shard);
        }
    }

    /// The shards whose writes wait no longer.
    fn released(&mut self, now: Now) -> BTreeSet<ShardId> {
        let (log_until, round_max) = (self.log_until(), self.options.round_wait_max);
        let replicas = &self.replicas;
        let is_under_way = |shard| replicas.get(&shard).is_some_and(Replica::has_uncommitted);
        self.pace.decide(now.time, log_until, round_max, is_under_way)
    }

    /// A staged snapshot is stepped and carried out at once, so that one that the core does not want can be told.
    fn staged(
        &mut self,
        now: Now,
        shard: ShardId,
        out: &mut Effects<B>,
        generation: u64,
        snapshot: Option<flotilla_raft::Message>,
    ) {
        if !self.replicas.contains_key(&shard) {
            // Its replica has ended since; perhaps its base is empty already, but for this.
            out.base_jobs.push(BaseJob::Purge { shard, generation });
        }
        self.with(now, shard, out, |replica, turn| {
            replica.staged(turn, generation, snapshot);
            replica.drain(turn);
            replica.discard_unwanted(turn, generation);
        });
    }

    /// Lets a replica that lives here act; others are passed over.
    fn with(
        &mut self,
        now: Now,
        shard: ShardId,
        out: &mut Effects<B>,
        act: impl FnOnce(&mut Replica, &mut Turn<'_, B>),
    ) {
        let paced = self.pace.is_early();
        let Some(replica) = self.replicas.get_mut(&shard) else { return };
        let (memory, bytes_max) = (self.memory_total, self.options.overlay_bytes_max);
        let mut turn = Turn {
            now,
            options: &self.options,
            base: &self.base,
            supports: &self.supports,
            log: &mut self.log,
            out,
            pressed: memory.dirty >= bytes_max / 2,
            full: memory.dirty >= bytes_max,
            crowded: memory.dirty + memory.clean >= bytes_max,
            paced,
        };
        act(replica, &mut turn);
    }

    /// Like [`Worker::with`], but somebody waits: without a replica here, the token is refused.
    fn ask(
        &mut self,
        now: Now,
        shard: ShardId,
        token: Token,
        out: &mut Effects<B>,
        act: impl FnOnce(&mut Replica, &mut Turn<'_, B>),
    ) {
        if self.replicas.contains_key(&shard) {
            self.with(now, shard, out, act);
        } else {
            out.refuse(token, Refusal::NotHosted { shard });
        }
    }

    /// After a replica has acted: its sleep, its deadline, its leader, and its share of the memory.
    fn settle(&mut self, now: Now, shard: ShardId, out: &mut Effects<B>) {
        if self.replicas.get(&shard).is_some_and(|it| it.raft.is_asleep() != self.sleepers.contains(shard)) {
            self.with(now, shard, out, Replica::note_sleep);
        }
        let Some(replica) = self.replicas.get(&shard) else { return };
        let (term, leader) = (replica.raft.term(), replica.leader_node());
        if replica.has_gathered() {
            self.pace.hold(shard);
        }
        if replica.has_proposed(now.time) {
            self.pace.on_proposed(shard);
        }
        if self.told.insert(shard, (term, leader)) != Some((term, leader)) {
            out.leaders.push((shard, term, leader));
        }
        self.timers.set(shard, replica.deadline(&self.options));
        let patience = self.options.raft.election_timeout_min;
        self.sleepers.set(shard, replica.watched(), &self.supports, patience);
        let (dirty, clean) = (replica.machine.overlay_bytes(), replica.machine.clean_bytes());
        let before = self.memory.insert(shard, Memory { dirty, clean }).unwrap_or_default();
        self.memory_total.dirty = self.memory_total.dirty + dirty - before.dirty;
        self.memory_total.clean = self.memory_total.clean + clean - before.clean;
    }

    /// A seed of its own for each replica: two that draw the same election timeouts would split votes for ever.
    fn replica_seed(&self, shard: ShardId) -> u64 {
        self.seed ^ shard.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.node.0.rotate_left(32)
    }
}
