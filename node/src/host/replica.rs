//! One replica: its consensus core, its state machine, and what is on the way between them.

use std::collections::{BTreeMap, VecDeque};

use flotilla_raft::{Entry, Held, Index, LogId, Message, Raft, ReplicaId, Rpc, Term, Time, Write};
use flotilla_store::{Base, Genesis, Machine};
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::Record;

use super::boundary::{Effects, Event, Now, Refusal, Served, SnapshotJob};
use super::flushing::Flushing;
use super::install::Install;
use super::log_queue::{Completion, LogQueue};
use super::options::Options;
use super::reads::Reads;
use super::sleep::Wakeup;
use super::status::{FollowerStatus, ReplicaStatus};
use super::support::Supports;
use super::tail::Tail;
use super::writes::Writes;

/// What a replica may use during a turn.
pub(super) struct Turn<'a, B: Base> {
    pub now: Now,
    pub options: &'a Options,
    pub base: &'a B,
    pub supports: &'a Supports,
    pub log: &'a mut LogQueue,
    pub out: &'a mut Effects<B>,
    /// The overlays of this worker hold so much that everything that can be flushed should be.
    pub pressed: bool,
    /// The overlays of this worker are full.
    pub full: bool,
    /// Together with what is only cached, they take more than they may.
    pub crowded: bool,
    /// Proposals wait (`pace.rs`).
    pub paced: bool,
}

/// A snapshot on its way to a follower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streaming {
    /// Its last entry.
    pub last: Index,
    /// It is staged there, and perhaps not yet installed.
    pub delivered: bool,
}

/// One member of a shard on this node.
pub(super) struct Replica {
    pub shard: ShardId,
    pub id: ReplicaId,
    pub genesis: Genesis,
    pub placement: BTreeMap<ReplicaId, NodeId>,
    pub raft: Raft,
    /// The last term in which it led and of which the others were told that it does no more.
    pub fell_in: Option<Term>,
    /// What woke it in this turn.
    pub woken_by: Option<Wakeup>,
    pub machine: Machine,
    pub writes: Writes,
    pub reads: Reads,
    /// Committed, persisted here, and not applied.
    pub backlog: VecDeque<Entry>,
    pub backlog_bytes: u64,
    /// The entry at the head of the backlog waits for keys from the base.
    pub parked: bool,
    pub tail: Tail,
    pub flushing: Flushing,
    pub install: Install,
    /// The snapshots that are on their way to followers.
    pub streaming: BTreeMap<ReplicaId, Streaming>,
}

impl Replica {
    /// The node where a replica of this shard lives.
    pub(super) fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        self.placement.get(&replica).copied()
    }

    /// The support that this node has from the node of a voter.
    pub(super) fn held(&self, supports: &Supports, voter: ReplicaId) -> Option<Held> {
        self.node_of(voter).and_then(|node| supports.held(node))
    }

    /// The node that leads, as far as is known here.
    pub(super) fn leader_node(&self) -> Option<NodeId> {
        self.raft.leader().and_then(|leader| self.node_of(leader))
    }

    /// Why this replica cannot do what only a leader can.
    pub(super) fn not_leader(&self) -> Refusal {
        Refusal::NotLeader { shard: self.shard, term: self.raft.term(), leader: self.leader_node() }
    }

    /// What to say of an answer that is made now.
    pub(super) fn served<B: Base>(&self, turn: &Turn<'_, B>, lag_entries: Option<u64>) -> Served {
        let now = turn.now.time;
        let by_node = self.heard_by_node(turn.supports).map(|heard| now.since(heard));
        let silence = by_node.unwrap_or_else(|| self.raft.silence(now));
        let silence_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        Served {
            shard: self.shard,
            term: self.raft.term(),
            time_ms: self.machine.time_ms(),
            version: self.machine.version(),
            lag_entries,
            silence_ms,
        }
    }

    /// Takes a message, unless it is for another replica or there is no room for what it brings.
    pub(super) fn take_message<B: Base>(&mut self, turn: &mut Turn<'_, B>, message: Message) {
        if message.to != self.id {
            return;
        }
        // An append that is dropped comes again; one that is taken stays in memory until the flusher made room.
        let brings_entries = matches!(&message.rpc, Rpc::Append { entries, .. } if !entries.is_empty());
        if brings_entries && (turn.full || self.backlog_bytes > turn.options.backlog_bytes_max) {
            return;
        }
        self.rouse_for(turn, &message);
        self.heed(turn, &message);
        if let Err(impossible) = self.raft.step(turn.now.time, message) {
            turn.out.impossible.push((self.shard, impossible));
        }
    }

    /// The node's link to a peer broke.
    pub(super) fn peer_lost(&mut self, node: NodeId) {
        let replicas: Vec<ReplicaId> =
            self.placement.iter().filter(|(_, at)| **at == node).map(|(replica, _)| *replica).collect();
        for replica in replicas {
            if self.raft.is_asleep() {
                self.woken_by = Some(Wakeup::Broken);
            }
            self.raft.unreachable(replica);
        }
    }

    /// The link from a peer broke. Whether this replica follows somebody there.
    pub(super) fn peer_silent<B: Base>(&mut self, turn: &Turn<'_, B>, node: NodeId) -> bool {
        let leader = self.raft.leader().filter(|leader| *leader != self.id);
        let Some(leader) = leader.filter(|leader| self.node_of(*leader) == Some(node)) else { return false };
        self.bind(turn.now, turn.supports);
        if self.raft.is_asleep() {
            self.woken_by = Some(Wakeup::Broken);
        }
        self.raft.silent(turn.now.time, leader);
        true
    }

    /// Part of a log batch is stable.
    pub(super) fn persisted<B: Base>(&mut self, turn: &mut Turn<'_, B>, completion: Completion) {
        match completion {
            Completion::Raft(ticket) => self.raft.persisted(turn.now.time, ticket),
            Completion::Intent => self.activate_snapshot(turn),
            Completion::Reset => self.finish_install(turn),
            Completion::Tombstone => unreachable!("{} lives after its tombstone", self.id),
        }
    }

    /// Carries out everything that the core has ready, and what follows from it.
    pub(super) fn drain<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        self.propose(turn);
        self.ask_reads(turn);
        loop {
            self.apply(turn);
            if !self.raft.has_ready() {
                break;
            }
            let ready = self.raft.ready();
            self.send(turn, ready.messages);
            if let Some(write) = ready.write {
                self.log(turn, write);
            }
            if ready.role_changed {
                self.office_changed(turn);
            }
            self.reads_confirmed(turn, ready.reads, ready.reads_lost);
            for follower in ready.snapshots {
                self.send_snapshot(turn, follower);
            }
            if let Some(meta) = ready.install {
                self.start_install(turn, meta);
            }
            self.backlog_bytes += ready.committed.iter().map(Entry::bytes).sum::<u64>();
            self.backlog.extend(ready.committed);
        }
        self.serve_reads(turn);
        self.flush_if_due(turn);
        self.purge_leftovers(turn);
        if turn.crowded {
            self.machine.drop_clean();
        }
        self.writes.look_at_time(turn, &self.raft, &self.machine);
    }

    /// When this replica wants to be woken, whatever else happens.
    pub(super) fn deadline(&self, options: &Options) -> Option<Time> {
        // Nothing is flushed while a snapshot replaces the state: a deadline in the past would only spin.
        let flush = if self.install.under_way() { None } else { self.flushing.deadline(options) };
        [self.raft.deadline(), flush, self.writes.deadline()].into_iter().flatten().min()
    }

    fn send<B: Base>(&self, turn: &mut Turn<'_, B>, messages: Vec<Message>) {
        for message in messages {
            // A replica whose node is not known here cannot be reached; the map will tell, and Raft asks again.
            if let Some(node) = self.node_of(message.to) {
                turn.out.messages.push((node, self.shard, message));
            }
        }
    }

    fn log<B: Base>(&self, turn: &mut Turn<'_, B>, write: Write) {
        if let Some(hard_state) = write.hard_state {
            turn.log.push(self.shard, Record::HardState(hard_state));
        }
        if !write.entries.is_empty() {
            turn.log.push(self.shard, Record::Entries(write.entries));
        }
        turn.log.expect(self.shard, Completion::Raft(write.ticket));
    }

    fn send_snapshot<B: Base>(&mut self, turn: &mut Turn<'_, B>, to: ReplicaId) {
        let Some(node) = self.node_of(to) else {
            self.raft.snapshot_done(turn.now.time, to, None);
            return;
        };
        self.streaming.insert(to, Streaming { last: self.machine.durable().index, delivered: false });
        turn.out.snapshots.push(SnapshotJob {
            shard: self.shard,
            node,
            from: self.id,
            to,
            term: self.raft.term(),
            view: turn.base.view(),
        });
    }

    /// The stream of a snapshot ended.
    pub(super) fn snapshot_sent<B: Base>(
        &mut self,
        turn: &mut Turn<'_, B>,
        to: ReplicaId,
        delivered: Option<LogId>,
    ) {
        if delivered.is_some() {
            turn.out.event(self.shard, Event::SnapshotSent);
        }
        match self.streaming.get_mut(&to) {
            Some(streaming) if delivered.is_some() => streaming.delivered = true,
            _ => drop(self.streaming.remove(&to)),
        }
        self.raft.snapshot_done(turn.now.time, to, delivered);
    }

    /// This replica, seen from outside.
    pub(super) fn status(&self, supports: &Supports) -> ReplicaStatus {
        let raft = self.raft.status();
        let followers = raft.progress.iter().map(|(replica, progress)| FollowerStatus {
            replica: *replica,
            node: self.node_of(*replica),
            matched: progress.matched,
            next: progress.next,
            state: progress.state,
            active: progress.recent_active,
        });
        ReplicaStatus {
            shard: self.shard,
            replica: self.id,
            role: raft.role,
            term: raft.term,
            vote: raft.vote,
            lease: self.raft.lease(|voter| self.held(supports, voter)),
            leader: raft.leader,
            leader_node: self.leader_node(),
            watched: self.watched(),
            commit: raft.commit,
            applied: self.machine.applied(),
            durable: self.machine.durable(),
            last: raft.last.index,
            persisted: raft.persisted,
            compacted: raft.compacted.index,
            version: self.machine.version(),
            time_ms: self.machine.time_ms(),
            slots: self.machine.slots().count(),
            overlay_bytes: self.machine.overlay_bytes(),
            configuration: raft.configuration,
            configuration_index: raft.configuration_index,
            settled: raft.configuration_settled,
            followers: followers.collect(),
        }
    }
}
