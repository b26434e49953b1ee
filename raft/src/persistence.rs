//! What of the log and the hard state is durable here.
//!
//! Writes are asynchronous: each gets a ticket, and the host reports the tickets back in order. The subtle
//! rule: **a completed write makes stable only what no later append has cut away.** A follower writes 10@3
//! (ticket 1), a new leader replaces it by 10@4 (ticket 2), that one is deposed and 10@3 comes again (ticket
//! 3). The completion of ticket 1 says that *a* 10@3 is on disk, but the disk is about to hold 10@4 there:
//! were the third write taken as stable, a crash between 2 and 3 would lose an entry that this replica has
//! acknowledged. So every cut lowers what the writes still under way can make stable.
//!
//! ```text
//!   live log   e e e e e e e e e e
//!                    ▲     ▲     ▲
//!               stable  handed_out  last
//! ```

use std::collections::VecDeque;

use crate::entry::HardState;
use crate::id::{Index, ReplicaId, Term};
use crate::ready::Ticket;

/// A write that was handed out and has not completed.
#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    /// Completion makes the log stable up to here.
    stabilises: Index,
}

#[derive(Debug)]
pub(crate) struct Persistence {
    in_flight: VecDeque<InFlight>,
    /// The last ticket given out.
    issued: Ticket,
    /// Everything up to this ticket is done.
    completed: Ticket,
    /// Entries up to here were handed out for writing.
    handed_out: Index,
    /// Entries up to here are durable.
    stable: Index,
    /// The hard state as last handed out.
    written: HardState,
    /// The ticket of the write that last changed term or vote.
    vote_ticket: Ticket,
}

impl Persistence {
    /// Everything recovered is durable.
    pub(crate) const fn new(hard_state: HardState, last: Index) -> Self {
        Self {
            in_flight: VecDeque::new(),
            issued: Ticket(0),
            completed: Ticket(0),
            handed_out: last,
            stable: last,
            written: hard_state,
            vote_ticket: Ticket(0),
        }
    }

    /// Entries up to here are durable.
    pub(crate) const fn stable(&self) -> Index {
        self.stable
    }

    /// Entries up to here were handed out for writing.
    pub(crate) const fn handed_out(&self) -> Index {
        self.handed_out
    }

    /// The hard state as last handed out.
    pub(crate) const fn written(&self) -> HardState {
        self.written
    }

    /// Whether this term and vote still have to be handed out.
    pub(crate) fn owes(&self, hard_state: &HardState) -> bool {
        vote_of(hard_state) != vote_of(&self.written)
    }

    /// The write whose completion makes this term and vote durable: one under way, or the next.
    pub(crate) fn ticket_for(&self, hard_state: &HardState) -> Ticket {
        if self.owes(hard_state) { Ticket(self.issued.0 + 1) } else { self.vote_ticket }
    }

    /// Whether everything up to this ticket is done.
    pub(crate) fn is_complete(&self, ticket: Ticket) -> bool {
        ticket <= self.completed
    }

    /// Notes a write of the hard state and of the entries up to `last` (`None`: of no entries).
    pub(crate) fn hand_out(&mut self, hard_state: HardState, last: Option<Index>) -> Ticket {
        self.issued.0 += 1;
        if self.owes(&hard_state) {
            self.vote_ticket = self.issued;
        }
        self.written = hard_state;
        self.handed_out = last.unwrap_or(self.handed_out);
        self.in_flight.push_back(InFlight { ticket: self.issued, stabilises: last.unwrap_or_default() });
        self.issued
    }

    /// The log was cut from `first` on. What is on disk there, or on its way, no longer belongs to the log.
    pub(crate) fn cut(&mut self, first: Index) {
        let kept = first.previous();
        self.handed_out = self.handed_out.min(kept);
        self.stable = self.stable.min(kept);
        for write in &mut self.in_flight {
            write.stabilises = write.stabilises.min(kept);
        }
    }

    /// All writes up to `ticket` are durable.
    ///
    /// # Panics
    /// If that ticket was never given out.
    pub(crate) fn complete(&mut self, ticket: Ticket) {
        assert!(
            ticket <= self.issued,
            "ticket {} completed, but only {} were issued",
            ticket.0,
            self.issued.0
        );
        self.completed = self.completed.max(ticket);
        while let Some(write) = self.in_flight.front()
            && write.ticket <= ticket
        {
            self.stable = self.stable.max(write.stabilises);
            self.in_flight.pop_front();
        }
    }

    /// The log was replaced by a snapshot that is durable up to `last`. Writes still under way were for the
    /// old log.
    pub(crate) fn reset(&mut self, last: Index) {
        for write in &mut self.in_flight {
            write.stabilises = Index(0);
        }
        self.handed_out = last;
        self.stable = last;
    }
}

const fn vote_of(hard_state: &HardState) -> (Term, Option<ReplicaId>) {
    (hard_state.term, hard_state.vote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(last: u64) -> Persistence {
        Persistence::new(HardState::default(), Index(last))
    }

    #[test]
    fn a_late_completion_says_nothing_about_what_replaced_its_entry() {
        let hard_state = HardState::default();
        let mut disk = fresh(9);
        let first = disk.hand_out(hard_state, Some(Index(10))); // 10@3
        disk.cut(Index(10));
        let second = disk.hand_out(hard_state, Some(Index(10))); // 10@4
        disk.cut(Index(10));
        let third = disk.hand_out(hard_state, Some(Index(10))); // 10@3 again
        disk.complete(first);
        assert_eq!(disk.stable(), Index(9), "the first 10@3 was cut away");
        disk.complete(second);
        assert_eq!(disk.stable(), Index(9), "10@4 was cut away too");
        disk.complete(third);
        assert_eq!(disk.stable(), Index(10));
    }

    #[test]
    fn a_cut_keeps_what_lies_before_it() {
        let mut disk = fresh(5);
        let write = disk.hand_out(HardState::default(), Some(Index(9)));
        disk.cut(Index(8));
        assert_eq!(disk.handed_out(), Index(7), "8 and 9 have to be written again");
        disk.complete(write);
        assert_eq!(disk.stable(), Index(7));
        disk.cut(Index(4));
        assert_eq!(disk.stable(), Index(3), "also what was stable is no longer the log's");
    }

    #[test]
    fn a_vote_is_durable_with_the_write_that_carries_it() {
        let mut disk = fresh(0);
        let old = HardState::default();
        assert!(disk.is_complete(disk.ticket_for(&old)), "what was recovered is durable");
        let new = HardState { term: Term(1), vote: Some(ReplicaId(1)), ..old };
        assert_eq!(disk.ticket_for(&new), Ticket(1), "the next write");
        let carrying = disk.hand_out(new, None);
        let later = disk.hand_out(HardState { commit: Index(3), ..new }, None);
        assert_eq!(
            disk.ticket_for(&new),
            carrying,
            "a later write of the commit index does not delay the vote"
        );
        disk.complete(carrying);
        assert!(disk.is_complete(disk.ticket_for(&new)) && !disk.is_complete(later));
    }

    #[test]
    fn a_snapshot_disowns_writes_under_way() {
        let mut disk = fresh(5);
        let write = disk.hand_out(HardState::default(), Some(Index(90)));
        disk.reset(Index(50));
        disk.complete(write);
        assert_eq!((disk.stable(), disk.handed_out()), (Index(50), Index(50)));
    }

    #[test]
    #[should_panic(expected = "ticket 1 completed, but only 0 were issued")]
    fn a_ticket_from_nowhere_is_a_broken_invariant() {
        fresh(0).complete(Ticket(1));
    }
}
