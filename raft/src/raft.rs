//! The replica: its doors, and which role answers at which.

use std::time::Duration;

use bytes::Bytes;

use crate::core::Core;
use crate::election::{Candidate, Phase};
use crate::following::Follower;
use crate::id::{Index, LogId, ReplicaId, Term};
use crate::impossible::Impossible;
use crate::leader::{Leader, ProposeError};
use crate::message::{Message, Rpc};
use crate::options::Options;
use crate::reads::NotLeader;
use crate::ready::{ReadId, Ready, Ticket};
use crate::recovered::Recovered;
use crate::snapshot::SnapshotMeta;
use crate::status::{ProgressStatus, RoleKind, Status};
use crate::time::Time;
use crate::transfer::TransferError;

/// One replica of one shard. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Raft {
    pub(crate) core: Core,
    pub(crate) role: Role,
}

/// What the replica is, with everything that it has only as that.
#[derive(Debug)]
pub(crate) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Leader),
}

impl Raft {
    /// Starts a replica as a follower, from what its host found on disk. `seed` decides its election
    /// timeouts.
    ///
    /// # Panics
    /// If `options` are not valid, or `recovered` contradicts itself.
    #[must_use]
    pub fn new(id: ReplicaId, options: Options, seed: u64, now: Time, recovered: Recovered) -> Self {
        if let Err(error) = options.validate() {
            panic!("{id}: {error}");
        }
        let mut core = Core::new(id, options, seed, now, recovered);
        let role = Role::Follower(Follower::new(&mut core, None));
        let raft = Self { core, role };
        raft.validate();
        raft
    }

    /// Takes in a message. Messages for others, of the past, or from strangers do no harm.
    ///
    /// # Errors
    /// The message cannot be true, and was dropped.
    ///
    /// # Panics
    /// If the message proves that a replica has broken its word (two leaders in a term, a committed entry
    /// contradicted).
    pub fn step(&mut self, now: Time, message: Message) -> Result<(), Impossible> {
        self.core.advance(now);
        if message.to != self.core.id {
            return Ok(());
        }
        self.check_term(&message)?;
        if !self.admits(&message) {
            return Ok(());
        }
        self.check(&message)?;
        let from = message.from;
        if message.rpc.is_to_leader() {
            self.on_sign_of_life(from);
        }
        match message.rpc {
            Rpc::PreVote { campaign, last } => self.on_pre_vote(from, campaign, last),
            Rpc::PreVoteReply { campaign, granted, commit, wait } => {
                if !self.is_leader() {
                    self.core.learn_commit(commit);
                }
                self.on_pre_vote_reply(from, campaign, granted, wait);
            }
            Rpc::Vote { last, transfer } => self.on_vote_request(from, last, transfer),
            Rpc::VoteReply { granted } => self.on_vote_reply(from, granted),
            Rpc::Append { previous, entries, commit } => self.on_append(from, previous, entries, commit),
            Rpc::AppendReply { matched } => self.on_append_reply(from, matched),
            Rpc::AppendRejected { previous, hint } => self.on_append_rejected(from, previous, hint),
            Rpc::Heartbeat { commit, sent, round, life, sleep } => {
                self.on_heartbeat(from, (commit, sent), round, life, sleep);
            }
            Rpc::HeartbeatReply { round, sent, accepted, matched, support, asleep } => {
                self.on_heartbeat_reply(from, round, (sent, accepted, matched), support, asleep);
            }
            Rpc::InstallSnapshot { meta } => self.on_install_snapshot(from, meta),
            Rpc::TimeoutNow => self.on_timeout_now(from),
            Rpc::TermOver => {}
        }
        self.validate();
        Ok(())
    }

    /// Settles the terms of sender and receiver. Returns whether the message is to be looked at.
    fn admits(&mut self, message: &Message) -> bool {
        let (from, rpc) = (message.from, &message.rpc);
        match message.term.cmp(&self.core.term()) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => {
                // Its sender is stuck in the past, perhaps as a leader. Tell it, or it stays there.
                let is_request =
                    matches!(rpc, Rpc::Vote { .. } | Rpc::PreVote { .. }) || rpc.is_from_leader();
                if is_request {
                    self.core.send(from, Rpc::TermOver);
                }
                matches!(rpc, Rpc::PreVoteReply { .. }) // It may come from behind: the question names its own term.
            }
            std::cmp::Ordering::Greater => match rpc {
                Rpc::PreVote { .. } => true,
                Rpc::Vote { transfer: false, .. } if self.hears_leader() => false,
                // Not even its term: who is bound will hear of it again.
                Rpc::Vote { transfer, .. } if self.core.is_bound(*transfer) => false,
                _ => {
                    self.core.enter_term(message.term);
                    self.become_follower(None);
                    true
                }
            },
        }
    }

    /// Does everything that is due by `now`.
    pub fn tick(&mut self, now: Time) {
        self.core.advance(now);
        let now = self.core.now;
        match &mut self.role {
            Role::Follower(follower) if follower.asleep.is_some() => {}
            Role::Follower(follower) if follower.timer.at <= now && self.core.is_bound(false) => {
                follower.timer.postpone(&mut self.core);
                self.doze();
            }
            Role::Follower(follower) if follower.timer.at <= now => {
                follower.timer.restart(&mut self.core);
                self.start_pre_vote();
            }
            Role::Candidate(candidate) if candidate.timer.at <= now => {
                self.become_follower(None);
                self.start_pre_vote();
            }
            Role::Follower(_) | Role::Candidate(_) => {}
            Role::Leader(leader) => {
                leader.expire_transfer(&self.core);
                if leader.tick(&mut self.core) {
                    self.become_follower(None);
                }
            }
        }
        self.validate();
    }

    /// When [`Raft::tick`] is due next; `None` if only a message or a proposal can wake this replica (a
    /// learner, a leader alone), or [`Raft::wake`] (who sleeps).
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.is_asleep() {
            return None;
        }
        match &self.role {
            Role::Follower(follower) => {
                self.core.configuration.is_voter(self.core.id).then_some(follower.timer.at)
            }
            Role::Candidate(candidate) => Some(candidate.timer.at),
            Role::Leader(leader) if leader.progress.is_empty() => None,
            Role::Leader(leader) => {
                let pulse = leader.pulse.deadline();
                Some(leader.transfer.as_ref().map_or(pulse, |transfer| pulse.min(transfer.until)))
            }
        }
    }

    /// Appends `data` to the log of the shard, if this replica leads. It is committed when it comes back in
    /// [`Ready::committed`] under the same [`LogId`]; if another entry comes back at that index, it never
    /// will be; if leadership is lost meanwhile, nobody knows.
    ///
    /// # Errors
    /// Why it was not taken; then it surely will not be executed.
    pub fn propose(&mut self, now: Time, data: Bytes) -> Result<LogId, ProposeError> {
        self.core.advance(now);
        let leader = self.leader();
        match &mut self.role {
            Role::Leader(leader) => leader.propose(&mut self.core, data),
            Role::Follower(_) | Role::Candidate(_) => Err(ProposeError::NotLeader { leader }),
        }
    }

    /// Asks for a linearizable read. The answer comes in [`Ready::reads`] or [`Ready::reads_lost`].
    ///
    /// # Errors
    /// If this replica does not lead.
    pub fn read(&mut self, now: Time, read: ReadId) -> Result<(), NotLeader> {
        self.core.advance(now);
        let leader = self.leader();
        match &mut self.role {
            Role::Leader(leader) => {
                leader.read(&self.core, read);
                Ok(())
            }
            Role::Follower(_) | Role::Candidate(_) => Err(NotLeader { leader }),
        }
    }

    /// Hands leadership to `to`. Proposals are refused until that has happened or an election timeout has
    /// passed; watch [`Status::transfer`].
    ///
    /// # Errors
    /// Why it did not begin.
    pub fn transfer(&mut self, now: Time, to: ReplicaId) -> Result<(), TransferError> {
        self.core.advance(now);
        let leader = self.leader();
        match &mut self.role {
            Role::Leader(leader) => leader.start_transfer(&mut self.core, to),
            Role::Follower(_) | Role::Candidate(_) => Err(TransferError::NotLeader { leader }),
        }
    }

    /// Starts an election now, beginning with its pre-vote, without waiting for a timeout. Nothing happens if
    /// this replica leads already or may not campaign.
    pub fn campaign(&mut self, now: Time) {
        self.core.advance(now);
        if !matches!(self.role, Role::Leader(_)) {
            self.start_pre_vote();
        }
        self.validate();
    }

    /// Every write up to `ticket` is durable.
    ///
    /// # Panics
    /// If that ticket was never handed out.
    pub fn persisted(&mut self, now: Time, ticket: Ticket) {
        self.core.advance(now);
        self.core.persistence.complete(ticket);
        self.core.release_messages();
        match &mut self.role {
            Role::Follower(follower) => follower.acknowledge(&mut self.core, None),
            Role::Candidate(_) => self.on_own_vote_durable(),
            Role::Leader(leader) => leader.advance_commit(&mut self.core),
        }
        self.validate();
    }

    /// The state machine has applied everything up to `index`. A configuration among it takes effect.
    ///
    /// # Panics
    /// If that was never handed out.
    pub fn applied(&mut self, now: Time, index: Index) {
        self.core.advance(now);
        let handed = self.core.handed_to_apply;
        assert!(index <= handed, "{} applied {index}, but was handed entries up to {handed}", self.core.id);
        self.core.applied = self.core.applied.max(index);
        if let Some((at, configuration)) = self.core.log.take_configuration(self.core.applied) {
            let before = std::mem::replace(&mut self.core.configuration, configuration);
            self.core.configuration_index = at;
            self.on_configuration(&before);
        }
        self.validate();
    }

    /// Drops the live log up to `to`, which the base holds durably.
    ///
    /// # Panics
    /// If that is not applied.
    pub fn compact(&mut self, to: Index) {
        let applied = self.core.applied;
        assert!(to <= applied, "{} compacts to {to}, but has applied {applied}", self.core.id);
        self.core.log.compact(to);
        self.validate();
    }

    /// The snapshot that [`Ready::install`] named is durable and current, and the log on disk was reset to
    /// it.
    ///
    /// # Panics
    /// If it was not named.
    pub fn installed(&mut self, now: Time, meta: &SnapshotMeta) {
        self.core.advance(now);
        self.on_installed(meta);
        self.validate();
    }

    /// The snapshot that [`Ready::install`] named could not be made current; nothing has changed on disk.
    pub fn install_failed(&mut self, now: Time) {
        self.core.advance(now);
        self.core.installing = None;
    }

    /// The stream of a snapshot to `to` ended: it was delivered at this position (`None`: it failed).
    pub fn snapshot_done(&mut self, now: Time, to: ReplicaId, sent: Option<LogId>) {
        self.core.advance(now);
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&to)
        {
            let last = self.core.log.last().index;
            progress.on_snapshot_done(sent.map(|id| id.index.min(last)));
            leader.stir(&self.core);
            leader.unsent = true;
        }
    }

    /// The connection to `to` broke: what was sent may be lost. Nothing more is sent until it answers a
    /// heartbeat, and a transfer to it is off.
    pub fn unreachable(&mut self, to: ReplicaId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&to)
        {
            progress.on_unreachable();
            leader.stir(&self.core);
            // What had to wait for the transfer is due now.
            leader.unsent |= leader.transfer.take_if(|transfer| transfer.to == to).is_some();
        }
    }

    /// Takes everything that is to be done.
    pub fn ready(&mut self) -> Ready {
        if let Role::Leader(leader) = &mut self.role {
            leader.send_due(&mut self.core);
        }
        self.core.ready.write = self.core.take_write();
        self.core.ready.committed = self.core.take_committed();
        std::mem::take(&mut self.core.ready)
    }

    /// Whether [`Raft::ready`] has anything. Rarely true for an empty `Ready`; never false for one that is
    /// not.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        let unsent = matches!(&self.role, Role::Leader(leader) if leader.unsent);
        unsent || self.core.owes_write() || self.core.owes_committed() || !self.core.ready.is_empty()
    }

    /// Becomes a follower in the current term.
    pub(crate) fn become_follower(&mut self, leader: Option<ReplicaId>) {
        let follower = Follower::new(&mut self.core, leader);
        self.change_role(Role::Follower(follower));
    }

    pub(crate) fn change_role(&mut self, role: Role) {
        if let Role::Leader(leader) = std::mem::replace(&mut self.role, role) {
            self.core.ready.reads_lost.extend(leader.reads.into_ids());
        }
        self.core.ready.role_changed = true;
    }

    /// Who leads in this term, as far as known.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.core.id),
        }
    }

    /// How long nothing was heard of a leader, of whatever term: at least so old is what this replica knows of commits. Since the
    /// start if none was heard yet; nothing on a leader.
    #[must_use]
    pub const fn silence(&self, now: Time) -> Duration {
        match &self.role {
            Role::Leader(_) => Duration::ZERO,
            Role::Follower(_) | Role::Candidate(_) => now.since(self.core.heard_leader),
        }
    }

    /// The term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.core.term()
    }

    /// Whether this replica leads in its term.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The last term in which this replica took office, since it was started.
    #[must_use]
    pub const fn led(&self) -> Option<Term> {
        self.core.led
    }

    /// The newest entry known here to be committed.
    #[must_use]
    pub const fn commit(&self) -> Index {
        self.core.commit()
    }

    /// The entry up to which the live log was compacted.
    #[must_use]
    pub const fn compacted(&self) -> LogId {
        self.core.log.compacted()
    }

    /// A look at everything.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = &self.core;
        Status {
            id: core.id,
            role: self.role.kind(),
            term: core.term(),
            vote: core.hard_state.vote,
            leader: self.leader(),
            compacted: core.log.compacted(),
            applied: core.applied,
            commit: core.commit(),
            persisted: core.persistence.stable(),
            last: core.log.last(),
            configuration: core.configuration.clone(),
            configuration_index: core.configuration_index,
            configuration_settled: self.is_configuration_settled(),
            asleep: self.is_asleep(),
            transfer: self.role.transfer_target(),
            progress: self.progress(),
        }
    }

    fn progress(&self) -> Vec<(ReplicaId, ProgressStatus)> {
        let Role::Leader(leader) = &self.role else { return Vec::new() };
        let status = leader.progress.iter().map(|(id, progress)| {
            let recent_active = leader.is_active(&self.core, progress);
            let (matched, next, state) = (progress.matched, progress.next, progress.kind());
            (*id, ProgressStatus { matched, next, state, recent_active })
        });
        status.collect()
    }

    /// Asserts what must hold between any two calls.
    pub(crate) fn validate(&self) {
        self.core.validate();
        if let Role::Leader(_) = &self.role {
            let (commit, stable) = (self.core.commit(), self.core.persistence.stable());
            assert!(commit <= stable, "leader {} committed {commit}, its disk holds {stable}", self.core.id);
            assert!(self.core.installing.is_none(), "leader {} installs a snapshot", self.core.id);
        }
    }
}

impl Role {
    const fn kind(&self) -> RoleKind {
        match self {
            Self::Follower(_) => RoleKind::Follower,
            Self::Candidate(Candidate { phase: Phase::PreVote, .. }) => RoleKind::PreCandidate,
            Self::Candidate(Candidate { phase: Phase::Vote, .. }) => RoleKind::Candidate,
            Self::Leader(_) => RoleKind::Leader,
        }
    }
}
