//! Reads: a linearizable one waits for the leader's confirmation (by its lease at once, else by ReadIndex, thesis §6.4) and for the state machine to
//! reach the confirmed index; then it is served from the overlay, or from the base by the reader pool.
//!
//! All reads that arrive in one turn share one confirmation. The view of the base is taken here, after the check that
//! the shard owns the slot, so that a worker never waits for a disk and a move cannot slip in between.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use flotilla_raft::{Index, ReadId};
use flotilla_store::{Base, Limits, Lookup, ScanRange};

use super::boundary::{Answer, Consistency, Event, ReadJob, Refusal, Token};
use super::replica::{Replica, Turn};
use super::sleep::Wakeup;

/// What a client wants to read.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The record of one key.
    Key(Bytes),
    /// One page of a scan.
    Page(ScanRange, Limits),
}

/// A read and who waits for it.
type Waiting = (Token, Wanted);

/// The reads of one shard that are on their way.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Arrived in this turn.
    arrived: Vec<Waiting>,
    /// Waiting for the leader's confirmation.
    asked: BTreeMap<ReadId, Vec<Waiting>>,
    /// Confirmed; waiting until the state machine has applied the index.
    confirmed: VecDeque<(Index, Vec<Waiting>)>,
    waiting: usize,
    newest: u64,
}

impl Replica {
    /// Takes a read: a stale one is served at once, a linearizable one waits for its confirmation.
    pub(super) fn read<B: Base>(
        &mut self,
        turn: &mut Turn<'_, B>,
        token: Token,
        wanted: Wanted,
        consistency: Consistency,
    ) {
        if consistency == Consistency::Stale {
            let lag = self.raft.commit().0.saturating_sub(self.machine.applied().index.0);
            self.serve(turn, (token, wanted), Some(lag));
        } else if !self.raft.is_leader() {
            turn.out.refuse(token, self.not_leader());
        } else if self.reads.waiting >= turn.options.reads_waiting_max {
            turn.out.refuse(token, Refusal::Overloaded { shard: self.shard, what: "the queue of reads" });
        } else {
            self.reads.waiting += 1;
            self.reads.arrived.push((token, wanted));
        }
    }

    /// Asks for one confirmation for all reads of this turn.
    pub(super) fn ask_reads<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        if self.reads.arrived.is_empty() {
            return;
        }
        let arrived = std::mem::take(&mut self.reads.arrived);
        self.reads.newest += 1;
        let id = ReadId(self.reads.newest);
        let Self { raft, placement, .. } = self;
        let held = |voter| placement.get(&voter).and_then(|node| turn.supports.held(*node));
        if raft.is_asleep() && !raft.has_lease(turn.now.time, held) {
            self.rouse(turn, Wakeup::Asked);
        }
        let Self { raft, placement, .. } = self;
        let held = |voter| placement.get(&voter).and_then(|node| turn.supports.held(*node));
        match raft.read_by_lease(turn.now.time, id, held) {
            Ok(by_lease) => {
                turn.out.event(self.shard, Event::ReadsAsked { by_lease });
                self.reads.asked.insert(id, arrived);
            }
            Err(_) => {
                self.reads.waiting -= arrived.len();
                let refusal = self.not_leader();
                arrived.into_iter().for_each(|(token, _)| turn.out.refuse(token, refusal.clone()));
            }
        }
    }

    /// The core confirmed reads, or lost the office in which it could have.
    pub(super) fn reads_confirmed<B: Base>(
        &mut self,
        turn: &mut Turn<'_, B>,
        confirmed: Vec<(ReadId, Index)>,
        lost: Vec<ReadId>,
    ) {
        for (id, index) in confirmed {
            if let Some(reads) = self.reads.asked.remove(&id) {
                self.reads.confirmed.push_back((index, reads));
            }
        }
        for id in lost {
            for (token, _) in self.reads.asked.remove(&id).into_iter().flatten() {
                self.reads.waiting -= 1;
                turn.out.refuse(token, Refusal::ReadLost { shard: self.shard });
            }
        }
    }

    /// The replica ends.
    pub(super) fn abandon_reads<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let reads = std::mem::take(&mut self.reads);
        let confirmed = reads.confirmed.into_iter().flat_map(|(_, reads)| reads);
        for (token, _) in
            reads.arrived.into_iter().chain(reads.asked.into_values().flatten()).chain(confirmed)
        {
            turn.out.refuse(token, Refusal::ReadLost { shard: self.shard });
        }
    }

    /// Serves the confirmed reads whose index has been applied.
    pub(super) fn serve_reads<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let applied = self.machine.applied().index;
        while self.reads.confirmed.front().is_some_and(|(index, _)| *index <= applied) {
            for waiting in self.reads.confirmed.pop_front().into_iter().flat_map(|(_, reads)| reads) {
                self.reads.waiting -= 1;
                self.serve(turn, waiting, None);
            }
        }
    }

    fn serve<B: Base>(&self, turn: &mut Turn<'_, B>, (token, wanted): Waiting, lag_entries: Option<u64>) {
        let served = self.served(turn, lag_entries);
        match wanted {
            Wanted::Key(key) => match self.machine.get(&key) {
                Lookup::Record(record) => turn.out.reply(token, Answer::Got(served, record)),
                Lookup::WrongSlot(slot) => turn.out.reply(token, Answer::WrongSlot(served, slot)),
                Lookup::Base(read) => {
                    turn.out.reads.push(ReadJob::Get { token, served, read, view: turn.base.view() });
                }
            },
            Wanted::Page(range, limits) => {
                let slice = self.machine.scan(&range, limits);
                turn.out.reads.push(ReadJob::Scan { token, served, slice, view: turn.base.view() });
            }
        }
    }
}
