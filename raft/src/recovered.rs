//! What a replica starts from.

use crate::configuration::Configuration;
use crate::entry::{Entry, HardState};
use crate::id::{Index, LogId};

/// What the host found on its disk. Of a fresh replica: the default, with the genesis configuration.
///
/// All of it is durable. `compacted ≤ applied ≤` the last entry; when a snapshot moved the applied index
/// beyond the log, the host has reset the log first: `compacted = applied`, no entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Term, vote and commit index. The commit index may lag behind `applied`.
    pub hard_state: HardState,
    /// The last entry that compaction (or a snapshot) dropped.
    pub compacted: LogId,
    /// The live log: consecutive entries from the one after `compacted`.
    pub entries: Vec<Entry>,
    /// The last entry whose effect the state machine holds durably.
    pub applied: LogId,
    /// The configuration as of `applied`.
    pub configuration: Configuration,
    /// The index of the entry that brought it.
    pub configuration_index: Index,
}

impl Recovered {
    /// A replica that starts with an empty log.
    #[must_use]
    pub fn fresh(configuration: Configuration) -> Self {
        Self { configuration, ..Self::default() }
    }

    /// The last entry of the log.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.compacted, |entry| entry.id)
    }

    /// Checks that the parts fit together.
    ///
    /// # Panics
    /// If they do not: the host recovered wrongly, or the disk lied.
    pub(crate) fn validate(&self) {
        let (compacted, applied, last) = (self.compacted, self.applied, self.last());
        let mut previous = compacted;
        for entry in &self.entries {
            assert!(
                entry.index() == previous.index.next() && entry.term() >= previous.term,
                "recovered log: entry {} follows {previous}",
                entry.id
            );
            previous = entry.id;
        }
        assert!(
            compacted.index <= applied.index && applied.index <= last.index,
            "recovered: compacted {compacted} ≤ applied {applied} ≤ last {last} does not hold"
        );
        let commit = self.hard_state.commit;
        assert!(commit <= last.index, "recovered: commit index {commit} is beyond the last entry {last}");
        let term = self.hard_state.term;
        assert!(last.term <= term, "recovered: last entry {last} is of a later term than {term}");
        let since = self.configuration_index;
        assert!(
            since <= applied.index,
            "recovered: configuration of {since} is newer than applied {applied}"
        );
    }
}
