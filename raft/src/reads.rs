//! Linearizable reads without a log entry: ReadIndex (thesis, §6.4), batched.
//!
//! A read remembers the commit index at its arrival. It may be served from the state machine once that index
//! is applied, *if* this replica was still the leader at some moment after the arrival: only then is it sure
//! that nobody had committed anything beyond that index. A round of heartbeats that begins after the arrival
//! and is answered by a quorum proves it. Every round has its own number, so that an answer to an earlier
//! round proves nothing about a later read.
//!
//! ```text
//!   read a ──▶ round 7 begins ───────────────▶ a quorum answered 7: a is confirmed
//!                    read b, c arrive: wait ──▶ round 8 begins ──▶ …
//! ```
//!
//! Reads that arrive while a round is under way wait for the next one, so there are never more rounds than
//! round trips. A round that is lost is replaced by the next heartbeat's. A lease saves the round: see
//! `support.rs`.

use std::collections::VecDeque;

use crate::core::Core;
use crate::id::{Index, ReplicaId};
use crate::leader::Leader;
use crate::message::Round;
use crate::quorum;
use crate::ready::ReadId;

/// A read or a transfer was asked of a replica that does not lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the leader (that is {leader:?}, as far as known)")]
pub struct NotLeader {
    /// Who leads, if that is known.
    pub leader: Option<ReplicaId>,
}

/// The reads that a leader has not confirmed.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Arrived, in no round. With the commit index at arrival.
    waiting: Vec<(ReadId, Index)>,
    /// In a round, oldest first.
    rounds: VecDeque<(Round, Vec<(ReadId, Index)>)>,
}

impl Reads {
    /// The waiting reads join the round that begins.
    pub(crate) fn join(&mut self, round: Round) {
        if !self.waiting.is_empty() {
            self.rounds.push_back((round, std::mem::take(&mut self.waiting)));
        }
    }

    /// Whether none waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.rounds.is_empty()
    }

    /// Every read that is not confirmed, in order of arrival.
    pub(crate) fn into_ids(self) -> impl Iterator<Item = ReadId> {
        self.rounds.into_iter().flat_map(|(_, reads)| reads).chain(self.waiting).map(|(id, _)| id)
    }
}

impl Leader {
    /// A read arrives. Its round begins with the next `Ready`, so that the reads of a turn share it.
    pub(crate) fn read(&mut self, core: &Core, read: ReadId) {
        self.stir(core);
        self.reads.waiting.push((read, core.commit()));
        self.unsent = true;
    }

    /// Begins a round for the reads that wait, unless one is under way. Not before an entry of this term is
    /// committed: until then the commit index may lack what an earlier leader has committed and acknowledged.
    pub(crate) fn start_reads(&mut self, core: &mut Core) {
        if self.reads.waiting.is_empty() || !self.reads.rounds.is_empty() || !self.has_committed_own(core) {
            return;
        }
        self.beat(core);
        self.confirm_reads(core); // A single voter needs no answers.
    }

    /// Confirms the reads of every round that a quorum has answered.
    pub(crate) fn confirm_reads(&mut self, core: &mut Core) {
        if self.reads.rounds.is_empty() {
            return;
        }
        let answered = |id| match self.progress.get(&id) {
            Some(progress) => progress.round,
            None if id == core.id => self.round,
            None => Round(0),
        };
        let Some(confirmed) = quorum::reached(&core.configuration, answered) else { return };
        while let Some((_, reads)) = self.reads.rounds.front().filter(|(round, _)| *round <= confirmed) {
            core.ready.reads.extend(reads.iter().map(|(id, commit)| (*id, (*commit).max(self.noop))));
            self.reads.rounds.pop_front();
        }
        self.unsent |= !self.reads.waiting.is_empty();
    }
}
