//! Writes: gathered during a turn, proposed as one entry, answered when that entry is applied.
//!
//! A write that was proposed has one of three ends. Its entry is applied here: the outcome is the answer. The leader
//! loses office first: the answer is "unknown", because a successor may still commit the entry. The process dies:
//! the client hears nothing, which means the same. A write that was refused before it was proposed surely did not
//! happen.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use flotilla_raft::{LogId, ProposeError, Raft, RoleKind, Time};
use flotilla_store::{Action, Base, Command, Machine, Operation, Outcome};
use flotilla_topology::ShardId;

use super::boundary::{Answer, Event, Refusal, Token};
use super::replica::{Replica, Turn};
use super::results::{Freeing, Room};
use super::sleep::Wakeup;

/// The writes of one shard that are on their way.
#[derive(Debug, Default)]
pub(super) struct Writes {
    gathered: Vec<(Token, Operation)>,
    gathered_bytes: usize,
    proposed: VecDeque<Proposal>,
    proposed_bytes: usize,
    freeing: Freeing,
    /// A command without operations is on its way, to let shard time pass.
    time_entry: Option<LogId>,
    /// When a leader that nothing else wakes looks whether shard time must pass.
    look_at: Option<Time>,
}

/// One entry that this leader proposed, and who waits for it.
#[derive(Debug)]
struct Proposal {
    id: LogId,
    at: Time,
    bytes: usize,
    tokens: Vec<Token>,
    /// Its clients that stand in [`Writes::freeing`] because of it.
    freeing: Vec<u128>,
}

/// What an operation takes beside its key and its value, at most: request id, ttl, lengths, tags.
const OPERATION_OVERHEAD_BYTES: usize = 80;

/// What a compare or an operation of a transaction takes beside its key and its value, at most: a tag, a version or a ttl,
/// two lengths.
const TXN_PART_OVERHEAD_BYTES: usize = 24;

/// How many keys whose present value matters one entry may name. Apply loads all values of an entry that only the base
/// holds at once, and a delete of a mebibyte takes a hundred bytes of an entry: without a bound, one entry could need more
/// memory than any replica has, now and at every restart. A transaction that names more has an entry of its own; the gate
/// bounds what it may name.
const LOADS_PER_ENTRY_MAX: usize = 64;
/// How long a leader without a timer does not look at its clock, although something waits for shard time: so late is it at most, if the
/// wall clock is set forward meanwhile.
const TIME_LOOK_MAX: Duration = Duration::from_secs(10);

/// How many keys apply may have to load for an operation.
fn loads(operation: &Operation) -> usize {
    match &operation.action {
        Action::Put { .. } => 0,
        Action::Delete { .. } | Action::CompareAndSwap { .. } => 1,
        Action::Txn(txn) => txn.keys_read().collect::<BTreeSet<_>>().len(),
    }
}

/// How much room an operation takes in an entry, at most.
fn bytes_of(operation: &Operation) -> usize {
    let parts = match &operation.action {
        Action::Put { .. } | Action::Delete { .. } | Action::CompareAndSwap { .. } => 0,
        Action::Txn(txn) => txn.parts(),
    };
    operation.action.payload_bytes() + OPERATION_OVERHEAD_BYTES + parts * TXN_PART_OVERHEAD_BYTES
}

impl Writes {
    /// Sees to it that a leader looks at its clock when something that waits for shard time is due. One that beats does at each
    /// heartbeat; one that sleeps, or has no followers, has no timer of its own.
    pub(super) fn look_at_time<B: Base>(&mut self, turn: &Turn<'_, B>, raft: &Raft, machine: &Machine) {
        let looks_itself = !raft.is_leader() || raft.deadline().is_some();
        self.look_at = machine.next_due_ms().filter(|_| !looks_itself).map(|due_ms| {
            let wait = Duration::from_millis(due_ms.saturating_sub(turn.now.wall_ms));
            turn.now.time + wait.clamp(turn.options.raft.heartbeat_interval, TIME_LOOK_MAX)
        });
    }

    /// When the clock is looked at, whatever else happens.
    pub(super) const fn deadline(&self) -> Option<Time> {
        self.look_at
    }
}

impl Replica {
    /// Takes a write for this turn's entry, or refuses it.
    pub(super) fn admit<B: Base>(&mut self, turn: &mut Turn<'_, B>, token: Token, operation: Operation) {
        match self.admission(turn, &operation) {
            Ok(room) => {
                if let (Room::Freed, Some(request)) = (room, &operation.request) {
                    self.writes.freeing.insert(request.client);
                }
                self.writes.gathered_bytes += bytes_of(&operation);
                self.writes.gathered.push((token, operation));
            }
            Err(refusal) => turn.out.refuse(token, refusal),
        }
    }

    fn admission<B: Base>(&self, turn: &Turn<'_, B>, operation: &Operation) -> Result<Room, Refusal> {
        let shard = self.shard;
        if !self.raft.is_leader() {
            return Err(self.not_leader());
        }
        if turn.full {
            return Err(Refusal::Overloaded { shard, what: "the overlay" });
        }
        let bytes = bytes_of(operation);
        if bytes > turn.options.entry_bytes_max {
            return Err(Refusal::TooLarge { bytes, bytes_max: turn.options.entry_bytes_max });
        }
        let waiting = self.writes.proposed_bytes + self.writes.gathered_bytes;
        if waiting + bytes > turn.options.proposed_bytes_max {
            return Err(Refusal::Overloaded { shard, what: "the queue of proposals" });
        }
        let time_ms = self.machine.time_ms().max(turn.now.wall_ms);
        let deadline_max_ms = turn.options.deadline_max_ms;
        match &operation.request {
            Some(request) if request.deadline_ms > time_ms.saturating_add(deadline_max_ms) => {
                Err(Refusal::DeadlineTooFar { time_ms, deadline_max_ms })
            }
            request => self.room_for_result(&self.writes.freeing, turn.options, request.as_ref()),
        }
    }

    /// Whether writes were gathered that are not proposed yet.
    pub(super) fn has_gathered(&self) -> bool {
        !self.writes.gathered.is_empty()
    }

    /// Whether it has proposed at this moment.
    pub(super) fn has_proposed(&self, now: Time) -> bool {
        self.writes.proposed.back().is_some_and(|proposal| proposal.at == now)
    }

    /// Whether what it proposed last is not committed.
    pub(super) fn has_uncommitted(&self) -> bool {
        self.writes.proposed.back().is_some_and(|proposal| proposal.id.index > self.raft.commit())
    }

    /// Proposes what was gathered: one entry, or a few if one would be too large. Not while others are worth waiting for
    /// (`pace.rs`).
    pub(super) fn propose<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        if turn.paced && self.raft.is_leader() {
            return;
        }
        let mut gathered = std::mem::take(&mut self.writes.gathered).into_iter().peekable();
        self.writes.gathered_bytes = 0;
        if gathered.peek().is_some() && self.raft.is_leader() {
            self.rouse(turn, Wakeup::Asked);
        }
        while gathered.peek().is_some() {
            let (mut tokens, mut operations, mut bytes, mut loaded) = (Vec::new(), Vec::new(), 0, 0);
            while let Some((token, operation)) = gathered.next_if(|(_, operation)| {
                let fits = bytes + bytes_of(operation) <= turn.options.entry_bytes_max
                    && loaded + loads(operation) <= LOADS_PER_ENTRY_MAX;
                operations.is_empty() || fits
            }) {
                bytes += bytes_of(&operation);
                loaded += loads(&operation);
                tokens.push(token);
                operations.push(operation);
            }
            self.propose_command(turn, tokens, operations);
        }
        self.propose_time(turn);
    }

    fn propose_command<B: Base>(
        &mut self,
        turn: &mut Turn<'_, B>,
        tokens: Vec<Token>,
        operations: Vec<Operation>,
    ) {
        let freeing = self.writes.freeing.among(&operations);
        let data = Command { stamp_ms: self.stamp(turn), operations }.encode();
        let bytes = data.len();
        match self.raft.propose(turn.now.time, data) {
            Ok(id) => {
                self.writes.proposed_bytes += bytes;
                self.writes.proposed.push_back(Proposal { id, at: turn.now.time, bytes, tokens, freeing });
                turn.out.event(self.shard, Event::Proposed);
            }
            Err(error) => {
                self.writes.freeing.forget(&freeing);
                let refusal = self.refused_proposal(&error);
                tokens.into_iter().for_each(|token| turn.out.refuse(token, refusal.clone()));
            }
        }
    }

    fn refused_proposal(&self, error: &ProposeError) -> Refusal {
        let shard = self.shard;
        match error {
            ProposeError::NotLeader { .. } => self.not_leader(),
            ProposeError::Transferring { .. } => Refusal::Transferring { shard },
            _ => Refusal::Overloaded { shard, what: "the uncommitted log" },
        }
    }

    /// Lets shard time pass when something waits for it: keys expire only by an applied entry.
    fn propose_time<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let idle = self.writes.proposed.is_empty() && self.writes.time_entry.is_none();
        if !idle || !self.raft.is_leader() || !self.machine.due(turn.now.wall_ms) {
            return;
        }
        let data = Command { stamp_ms: self.stamp(turn), operations: Vec::new() }.encode();
        // Refused: the next turn tries again.
        self.writes.time_entry = self.raft.propose(turn.now.time, data).ok();
        if self.writes.time_entry.is_some() {
            turn.out.event(self.shard, Event::Proposed);
        }
    }

    fn stamp<B: Base>(&self, turn: &Turn<'_, B>) -> u64 {
        self.machine.time_ms().max(turn.now.wall_ms)
    }

    /// An entry was applied here: if this leader proposed it, its clients are answered.
    pub(super) fn answer<B: Base>(&mut self, turn: &mut Turn<'_, B>, id: LogId, outcomes: Vec<Outcome>) {
        if self.shard == ShardId::META && !outcomes.is_empty() {
            turn.out.map_changed = true;
        }
        if self.writes.time_entry.is_some_and(|entry| entry.index <= id.index) {
            self.writes.time_entry = None;
        }
        if self.writes.proposed.front().is_none_or(|proposal| proposal.id != id) {
            return;
        }
        let Some(proposal) = self.writes.proposed.pop_front() else { return };
        self.writes.proposed_bytes -= proposal.bytes;
        self.writes.freeing.forget(&proposal.freeing);
        assert_eq!(
            proposal.tokens.len(),
            outcomes.len(),
            "{id} of {} has another number of outcomes",
            self.shard
        );
        let after = turn.now.time.since(proposal.at);
        turn.out.event(self.shard, Event::Applied { after });
        let served = self.served(turn, None);
        for (token, mut outcome) in proposal.tokens.into_iter().zip(outcomes) {
            if let Outcome::Txn(txn) = outcome {
                // An answer must fit a message as an entry does, and must not keep a hundred loaded values in memory.
                outcome = Outcome::Txn(txn.with_values_of_at_most(turn.options.entry_bytes_max));
            }
            turn.out.reply(token, Answer::Written(served, outcome));
        }
    }

    /// The replica ends. What was proposed may be committed by others.
    pub(super) fn abandon_writes<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let shard = self.shard;
        let writes = std::mem::take(&mut self.writes);
        for (token, _) in writes.gathered {
            turn.out.refuse(token, Refusal::NotHosted { shard });
        }
        for token in writes.proposed.into_iter().flat_map(|proposal| proposal.tokens) {
            turn.out.refuse(token, Refusal::Unknown { shard });
        }
    }

    /// The role changed: what was proposed in another term may or may not be committed by another leader.
    pub(super) fn office_changed<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        self.note_fall(turn);
        let (leads, term) = (self.raft.is_leader(), self.raft.term());
        match self.raft.status().role {
            RoleKind::Leader => turn.out.event(self.shard, Event::Elected),
            RoleKind::Candidate => turn.out.event(self.shard, Event::Campaigned),
            RoleKind::Follower | RoleKind::PreCandidate => {}
        }
        let proposed = std::mem::take(&mut self.writes.proposed);
        for proposal in proposed {
            if leads && proposal.id.term == term {
                self.writes.proposed.push_back(proposal);
                continue;
            }
            self.writes.proposed_bytes -= proposal.bytes;
            self.writes.freeing.forget(&proposal.freeing);
            for token in proposal.tokens {
                turn.out.refuse(token, Refusal::Unknown { shard: self.shard });
            }
        }
        self.writes.time_entry = self.writes.time_entry.filter(|entry| leads && entry.term == term);
    }
}
