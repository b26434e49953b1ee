//! How the members of a shard change: proposals of configurations, their taking effect, and the end of a joint
//! one (Raft paper, §6; thesis, §4.3). What a change makes of a configuration is arithmetic of `change.rs`.
//!
//! ```text
//!   propose ──▶ in the log ──▶ committed, by the quorum of the configuration in effect ──▶ applied: in effect
//!               pending: no other is proposed           who knows of it does not campaign
//! ```
//!
//! *In effect when applied, one pending at a time.* So every replica that holds the entry of one configuration
//! knows the one before it to be committed: the append that brought the entry said so, and the commit index is
//! on its disk with the entry. It does not campaign before it has applied that one. So everybody campaigns by
//! the last configuration of its log or by the one before, and quorums of neighbours intersect.
//!
//! *Not before an entry of the own term is committed*: until then an earlier leader's configuration may be on
//! its way unknown to this one, and both would be derived from the same one. Quorums of two single-server changes
//! need not intersect (Ongaro, "bug in single-server membership changes", raft-dev, 2015). Ours do, for every change of
//! voters is joint with what it came from; the rule keeps the argument from depending on that.
//!
//! *Settled*: a joint configuration was left, and r3 with it. Whoever does not know yet that this is committed
//! campaigns by the joint one and may need the vote of r3; if the disk of r3 is dropped at once and the wrong
//! replica crashes, nobody can be elected any more. So the leader appends a no-op after it. Who holds that one
//! knows, durably, of the commit before it, and once it is committed nobody else can be elected. A leader's first
//! entry does the same for the configuration with which it was elected.
//!
//! *Derived from*: whoever asks for a change has seen a configuration and decided on it. If it is not the one in
//! effect any more, the decision is void: "remove r3, for r4 has replaced it" must not be carried out after
//! somebody else removed r4.

use std::collections::BTreeSet;

use crate::change::{Change, ChangeImpossible, Leave};
use crate::configuration::Configuration;
use crate::core::Core;
use crate::entry::Payload;
use crate::id::{Index, LogId, ReplicaId};
use crate::leader::Leader;
use crate::message::Rpc;
use crate::progress::Progress;
use crate::quorum::{self, Decision};
use crate::raft::{Raft, Role};
use crate::status::ProgressKind;
use crate::time::Time;

/// Why a configuration was not proposed. Nothing has changed, and nothing will.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// Only a leader takes proposals.
    #[error("not the leader (that is {leader:?}, as far as known)")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<ReplicaId>,
    },
    /// The leader is about to hand over.
    #[error("leadership is being transferred to {to}")]
    Transferring {
        /// Who will lead.
        to: ReplicaId,
    },
    /// No entry of this leader's term is committed yet. Try again when one is.
    #[error(
        "the leader's term has committed nothing yet: its first entry is {first}, the commit index {commit}"
    )]
    TermNotCommitted {
        /// The first entry of the term.
        first: Index,
        /// The commit index.
        commit: Index,
    },
    /// Another configuration has been proposed and is not in effect.
    #[error("the configuration of entry {at} is not in effect yet")]
    Pending {
        /// Its entry.
        at: Index,
    },
    /// The proposal was derived from a configuration that is not in effect.
    #[error(
        "derived from the configuration of entry {derived_from}, but that of entry {current} is in effect"
    )]
    Stale {
        /// What the proposal was derived from.
        derived_from: Index,
        /// What it should have been derived from.
        current: Index,
    },
    /// The change makes no sense for the configuration in effect.
    #[error(transparent)]
    Impossible(#[from] ChangeImpossible),
    /// Of the new voters too few can be reached and hold the log: the joint configuration could be in effect for
    /// ever. Try again when they have caught up.
    #[error("the new voters could commit nothing: {}", list(waiting))]
    NotReady {
        /// The new voters that were not heard lately, or are not sent entries yet.
        waiting: Vec<ReplicaId>,
    },
}

fn list(replicas: &[ReplicaId]) -> String {
    let names: Vec<_> = replicas.iter().map(ToString::to_string).collect();
    format!("{} not ready", names.join(", "))
}

impl Raft {
    /// The configuration in effect, and the index of the entry that brought it (0: the genesis configuration).
    #[must_use]
    pub const fn configuration(&self) -> (&Configuration, Index) {
        (&self.core.configuration, self.core.configuration_index)
    }

    /// Proposes a change of the members, if this replica leads. It is in effect here when its entry was
    /// applied; see [`crate::Status::configuration_index`]. Like any proposal it may be lost with its leader.
    ///
    /// `derived_from` is the index of the configuration on which the caller decided, as [`Raft::configuration`]
    /// has it.
    ///
    /// # Errors
    /// Why it was not proposed; then it surely never takes effect.
    pub fn propose_configuration(
        &mut self,
        now: Time,
        change: &Change,
        derived_from: Index,
    ) -> Result<LogId, ConfigurationError> {
        self.core.advance(now);
        let leader = self.leader();
        match &mut self.role {
            Role::Leader(leader) => leader.propose_change(&mut self.core, change, derived_from),
            Role::Follower(_) | Role::Candidate(_) => Err(ConfigurationError::NotLeader { leader }),
        }
    }

    /// Whether nobody needs the vote of a replica that the configuration in effect does not name.
    pub(crate) fn is_configuration_settled(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if self.core.commit() >= leader.settled_by)
    }

    /// A configuration took effect, in the place of `before`.
    pub(crate) fn on_configuration(&mut self, before: &Configuration) {
        match &mut self.role {
            Role::Follower(follower) => {
                // Perhaps it just became a voter: its patience begins now.
                follower.timer.restart(&mut self.core);
                self.answer_summons();
            }
            Role::Candidate(_) => self.become_follower(None),
            Role::Leader(leader) => {
                if leader.on_configuration(&mut self.core, before) {
                    self.become_follower(None);
                }
            }
        }
    }
}

impl Leader {
    fn propose_change(
        &mut self,
        core: &mut Core,
        change: &Change,
        derived_from: Index,
    ) -> Result<LogId, ConfigurationError> {
        if let Some(transfer) = &self.transfer {
            return Err(ConfigurationError::Transferring { to: transfer.to });
        }
        if !self.has_committed_own(core) {
            return Err(ConfigurationError::TermNotCommitted { first: self.noop, commit: core.commit() });
        }
        if let Some(at) = core.log.next_configuration() {
            return Err(ConfigurationError::Pending { at });
        }
        let current = core.configuration_index;
        if derived_from != current {
            return Err(ConfigurationError::Stale { derived_from, current });
        }
        let next = core.configuration.changed(change)?;
        if let Change::Enter { .. } = change {
            self.check_ready(core, &next.voters)?;
        }
        let id = self.append(core, Payload::Configuration(next));
        if let Change::Enter { leave: Leave::Explicit, .. } = change {
            self.explicit_leave = Some(id.index);
        }
        Ok(id)
    }

    /// A joint configuration cannot be taken back: it is entered only if the new voters can carry it to its end,
    /// as far as can be seen. That is no question of safety.
    fn check_ready(&self, core: &Core, voters: &BTreeSet<ReplicaId>) -> Result<(), ConfigurationError> {
        let is_ready = |id| {
            let heard = |progress: &Progress| {
                progress.kind() == ProgressKind::Replicate && self.is_active(core, progress)
            };
            id == core.id || self.progress.get(&id).is_some_and(heard)
        };
        let incoming = Configuration::of_voters(voters.iter().copied());
        match quorum::decision(&incoming, |id| Some(is_ready(id))) {
            Decision::Won => Ok(()),
            Decision::Lost | Decision::Pending => {
                let waiting = voters.iter().copied().filter(|id| !is_ready(*id)).collect();
                Err(ConfigurationError::NotReady { waiting })
            }
        }
    }

    /// Proposes to leave the joint configuration in effect, if nobody else does. Looked at with everything else
    /// that is due, so it may have been due for a while: since an entry of this term was committed, or since a
    /// transfer of leadership failed.
    pub(crate) fn leave_joint(&mut self, core: &mut Core) {
        let is_due = core.configuration.is_joint()
            && self.explicit_leave != Some(core.configuration_index)
            && self.has_committed_own(core)
            && self.transfer.is_none()
            && core.log.next_configuration().is_none();
        if is_due {
            self.append(core, Payload::Configuration(core.configuration.left()));
        }
    }

    /// A configuration took effect. Returns whether this leader has to leave office, being no voter any more.
    fn on_configuration(&mut self, core: &mut Core, before: &Configuration) -> bool {
        let is_removed = !core.configuration.is_voter(core.id);
        self.stir(core);
        if is_removed || self.progress.keys().any(|id| !core.configuration.is_member(*id)) {
            // The last word to those who leave (who answer, see `farewell`), and of one who leaves to those who
            // stay.
            self.beat(core);
        }
        self.progress.retain(|id, _| core.configuration.is_member(*id));
        let next = core.log.last().index.next();
        for id in core.configuration.members().filter(|id| *id != core.id) {
            self.progress.entry(id).or_insert_with(|| Progress::new(next, core.now));
        }
        if self.transfer.as_ref().is_some_and(|transfer| !core.configuration.voters.contains(&transfer.to)) {
            self.transfer = None;
        }
        if is_removed {
            self.hand_over(core);
            return true;
        }
        if before.is_joint() {
            self.settled_by = self.append(core, Payload::Noop).index;
        }
        self.unsent = true;
        self.advance_commit(core); // The quorum may be smaller now.
        self.confirm_reads(core);
        false
    }

    /// This leader must go: whoever is furthest shall not wait for an election timeout.
    fn hand_over(&self, core: &mut Core) {
        let voters = self.progress.iter().filter(|(id, _)| core.configuration.voters.contains(id));
        let active = voters.filter(|(_, progress)| self.is_active(core, progress));
        if let Some((heir, _)) = active.max_by_key(|(_, progress)| progress.matched) {
            core.send(*heir, Rpc::TimeoutNow);
        }
    }

    /// Whether a follower was heard within the last election timeout.
    pub(crate) fn is_active(&self, core: &Core, progress: &Progress) -> bool {
        self.rest.is_asleep() || progress.heard + core.options.election_timeout_max > core.now
    }
}

/// One who is no member answers the last heartbeat: it holds the entry that removed it, and is told that it is
/// committed, so that it falls silent instead of campaigning for ever. Kindness, not safety: it may be lost, and
/// nothing follows from it. (An append, because its answer needs no answer.)
pub(crate) fn farewell(core: &mut Core, to: ReplicaId, matched: Index) {
    if let Some(term) = core.log.term(matched).filter(|_| matched >= core.configuration_index) {
        let (previous, commit) = (LogId::new(matched, term), core.commit());
        core.send(to, Rpc::Append { previous, entries: Vec::new(), commit });
    }
}
