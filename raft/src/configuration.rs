//! Who belongs to the shard, and who of them counts.
//!
//! The configuration is a value that the log replicates. It takes effect on a replica when that replica
//! *applies* its entry (thesis, §4.1 lets it take effect when appended; a replica that may still lose the
//! entry then has to take it back). What a majority is, is arithmetic of `quorum.rs`.

use std::collections::BTreeSet;
use std::fmt;

use crate::id::ReplicaId;

/// The members of a shard. With an outgoing half it is *joint*: every decision needs a majority of both
/// halves (Raft paper, §6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// The replicas whose majority decides.
    pub voters: BTreeSet<ReplicaId>,
    /// The voters before the change that is under way. Empty unless joint.
    pub outgoing: BTreeSet<ReplicaId>,
    /// Replicas that receive the log but never count.
    pub learners: BTreeSet<ReplicaId>,
}

impl Configuration {
    /// A configuration of voters only.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether a change is under way that needs majorities of two halves.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `replica` counts in any half.
    #[must_use]
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica) || self.outgoing.contains(&replica)
    }

    /// Whether `replica` belongs to the shard at all.
    #[must_use]
    pub fn is_member(&self, replica: ReplicaId) -> bool {
        self.is_voter(replica) || self.learners.contains(&replica)
    }

    /// The voters of either half, each once, in order.
    pub fn all_voters(&self) -> impl Iterator<Item = ReplicaId> {
        self.voters.union(&self.outgoing).copied()
    }

    /// Every member, each once: voters first.
    pub fn members(&self) -> impl Iterator<Item = ReplicaId> {
        self.all_voters().chain(self.learners.iter().copied().filter(|learner| !self.is_voter(*learner)))
    }
}

/// Printed as `voters(1 2 3)`, with `outgoing(…)` and `learners(…)` where there are any.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_set(f, "voters", &self.voters)?;
        for (name, set) in [("outgoing", &self.outgoing), ("learners", &self.learners)] {
            if !set.is_empty() {
                f.write_str(" ")?;
                write_set(f, name, set)?;
            }
        }
        Ok(())
    }
}

fn write_set(f: &mut fmt::Formatter<'_>, name: &str, set: &BTreeSet<ReplicaId>) -> fmt::Result {
    write!(f, "{name}(")?;
    for (position, replica) in set.iter().enumerate() {
        let space = if position == 0 { "" } else { " " };
        write!(f, "{space}{}", replica.0)?;
    }
    f.write_str(")")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn members_are_listed_once() {
        let joint =
            Configuration { voters: set(&[1, 2, 4]), outgoing: set(&[1, 2, 3]), learners: set(&[3, 5]) };
        assert!(joint.is_joint());
        assert_eq!(joint.members().map(|id| id.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(joint.is_voter(ReplicaId(3)), "a voter of the outgoing half still counts");
        assert!(!joint.is_voter(ReplicaId(5)) && joint.is_member(ReplicaId(5)));
        assert_eq!(joint.to_string(), "voters(1 2 4) outgoing(1 2 3) learners(3 5)");
    }
}
