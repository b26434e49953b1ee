//! How a leader comes to be: pre-vote, vote, and the votes of others (Raft paper, §5.2 and §5.4.1; thesis,
//! §9.6).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::Core;
use crate::id::{LogId, ReplicaId, Term};
use crate::liveness::ElectionTimer;
use crate::message::Rpc;
use crate::quorum::{self, Decision};
use crate::raft::{Raft, Role};

/// A replica that wants to lead.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) phase: Phase,
    /// When it gives up and asks anew.
    pub(crate) timer: ElectionTimer,
    votes: BTreeMap<ReplicaId, bool>,
}

/// How far the candidacy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asks whether it would be elected. Binds nobody: a replica that cannot win never raises a term, and so
    /// disturbs no one.
    PreVote,
    /// Campaigns in its term.
    Vote,
}

impl Candidate {
    fn new(core: &mut Core, phase: Phase) -> Self {
        Self { phase, timer: ElectionTimer::start(core), votes: BTreeMap::new() }
    }

    /// Whether a vote of this replica was counted.
    pub(crate) fn has_voted(&self, replica: ReplicaId) -> bool {
        self.votes.contains_key(&replica)
    }

    fn decision(&self, core: &Core) -> Decision {
        quorum::decision(&core.configuration, |id| self.votes.get(&id).copied())
    }
}

impl Raft {
    /// Asks for pre-votes, if this replica may campaign at all.
    pub(crate) fn start_pre_vote(&mut self) {
        if !self.core.is_electable() || self.core.is_bound(false) {
            return;
        }
        let candidate = Candidate::new(&mut self.core, Phase::PreVote);
        self.change_role(Role::Candidate(candidate));
        let (campaign, last) = (self.core.term().next(), self.core.log.last());
        self.ask_voters(&Rpc::PreVote { campaign, last });
        self.on_vote(self.core.id, true);
    }

    /// Campaigns in a new term.
    pub(crate) fn start_vote(&mut self, transfer: bool) {
        let term = self.core.term().next();
        self.core.enter_term(term);
        self.core.hard_state.vote = Some(self.core.id);
        let candidate = Candidate::new(&mut self.core, Phase::Vote);
        self.change_role(Role::Candidate(candidate));
        let last = self.core.log.last();
        self.ask_voters(&Rpc::Vote { last, transfer });
        // Its own vote counts once it is durable (see `on_own_vote_durable`): a candidate that won by a vote
        // that it then forgets could vote for another in the same term.
    }

    fn ask_voters(&mut self, rpc: &Rpc) {
        let core = &mut self.core;
        let others: Vec<_> = core.configuration.all_voters().filter(|id| *id != core.id).collect();
        others.into_iter().for_each(|id| core.send(id, rpc.clone()));
    }

    /// A write completed: perhaps the one with the candidate's own vote.
    pub(crate) fn on_own_vote_durable(&mut self) {
        let Role::Candidate(candidate) = &self.role else { return };
        let core = &self.core;
        let is_durable = core.persistence.is_complete(core.persistence.ticket_for(&core.hard_state));
        if candidate.phase == Phase::Vote && is_durable && !candidate.has_voted(core.id) {
            self.on_vote(core.id, true);
        }
    }

    /// Counts an answer to the candidacy.
    fn on_vote(&mut self, from: ReplicaId, granted: bool) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.votes.entry(from).or_insert(granted);
        match (candidate.decision(&self.core), candidate.phase) {
            (Decision::Pending, _) => {}
            // Its node may have been heard, and promised support, while it asked.
            (Decision::Won, Phase::PreVote) if self.core.is_bound(false) => self.become_follower(None),
            (Decision::Won, Phase::PreVote) => self.start_vote(false),
            (Decision::Won, Phase::Vote) => self.become_leader(),
            (Decision::Lost, _) => self.become_follower(None),
        }
    }

    /// Someone asks whether it would get this vote.
    pub(crate) fn on_pre_vote(&mut self, from: ReplicaId, campaign: Term, last: LogId) {
        let hears_leader = self.hears_leader();
        let is_free = !hears_leader && !self.core.is_bound(false);
        let granted = campaign > self.core.term() && is_free && self.core.is_up_to_date(last);
        let commit = self.core.commit_id();
        // Who hears the leader will be bound anew.
        let wait = if hears_leader { None } else { self.core.bound_for() };
        self.core.send(from, Rpc::PreVoteReply { campaign, granted, commit, wait });
        if granted {
            self.give_way(from, last);
        }
    }

    /// Lets a candidate that was promised this replica's vote go first. Of two that promise each other, the one with the longer
    /// log, then the greater id, goes on: nobody refuses for it, so one that is alone in its wish is never held up.
    fn give_way(&mut self, to: ReplicaId, last: LogId) {
        let rank = (self.core.log.last(), self.core.id);
        match &mut self.role {
            Role::Follower(follower) => follower.timer.give_way(&self.core),
            Role::Candidate(Candidate { phase: Phase::PreVote, .. }) if (last, to) > rank => {
                self.become_follower(None);
            }
            Role::Candidate(_) | Role::Leader(_) => {}
        }
    }

    pub(crate) fn on_pre_vote_reply(
        &mut self,
        from: ReplicaId,
        campaign: Term,
        granted: bool,
        wait: Option<Duration>,
    ) {
        let asked = self.core.term().next();
        if self.phase() == Some(Phase::PreVote) && campaign == asked {
            self.on_vote(from, granted);
            if let Some(wait) = wait.filter(|_| !granted) {
                self.ask_again_after(wait);
            }
        }
    }

    /// Who refused is bound by its promises for so long. The election timeout, drawn for nobody knows what, would mostly be longer.
    fn ask_again_after(&mut self, wait: Duration) {
        let free = self.core.now + wait;
        let at = self.core.draw_silence_time_from(free);
        let timer = match &mut self.role {
            Role::Candidate(candidate) if candidate.phase == Phase::PreVote => &mut candidate.timer,
            Role::Follower(follower) if follower.leader.is_none() => &mut follower.timer,
            Role::Candidate(_) | Role::Follower(_) | Role::Leader(_) => return,
        };
        timer.at = timer.at.min(at);
    }

    /// Someone campaigns in this replica's term. Whether the configuration here knows it, or this replica as
    /// a voter, does not matter: a promoted learner that has not applied its promotion must vote, or the new
    /// configuration may never elect.
    pub(crate) fn on_vote_request(&mut self, from: ReplicaId, last: LogId, transfer: bool) {
        let is_free = match self.core.hard_state.vote {
            Some(voted) => voted == from, // Given already.
            None => self.leader().is_none() && !self.core.is_bound(transfer),
        };
        let granted = is_free && self.core.is_up_to_date(last);
        if granted {
            self.core.hard_state.vote = Some(from);
            if self.leader().is_none() {
                self.become_follower(None); // With new patience: the candidate deserves time to win.
            }
        }
        self.core.send(from, Rpc::VoteReply { granted });
    }

    pub(crate) fn on_vote_reply(&mut self, from: ReplicaId, granted: bool) {
        if self.phase() == Some(Phase::Vote) {
            self.on_vote(from, granted);
        }
    }

    fn phase(&self) -> Option<Phase> {
        match &self.role {
            Role::Candidate(candidate) => Some(candidate.phase),
            Role::Follower(_) | Role::Leader(_) => None,
        }
    }
}
