//! A look at a replica from outside: for operators and metrics, never for decisions of safety.

use std::fmt;

use crate::configuration::Configuration;
use crate::id::{Index, LogId, ReplicaId, Term};

/// What a replica is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// Follows, or waits for someone to follow.
    Follower,
    /// Asks whether an election would succeed.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

/// The state of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whose status it is.
    pub id: ReplicaId,
    /// Its role.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in this term.
    pub vote: Option<ReplicaId>,
    /// The leader that it knows of in this term.
    pub leader: Option<ReplicaId>,
    /// The last entry that compaction dropped.
    pub compacted: LogId,
    /// Everything up to here is applied.
    pub applied: Index,
    /// Everything up to here is committed, as far as it knows.
    pub commit: Index,
    /// Everything up to here is durable here.
    pub persisted: Index,
    /// The last entry of its log.
    pub last: LogId,
    /// The configuration in effect.
    pub configuration: Configuration,
    /// The index of the entry that brought it.
    pub configuration_index: Index,
    /// On a leader: whether the vote of a replica that the configuration does not name is needed no more. Only
    /// then may the disk of such a replica be dropped (see `membership.rs`).
    pub configuration_settled: bool,
    /// Whether it sleeps: the nodes of the others speak for them.
    pub asleep: bool,
    /// To whom leadership is being transferred.
    pub transfer: Option<ReplicaId>,
    /// How far the others are; empty unless it leads.
    pub progress: Vec<(ReplicaId, ProgressStatus)>,
}

/// How far a follower is, in its leader's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressStatus {
    /// Everything up to here is durable there and equal to the leader's log (the match index).
    pub matched: Index,
    /// The next entry to send (the next index).
    pub next: Index,
    /// How entries are sent.
    pub state: ProgressKind,
    /// Whether it was heard within the last election timeout.
    pub recent_active: bool,
}

/// How a leader sends entries to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgressKind {
    /// One append at a time, until it is known where the logs agree.
    Probe,
    /// Pipelined, within a window.
    Replicate,
    /// Not at all, while a snapshot is on its way.
    Snapshot,
}

impl fmt::Display for ProgressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "probe",
            Self::Replicate => "replicate",
            Self::Snapshot => "snapshot",
        })
    }
}
