//! Leadership transfer (thesis, §3.10): bring the target up to date, then tell it to campaign at once.
//!
//! While it lasts the leader takes no proposals, or the target might never catch up. If the target has not
//! taken over within an election timeout, the leader goes on as before. That is safe whatever became of the
//! target: a late campaign is an election like any other.

use crate::core::Core;
use crate::id::ReplicaId;
use crate::leader::Leader;
use crate::message::Rpc;
use crate::raft::{Raft, Role};
use crate::time::Time;

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// Who shall lead.
    pub(crate) to: ReplicaId,
    /// When the leader gives it up.
    pub(crate) until: Time,
    /// Whether the target was told to campaign.
    told: bool,
}

/// Why a transfer did not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only a leader can hand over.
    #[error("not the leader (that is {leader:?}, as far as known)")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<ReplicaId>,
    },
    /// The target leads already.
    #[error("{to} leads already")]
    AlreadyLeader {
        /// The target.
        to: ReplicaId,
    },
    /// The target could not be elected.
    #[error("{to} is not a voter of {configuration}")]
    NotVoter {
        /// The target: not a voter at all, or only of the outgoing half of a joint configuration.
        to: ReplicaId,
        /// The configuration in effect.
        configuration: String,
    },
    /// Another transfer is under way.
    #[error("leadership is being transferred to {to} already")]
    InProgress {
        /// Its target.
        to: ReplicaId,
    },
}

impl Leader {
    pub(crate) fn start_transfer(&mut self, core: &mut Core, to: ReplicaId) -> Result<(), TransferError> {
        if to == core.id {
            return Err(TransferError::AlreadyLeader { to });
        }
        if !core.configuration.voters.contains(&to) {
            return Err(TransferError::NotVoter { to, configuration: core.configuration.to_string() });
        }
        if let Some(transfer) = &self.transfer {
            return Err(TransferError::InProgress { to: transfer.to });
        }
        self.stir(core);
        let until = core.now + core.options.election_timeout_max;
        self.transfer = Some(Transfer { to, until, told: false });
        self.continue_transfer(core);
        Ok(())
    }

    /// Tells the target to campaign, once, when it has everything.
    pub(crate) fn continue_transfer(&mut self, core: &mut Core) {
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| !transfer.told) else { return };
        let matched = self.progress.get(&transfer.to).map(|progress| progress.matched);
        if matched == Some(core.log.last().index) {
            transfer.told = true;
            self.sent_timeout_now = true;
            core.send(transfer.to, Rpc::TimeoutNow);
        }
    }

    /// Gives up a transfer whose time is over. What had to wait for it is due now.
    pub(crate) fn expire_transfer(&mut self, core: &Core) {
        self.unsent |= self.transfer.take_if(|transfer| transfer.until <= core.now).is_some();
    }
}

impl Raft {
    /// The leader wants this replica to lead. No pre-vote: the others still hear the leader, and would
    /// refuse.
    pub(crate) fn on_timeout_now(&mut self, from: ReplicaId) {
        let until = self.core.now + self.core.options.election_timeout_min;
        self.role.follow(&mut self.core, from).summoned = Some(until);
        self.answer_summons();
    }

    /// Campaigns if the leader asked for it. A replica that must first apply a configuration does so then, if
    /// that does not take so long that the leader has given it up: the request often comes on the heels of the
    /// commit of a configuration.
    pub(crate) fn answer_summons(&mut self) {
        let Role::Follower(follower) = &mut self.role else { return };
        let is_summoned = follower.summoned.is_some_and(|until| self.core.now < until);
        if is_summoned && self.core.is_electable() && !self.core.is_bound(true) {
            self.start_vote(true);
        }
    }
}

impl Role {
    /// To whom leadership is being transferred.
    pub(crate) fn transfer_target(&self) -> Option<ReplicaId> {
        match self {
            Self::Leader(leader) => leader.transfer.as_ref().map(|transfer| transfer.to),
            Self::Follower(_) | Self::Candidate(_) => None,
        }
    }
}
