//! What only a leader has, and how it takes and leaves office.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::core::Core;
use crate::entry::{Entry, Payload};
use crate::id::{Index, LogId, ReplicaId};
use crate::liveness::Pulse;
use crate::message::Round;
use crate::progress::Progress;
use crate::raft::{Raft, Role};
use crate::reads::Reads;
use crate::sleep::Rest;
use crate::transfer::Transfer;

/// A replica that leads.
#[derive(Debug)]
pub(crate) struct Leader {
    /// How far each other member is.
    pub(crate) progress: BTreeMap<ReplicaId, Progress>,
    /// The first entry of this term.
    pub(crate) noop: Index,
    /// The last round of heartbeats.
    pub(crate) round: Round,
    pub(crate) reads: Reads,
    pub(crate) transfer: Option<Transfer>,
    /// When this entry is committed, nobody needs the vote of a replica that the configuration in effect does
    /// not name (see `membership.rs`).
    pub(crate) settled_by: Index,
    /// The configuration that is to be left only on request ([`crate::Leave::Explicit`]).
    pub(crate) explicit_leave: Option<Index>,
    /// Somebody was told to campaign in this term: no lease holds any more.
    pub(crate) sent_timeout_now: bool,
    pub(crate) pulse: Pulse,
    pub(crate) rest: Rest,
    /// The size of the entries that are not committed.
    pub(crate) uncommitted_bytes: u64,
    /// Whether there may be something to send to someone.
    pub(crate) unsent: bool,
}

/// Why a proposal was not taken. It surely will not be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
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
    /// The data can never be taken.
    #[error("a proposal of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// The size of the data.
        bytes: u64,
        /// [`crate::Options::proposal_bytes_max`].
        limit: u64,
    },
    /// Too much waits to be committed. Try again when some of it was.
    #[error("{bytes} bytes wait to be committed: the limit is {limit}")]
    Full {
        /// The size of what waits.
        bytes: u64,
        /// [`crate::Options::uncommitted_bytes_max`].
        limit: u64,
    },
}

impl Leader {
    fn new(core: &Core) -> Self {
        let last = core.log.last().index;
        let next = last.next();
        let others = core.configuration.members().filter(|id| *id != core.id);
        let uncommitted = core.log.range(core.commit().next(), last);
        Self {
            progress: others.map(|id| (id, Progress::new(next, core.now))).collect(),
            noop: next,
            round: Round(0),
            reads: Reads::default(),
            transfer: None,
            settled_by: next,
            explicit_leave: None,
            sent_timeout_now: false,
            pulse: Pulse::start(core),
            rest: Rest::begin(core.now),
            uncommitted_bytes: uncommitted.map(Entry::bytes).sum(),
            unsent: false,
        }
    }

    /// Whether an entry of this term is committed. Before that the leader does not know what its predecessors
    /// committed (thesis, §6.4).
    pub(crate) fn has_committed_own(&self, core: &Core) -> bool {
        core.commit() >= self.noop
    }

    /// Appends an entry to the leader's own log. It leaves with the next `Ready`, together with what else
    /// comes until then.
    pub(crate) fn append(&mut self, core: &mut Core, payload: Payload) -> LogId {
        let id = LogId::new(core.log.last().index.next(), core.term());
        let entry = Entry { id, payload };
        self.stir(core);
        self.uncommitted_bytes += entry.bytes();
        self.unsent = true;
        core.log.append(entry);
        id
    }

    /// Takes a proposal, or says why not.
    pub(crate) fn propose(&mut self, core: &mut Core, data: Bytes) -> Result<LogId, ProposeError> {
        if let Some(transfer) = &self.transfer {
            return Err(ProposeError::Transferring { to: transfer.to });
        }
        let (size, limit) = (data.len() as u64, core.options.proposal_bytes_max);
        if size > limit {
            return Err(ProposeError::TooLarge { bytes: size, limit });
        }
        let (waiting, limit) = (self.uncommitted_bytes, core.options.uncommitted_bytes_max);
        if waiting > 0 && waiting + size + Entry::OVERHEAD_BYTES > limit {
            return Err(ProposeError::Full { bytes: waiting, limit });
        }
        Ok(self.append(core, Payload::Data(data)))
    }
}

impl Raft {
    /// Takes office.
    pub(crate) fn become_leader(&mut self) {
        let core = &mut self.core;
        // Its own vote is durable, and with it every earlier write. So a leader never begins with a commit
        // index ahead of its disk.
        let (stable, last) = (core.persistence.stable(), core.log.last());
        assert!(stable == last.index, "{} won with its log durable up to {stable} of {last}", core.id);
        let mut leader = Leader::new(core);
        leader.append(core, Payload::Noop);
        core.led = Some(core.term());
        self.change_role(Role::Leader(leader));
    }
}
