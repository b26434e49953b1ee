//! What a replica wants done.

use crate::entry::{Entry, HardState};
use crate::id::{Index, ReplicaId};
use crate::message::Message;
use crate::snapshot::SnapshotMeta;

/// Numbers the log writes of one replica since its start, from 1, without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names a read. Chosen by the caller, who keeps it unique.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Everything that a replica wants done since it was last asked. Take it, do it, report back.
///
/// Nothing in it waits for anything else in it, except where a field says so. In particular the messages may
/// leave before the write: those that depend on a write are held back inside and appear in the `Ready` after
/// its `persisted`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what is in it has been taken out of the replica"]
pub struct Ready {
    /// May leave at once, in this order, before anything else here is done.
    pub messages: Vec<Message>,
    /// To be made durable; then call `Raft::persisted` with its ticket. Writes of one replica are made
    /// durable, and reported, in the order of their tickets. A write that fails must stop the process: a
    /// retry after a failed fsync can lose data silently.
    pub write: Option<Write>,
    /// Committed *and* durable here, in order, each handed out once: apply, then call `Raft::applied`. Apply
    /// after everything that earlier `Ready`s handed out.
    pub committed: Vec<Entry>,
    /// Confirmed reads, in order of arrival: each is linearizable as soon as the state machine has applied
    /// this index (of this `Ready`'s entries, or of later ones).
    pub reads: Vec<(ReadId, Index)>,
    /// Reads that lost their leader before they were confirmed. They have not been served; ask the new
    /// leader.
    pub reads_lost: Vec<ReadId>,
    /// Followers whose next entry is compacted here: stream each a snapshot, then call `Raft::snapshot_done`.
    /// Named once per attempt.
    pub snapshots: Vec<ReplicaId>,
    /// Make the staged snapshot current (intent into the log, base, reset of the log), after every write
    /// handed out so far, this `Ready`'s included; then call `Raft::installed` or `Raft::install_failed`.
    /// Until then no entries are handed out, neither to write nor to apply.
    pub install: Option<SnapshotMeta>,
    /// Role, term or known leader changed: look at `Raft::status`.
    pub role_changed: bool,
}

impl Ready {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One log write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Names the write in `Raft::persisted`.
    pub ticket: Ticket,
    /// The new hard state, if it is to be written.
    pub hard_state: Option<HardState>,
    /// Consecutive entries. The first one replaces whatever the log holds from its index on.
    pub entries: Vec<Entry>,
}
