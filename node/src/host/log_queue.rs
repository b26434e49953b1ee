//! What this worker has on its way to the log: one batch a turn, and what its completion will mean.
//!
//! Completions come back as "everything up to this ticket is stable". What a completion means is remembered here, in
//! the order in which it was asked for, so that a replica hears of its writes in their order.

use std::collections::VecDeque;

use flotilla_raft::{Ticket, Time};
use flotilla_topology::ShardId;
use flotilla_wal::{Batch, Record};

use super::boundary::BatchTicket;

/// What a replica waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// A write of the consensus core.
    Raft(Ticket),
    /// The intent to install a snapshot: its data may become current now.
    Intent,
    /// The log restarts after the snapshot: the core may go on from there.
    Reset,
    /// The replica has ended: its part of the base may be dropped now.
    Tombstone,
}

/// A batch that the log has and has not made stable.
#[derive(Debug)]
struct Writing {
    ticket: BatchTicket,
    /// When it was handed to the log.
    since: Time,
    expected: Vec<(ShardId, Completion)>,
}

/// The batches of one worker that are being filled or written.
#[derive(Debug, Default)]
pub(super) struct LogQueue {
    batch: Batch,
    expected: Vec<(ShardId, Completion)>,
    writing: VecDeque<Writing>,
    newest: BatchTicket,
}

impl LogQueue {
    /// Adds a record to this turn's batch.
    pub(super) fn push(&mut self, shard: ShardId, record: Record) {
        self.batch.push(shard, record);
    }

    /// Remembers that a shard wants to know when this turn's batch is stable.
    pub(super) fn expect(&mut self, shard: ShardId, completion: Completion) {
        self.expected.push((shard, completion));
    }

    /// Closes this turn's batch, if it holds anything.
    pub(super) fn seal(&mut self, now: Time) -> Option<(BatchTicket, Batch)> {
        if self.batch.is_empty() {
            assert!(self.expected.is_empty(), "{:?} wait for a batch without records", self.expected);
            return None;
        }
        self.newest = BatchTicket(self.newest.0 + 1);
        let expected = std::mem::take(&mut self.expected);
        self.writing.push_back(Writing { ticket: self.newest, since: now, expected });
        Some((self.newest, std::mem::take(&mut self.batch)))
    }

    /// Takes what the stability of this batch, and of all before it, means.
    pub(super) fn persisted(&mut self, ticket: BatchTicket) -> Vec<(ShardId, Completion)> {
        assert!(ticket <= self.newest, "batch {} is stable before it was made ({})", ticket.0, self.newest.0);
        let mut complete = Vec::new();
        while self.writing.front().is_some_and(|writing| writing.ticket <= ticket) {
            complete.extend(self.writing.pop_front().into_iter().flat_map(|writing| writing.expected));
        }
        complete
    }

    /// Since when the log has had the oldest batch that is not stable. Batches become stable in order, so a log that makes
    /// progress, however slow, has a younger one each time.
    pub(super) fn waiting_since(&self) -> Option<Time> {
        self.writing.front().map(|writing| writing.since)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_raft::ReplicaId;

    use super::*;

    const SHARD: ShardId = ShardId(7);

    fn fill(queue: &mut LogQueue, ticket: u64) -> BatchTicket {
        queue.push(SHARD, Record::Tombstone { replica: ReplicaId(ticket) });
        queue.expect(SHARD, Completion::Raft(Ticket(ticket)));
        queue.seal(Time(ticket)).expect("the batch holds a record").0
    }

    #[test]
    fn a_completion_speaks_of_all_batches_up_to_it_and_of_none_after() {
        let mut queue = LogQueue::default();
        fill(&mut queue, 10);
        let second = fill(&mut queue, 11);
        let third = fill(&mut queue, 12);
        assert_eq!(
            queue.persisted(second),
            [(SHARD, Completion::Raft(Ticket(10))), (SHARD, Completion::Raft(Ticket(11)))]
        );
        assert_eq!(queue.persisted(second), []);
        assert_eq!(queue.persisted(third), [(SHARD, Completion::Raft(Ticket(12)))]);
    }

    #[test]
    fn it_is_known_since_when_the_oldest_batch_waits() {
        let mut queue = LogQueue::default();
        assert_eq!(queue.waiting_since(), None);
        let first = fill(&mut queue, 10);
        let second = fill(&mut queue, 11);
        assert_eq!(queue.waiting_since(), Some(Time(10)));
        queue.persisted(first);
        assert_eq!(queue.waiting_since(), Some(Time(11)), "the log makes progress");
        queue.persisted(second);
        assert_eq!(queue.waiting_since(), None);
    }

    #[test]
    fn a_turn_without_records_makes_no_batch() {
        assert!(LogQueue::default().seal(Time(1)).is_none());
    }
}
