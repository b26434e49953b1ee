//! What a replica has in every role.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;

use crate::configuration::Configuration;
use crate::entry::HardState;
use crate::id::{Index, LogId, ReplicaId, Term};
use crate::log::Log;
use crate::message::{Message, Rpc};
use crate::options::Options;
use crate::persistence::Persistence;
use crate::ready::{Ready, Ticket, Write};
use crate::recovered::Recovered;
use crate::sleep::Life;
use crate::snapshot::SnapshotMeta;
use crate::support::Bond;
use crate::time::Time;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: ReplicaId,
    pub(crate) options: Options,
    random: Pcg32,
    /// The latest time that the replica was told.
    pub(crate) now: Time,
    /// When it last heard a leader; before that, when it started.
    pub(crate) heard_leader: Time,
    /// The term in which it started.
    pub(crate) started_in: Term,
    /// Term, vote and commit index as they are; what of them is durable, `persistence` knows.
    pub(crate) hard_state: HardState,
    pub(crate) log: Log,
    pub(crate) persistence: Persistence,
    /// The state machine is here.
    pub(crate) applied: Index,
    /// Entries up to here were handed out to be applied.
    pub(crate) handed_to_apply: Index,
    /// The configuration in effect: that of the last applied entry that brought one.
    pub(crate) configuration: Configuration,
    pub(crate) configuration_index: Index,
    /// The snapshot that the host is making current.
    pub(crate) installing: Option<SnapshotMeta>,
    /// That of this node.
    pub(crate) life: Life,
    /// The last term in which it led.
    pub(crate) led: Option<Term>,
    /// What was promised to leaders, and binds.
    pub(crate) bond: Bond,
    /// What the host will be handed next.
    pub(crate) ready: Ready,
    /// Messages of this term that wait until their sender's term and vote are durable, with the write that
    /// makes them so.
    held: VecDeque<(Ticket, Message)>,
}

impl Core {
    pub(crate) fn new(id: ReplicaId, options: Options, seed: u64, now: Time, recovered: Recovered) -> Self {
        recovered.validate();
        let last = recovered.last().index;
        let applied = recovered.applied.index;
        let hard_state = recovered.hard_state;
        let commit = hard_state.commit.max(applied);
        Self {
            id,
            options,
            random: Pcg32::seed_from_u64(seed),
            now,
            heard_leader: now,
            started_in: hard_state.term,
            hard_state: HardState { commit, ..hard_state },
            log: Log::new(recovered.compacted, recovered.entries, applied),
            persistence: Persistence::new(hard_state, last),
            applied,
            handed_to_apply: applied,
            configuration: recovered.configuration,
            configuration_index: recovered.configuration_index,
            installing: None,
            life: Life::default(),
            led: None,
            bond: Bond::default(),
            ready: Ready::default(),
            held: VecDeque::new(),
        }
    }

    pub(crate) const fn term(&self) -> Term {
        self.hard_state.term
    }

    pub(crate) const fn commit(&self) -> Index {
        self.hard_state.commit
    }

    /// Time goes on. A clock that goes back, goes nowhere.
    pub(crate) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// A moment at which an election timeout that begins now is over.
    pub(crate) fn draw_election_time(&mut self) -> Time {
        self.draw_election_time_from(self.now)
    }

    /// A moment at which an election timeout is over that began earlier.
    pub(crate) fn draw_election_time_from(&mut self, begin: Time) -> Time {
        let (min, max) = (self.options.election_timeout_min, self.options.election_timeout_max);
        begin + self.draw_between(min, max)
    }

    /// A moment shortly after now, for who knows that its leader is gone; not before it may campaign.
    pub(crate) fn draw_silence_time(&mut self) -> Time {
        self.draw_silence_time_from(self.now)
    }

    /// As [`Core::draw_silence_time`], for who has to wait until this moment anyhow.
    pub(crate) fn draw_silence_time_from(&mut self, from: Time) -> Time {
        let max = self.options.silence_wait_max;
        let from = from.max(self.bond.until(false));
        from + self.draw_between(max / 4, max)
    }

    fn draw_between(&mut self, min: Duration, max: Duration) -> Duration {
        let span = u64::try_from((max - min).as_micros()).unwrap_or(u64::MAX).max(1);
        min + Duration::from_micros(self.random.next_u64() % span)
    }

    /// Enters a later term, in which nobody has its vote.
    pub(crate) fn enter_term(&mut self, term: Term) {
        assert!(term > self.term(), "term {term} does not follow {}", self.term());
        self.hard_state.term = term;
        self.hard_state.vote = None;
        // They speak of a term that is over. Losing a message is always allowed.
        self.held.clear();
    }

    /// Sends a message, as soon as the term and vote that it speaks of are durable.
    ///
    /// Why also mere acknowledgements wait: a replica that answers in a term and forgets the term in a crash
    /// could answer in an earlier term again, and be counted by two leaders at once.
    pub(crate) fn send(&mut self, to: ReplicaId, rpc: Rpc) {
        let message = Message { from: self.id, to, term: self.term(), rpc };
        let ticket = self.persistence.ticket_for(&self.hard_state);
        if self.persistence.is_complete(ticket) {
            self.ready.messages.push(message);
        } else {
            self.held.push_back((ticket, message));
        }
    }

    /// Lets go of the messages whose write is done.
    pub(crate) fn release_messages(&mut self) {
        while let Some((ticket, _)) = self.held.front()
            && self.persistence.is_complete(*ticket)
        {
            self.ready.messages.extend(self.held.pop_front().map(|(_, message)| message));
        }
    }

    /// Whether a candidate whose log ends with `last` may be elected, by this replica's log (Raft paper,
    /// §5.4.1).
    pub(crate) fn is_up_to_date(&self, last: LogId) -> bool {
        last >= self.log.last()
    }

    /// Whether this replica may campaign. Not if it is no voter; not while it installs a snapshot, which
    /// would replace the log that it campaigned with; and not while it holds a committed configuration that
    /// it has not applied: by its outdated configuration it could count a majority that is none (DESIGN.md,
    /// §4).
    pub(crate) fn is_electable(&self) -> bool {
        let outdated = self.log.next_configuration().is_some_and(|at| at <= self.commit());
        self.configuration.is_voter(self.id) && self.installing.is_none() && !outdated
    }

    /// The newest entry known to be committed.
    pub(crate) fn commit_id(&self) -> LogId {
        let commit = self.commit();
        let term = self.log.term(commit);
        LogId::new(
            commit,
            term.unwrap_or_else(|| unreachable!("{}: {commit} is committed and not in the log", self.id)),
        )
    }

    /// Hears from anybody, in whatever term, that an entry is committed. That is a fact for ever: whoever holds that
    /// very entry knows it too.
    pub(crate) fn learn_commit(&mut self, committed: LogId) {
        if self.installing.is_none() && self.log.contains(committed) {
            self.commit_to(committed.index);
        }
    }

    /// Learns that everything up to `index` is committed.
    pub(crate) fn commit_to(&mut self, index: Index) {
        let last = self.log.last();
        assert!(
            index <= last.index,
            "{} is told of commit index {index} but its log ends at {last}: it has forgotten what it acknowledged",
            self.id
        );
        self.hard_state.commit = self.commit().max(index);
    }

    /// The log was replaced from `first` on.
    pub(crate) fn on_cut(&mut self, first: Index) {
        assert!(
            first > self.commit(),
            "{} is told to replace entry {first}, but has committed up to {}",
            self.id,
            self.commit()
        );
        self.persistence.cut(first);
    }

    /// Whether there is something to write.
    pub(crate) fn owes_write(&self) -> bool {
        self.persistence.owes(&self.hard_state) || self.first_unwritten().is_some()
    }

    /// The first entry that was not handed out for writing. None while a snapshot is being installed: the log
    /// will be replaced.
    fn first_unwritten(&self) -> Option<Index> {
        let first = self.persistence.handed_out().next();
        (first <= self.log.last().index && self.installing.is_none()).then_some(first)
    }

    pub(crate) fn take_write(&mut self) -> Option<Write> {
        if !self.owes_write() {
            return None;
        }
        let last = self.log.last().index;
        let entries: Vec<_> = self
            .first_unwritten()
            .map_or_else(Vec::new, |first| self.log.range(first, last).cloned().collect());
        let written_last = entries.last().map(crate::Entry::index);
        // A commit index on disk must never be ahead of the entries on disk.
        let durable_with_this = written_last.unwrap_or(self.persistence.handed_out());
        let commit = self.commit().min(durable_with_this).max(self.persistence.written().commit);
        let hard_state = HardState { commit, ..self.hard_state };
        let changed = hard_state != self.persistence.written();
        let ticket = self.persistence.hand_out(hard_state, written_last);
        Some(Write { ticket, hard_state: changed.then_some(hard_state), entries })
    }

    /// The last entry that may be applied: committed, and durable here.
    fn applicable(&self) -> Index {
        match self.installing {
            Some(_) => self.handed_to_apply,
            None => self.commit().min(self.persistence.stable()),
        }
    }

    pub(crate) fn owes_committed(&self) -> bool {
        self.applicable() > self.handed_to_apply
    }

    pub(crate) fn take_committed(&mut self) -> Vec<crate::Entry> {
        let (first, last) = (self.handed_to_apply.next(), self.applicable());
        if last < first {
            return Vec::new();
        }
        self.handed_to_apply = last;
        self.log.range(first, last).cloned().collect()
    }

    /// The chain that must hold at any time.
    ///
    /// ```text
    ///   compacted ≤ applied ≤ handed_to_apply ≤ commit ≤ last
    ///                         handed_to_apply ≤ stable ≤ handed_out ≤ last
    /// ```
    ///
    /// `commit` and `stable` have no order on a follower: it may learn that an entry is committed before its
    /// own copy is durable, and hold durable entries that are not committed.
    pub(crate) fn validate(&self) {
        let (compacted, last) = (self.log.compacted(), self.log.last());
        let (applied, handed, commit) = (self.applied, self.handed_to_apply, self.commit());
        let (stable, handed_out) = (self.persistence.stable(), self.persistence.handed_out());
        assert!(
            compacted.index <= applied && applied <= handed && handed <= commit && commit <= last.index,
            "{}: compacted {compacted} ≤ applied {applied} ≤ handed {handed} ≤ commit {commit} ≤ last {last}",
            self.id
        );
        assert!(
            handed <= stable && stable <= handed_out && handed_out <= last.index,
            "{}: handed {handed} ≤ stable {stable} ≤ handed out {handed_out} ≤ last {last}",
            self.id
        );
        assert!(last.term <= self.term(), "{}: last {last} is of a later term than {}", self.id, self.term());
    }
}
