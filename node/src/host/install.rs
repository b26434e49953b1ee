//! Snapshots in: from a staged generation to the current one.
//!
//! ```text
//!   Stage        a peer asks to stream; we name a fresh generation
//!   Staged       its data is in the base, verified; the leader's message is stepped
//!   install      the core wants it → the intent goes to the log, before anything is replaced
//!   Activate     the intent is stable → the base's pointer moves to the new generation, synced
//!   Reset        the state machine is the new one → the log restarts after the snapshot
//!   installed    the reset is stable → the core goes on, and acknowledges to the leader
//! ```
//!
//! A crash before the pointer moved leaves the old state and an intent that nobody needs. A crash after it leaves a
//! base ahead of its log: the intent proves that this is an install cut short, and recovery resets the log. A base
//! ahead of its log *without* an intent is damage.

use flotilla_raft::{LogId, Message, ReplicaId, SnapshotMeta, Term};
use flotilla_store::{Base, Machine};
use flotilla_wal::Record;

use super::boundary::{Answer, BaseJob, Event, Refusal, Token};
use super::log_queue::Completion;
use super::replica::{Replica, Turn};

/// The snapshot of one shard that is on its way in.
#[derive(Debug, Default)]
pub(super) struct Install {
    /// The generation that a peer streams into.
    staging: Option<u64>,
    /// The greatest generation ever named.
    newest_generation: u64,
    /// What is being made current.
    installing: Option<(SnapshotMeta, u64)>,
    /// Generations that an earlier life left behind, to be purged when there is time.
    leftovers: Vec<u64>,
}

impl Install {
    /// A replica whose base holds generations up to this one, some of them dead.
    pub(super) fn new(newest_generation: u64, leftovers: Vec<u64>) -> Self {
        Self { newest_generation, leftovers, ..Self::default() }
    }

    /// The greatest generation ever named.
    pub(super) const fn newest_generation(&self) -> u64 {
        self.newest_generation
    }

    /// Whether the state machine is about to be replaced.
    pub(super) fn under_way(&self) -> bool {
        self.installing.is_some()
    }
}

impl Replica {
    /// A peer wants to stream a snapshot.
    pub(super) fn stage<B: Base>(
        &mut self,
        turn: &mut Turn<'_, B>,
        token: Token,
        to: ReplicaId,
        term: Term,
        last: LogId,
    ) {
        let refused = if to != self.id {
            Some(format!("{} has {} here, the snapshot is for {to}", self.shard, self.id))
        } else if term < self.raft.term() {
            Some(format!(
                "{} is in term {}, the snapshot of term {term} is late",
                self.shard,
                self.raft.term()
            ))
        } else if last.index <= self.raft.commit() {
            Some(format!("{} has committed {}, the snapshot ends at {last}", self.shard, self.raft.commit()))
        } else if self.install.under_way() {
            Some(format!("{} is installing another snapshot", self.shard))
        } else {
            None
        };
        if let Some(reason) = refused {
            turn.out.refuse(token, Refusal::Impossible { reason });
            return;
        }
        // The stream before it has ended, or its sender has: a leader has one at a time. To wait for a report that may never
        // come would leave this replica without a snapshot for ever.
        if let Some(abandoned) = self.install.staging.take() {
            turn.out.base_jobs.push(BaseJob::Purge { shard: self.shard, generation: abandoned });
        }
        self.install.newest_generation += 1;
        self.install.staging = Some(self.install.newest_generation);
        turn.out.reply(token, Answer::Stage { generation: self.install.newest_generation });
    }

    /// The staged data is complete, or its stream broke.
    pub(super) fn staged<B: Base>(
        &mut self,
        turn: &mut Turn<'_, B>,
        generation: u64,
        snapshot: Option<Message>,
    ) {
        if self.install.staging != Some(generation) {
            self.purge_abandoned(turn, generation);
            return;
        }
        if let Some(message) = snapshot {
            self.take_message(turn, message);
        }
        // If the core wants it, `start_install` takes the generation over during this turn.
    }

    /// A stream that was given up for a newer one has ended: what it wrote since goes too.
    fn purge_abandoned<B: Base>(&self, turn: &mut Turn<'_, B>, generation: u64) {
        let installing =
            self.install.installing.as_ref().is_some_and(|(_, installing)| *installing == generation);
        if !installing && generation != self.machine.generation() {
            turn.out.base_jobs.push(BaseJob::Purge { shard: self.shard, generation });
        }
    }

    /// Has the flusher remove what an earlier life left behind.
    pub(super) fn purge_leftovers<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        for generation in self.install.leftovers.drain(..) {
            turn.out.base_jobs.push(BaseJob::Purge { shard: self.shard, generation });
        }
    }

    /// After a turn: a staged generation that the core did not want is purged.
    pub(super) fn discard_unwanted<B: Base>(&mut self, turn: &mut Turn<'_, B>, generation: u64) {
        if self.install.staging == Some(generation) {
            self.install.staging = None;
            turn.out.base_jobs.push(BaseJob::Purge { shard: self.shard, generation });
        }
    }

    /// The core wants the staged snapshot: first of all, the intent goes to the log.
    pub(super) fn start_install<B: Base>(&mut self, turn: &mut Turn<'_, B>, meta: SnapshotMeta) {
        let Some(generation) = self.install.staging.take() else {
            self.raft.install_failed(turn.now.time);
            return;
        };
        turn.log.push(self.shard, Record::SnapshotIntent(meta.last));
        turn.log.expect(self.shard, Completion::Intent);
        self.install.installing = Some((meta, generation));
    }

    /// The intent is stable: the base may switch.
    pub(super) fn activate_snapshot<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let Some((meta, generation)) = self.install.installing.clone() else { return };
        let genesis = self.genesis.clone();
        turn.out.base_jobs.push(BaseJob::Activate { shard: self.shard, generation, meta, genesis });
    }

    /// The base has switched: the log restarts after the snapshot.
    pub(super) fn activated<B: Base>(&mut self, turn: &mut Turn<'_, B>, machine: Machine) {
        let Some((meta, generation)) = &self.install.installing else { return };
        assert_eq!(
            (machine.generation(), machine.applied()),
            (*generation, meta.last),
            "{} asked for another snapshot than the one that became current",
            self.shard
        );
        let dead = self.machine.generation();
        turn.log.push(self.shard, Record::Reset(meta.last));
        turn.log.expect(self.shard, Completion::Reset);
        turn.out.base_jobs.push(BaseJob::Purge { shard: self.shard, generation: dead });
        self.machine = machine;
        self.backlog.clear();
        self.backlog_bytes = 0;
        self.parked = false;
        self.tail = super::tail::Tail::default();
        self.flushing.forget();
        self.answer_flushed(turn);
    }

    /// The log has restarted: the core goes on from the snapshot.
    pub(super) fn finish_install<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        if let Some((meta, _)) = self.install.installing.take() {
            self.raft.installed(turn.now.time, &meta);
            turn.out.event(self.shard, Event::SnapshotInstalled);
        }
    }
}
