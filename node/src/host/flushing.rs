//! Flushing: when the overlay of a shard goes to the base, and what becomes of its log then.

use std::collections::BTreeMap;

use flotilla_raft::{Index, LogId, Time};
use flotilla_store::{Base, Flushed};
use flotilla_wal::Record;

use super::boundary::{Answer, BaseJob, Refusal, Token};
use super::options::Options;
use super::replica::{Replica, Turn};

/// How many may wait for a flush of one shard. A flusher that hangs answers nobody, and who asks in vain asks again.
const WAITING_MAX: usize = 256;

/// The flushes of one shard.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    in_flight: bool,
    /// Since when the overlay holds something that the base does not.
    dirty_since: Option<Time>,
    /// Who wants to know when the base holds an index.
    waiting: Vec<(Index, Token)>,
}

impl Flushing {
    /// Something was applied.
    pub(super) fn applied(&mut self, now: Time) {
        self.dirty_since.get_or_insert(now);
    }

    /// When the oldest unflushed write is old enough.
    pub(super) fn deadline(&self, options: &Options) -> Option<Time> {
        if self.in_flight { None } else { self.dirty_since.map(|since| since + options.flush_interval) }
    }

    /// The state that was being flushed is gone: a snapshot took its place.
    pub(super) fn forget(&mut self) {
        self.in_flight = false;
        self.dirty_since = None;
    }
}

impl Replica {
    /// Freezes the overlay and hands it to the flusher, if it is time.
    pub(super) fn flush_if_due<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let Some(since) = self.flushing.dirty_since else { return };
        let due = turn.now.time >= since + turn.options.flush_interval
            || self.machine.overlay_bytes() >= turn.options.flush_bytes
            || turn.pressed
            || !self.flushing.waiting.is_empty();
        if !due || self.flushing.in_flight || self.install.under_way() {
            return;
        }
        if let Some(flush) = self.machine.freeze() {
            self.flushing.in_flight = true;
            turn.out.base_jobs.push(BaseJob::Flush { shard: self.shard, flush });
        }
        self.flushing.dirty_since = None;
    }

    /// The base holds a frozen overlay: the log up to there has done its duty.
    pub(super) fn flushed<B: Base>(&mut self, turn: &mut Turn<'_, B>, flushed: Flushed) {
        turn.out.retired.push(self.machine.flushed(flushed));
        self.flushing.in_flight = false;
        self.answer_flushed(turn);
        self.compact(turn);
    }

    /// An operator wants everything applied so far in the base.
    pub(super) fn flush_for<B: Base>(&mut self, turn: &mut Turn<'_, B>, token: Token) {
        if self.flushing.waiting.len() >= WAITING_MAX {
            let (shard, what) = (self.shard, "the queue for its flush");
            turn.out.refuse(token, Refusal::Overloaded { shard, what });
            return;
        }
        self.flushing.waiting.push((self.machine.applied().index, token));
        self.answer_flushed(turn);
    }

    /// The replica ends.
    pub(super) fn abandon_flushes<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        for (_, token) in self.flushing.waiting.drain(..) {
            turn.out.refuse(token, Refusal::NotHosted { shard: self.shard });
        }
    }

    pub(super) fn answer_flushed<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let durable: LogId = self.machine.durable();
        self.flushing.waiting.retain(|(index, token)| {
            let waits = *index > durable.index;
            if !waits {
                turn.out.reply(*token, Answer::Flushed(durable));
            }
            waits
        });
    }

    /// What follows a snapshot on its way must be there when its follower has installed it, or it needs another one.
    fn pinned(&mut self) -> impl Iterator<Item = Index> {
        if self.streaming.is_empty() || !self.raft.is_leader() {
            self.streaming.clear();
        } else {
            let progress: BTreeMap<_, _> = self.raft.status().progress.into_iter().collect();
            self.streaming.retain(|follower, streaming| {
                let matched = progress.get(follower).map(|progress| progress.matched);
                !streaming.delivered || matched.is_some_and(|matched| matched < streaming.last)
            });
        }
        self.streaming.values().map(|streaming| streaming.last)
    }

    fn compact<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let durable = self.machine.durable().index;
        let behind = self.pinned().fold(durable, Index::min);
        let (retain, pinned) = (turn.options.log_retain_bytes, turn.options.log_pinned_bytes_max);
        let to = self.tail.compact(behind, retain).max(self.tail.compact(durable, retain + pinned));
        let Some(to) = to else { return };
        self.raft.compact(to);
        turn.log.push(self.shard, Record::Compact(self.raft.compacted()));
    }
}
