//! What a snapshot stands for.

use std::fmt;

use crate::configuration::Configuration;
use crate::id::{Index, LogId};

/// Describes a snapshot: the state machine after `last`. The data itself travels and is stored outside of
/// Raft.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry whose effect the snapshot holds.
    pub last: LogId,
    /// The configuration as of that entry.
    pub configuration: Configuration,
    /// The index of the entry that brought this configuration (0: it is the genesis configuration).
    pub configuration_index: Index,
}

impl fmt::Display for SnapshotMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} since {}", self.last, self.configuration, self.configuration_index)
    }
}
