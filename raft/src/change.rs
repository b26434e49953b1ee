//! Changes of a configuration, as arithmetic: what becomes of these members if that is done to them, or why it
//! cannot be done. Who may ask for one, and when, is the leader's business (`membership.rs`).
//!
//! ```text
//!   simple ──AddLearners, RemoveLearners──▶ simple        nobody else counts than before
//!   simple ──Enter──▶ joint ──Leave──▶ simple             every decision in between needs both halves
//! ```
//!
//! Whoever shall vote is a learner first, so that it holds the log before anything depends on it (thesis,
//! §4.2.1). There is no change of one voter in a single step (thesis, §4.1): one way to change voters is one
//! way to be wrong, and the joint one replaces a replica without a moment of fewer or more of them.
//!
//! That ids are never reused cannot be seen here: a configuration remembers nobody who left. The cluster map
//! numbers replicas, and a node refuses an id that it has hosted.

use std::collections::BTreeSet;

use crate::configuration::Configuration;
use crate::id::ReplicaId;

/// What shall be done to a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// These replicas, no members yet, receive the log and do not count.
    AddLearners(BTreeSet<ReplicaId>),
    /// These learners leave.
    RemoveLearners(BTreeSet<ReplicaId>),
    /// The voters change: the configuration becomes joint.
    Enter {
        /// Learners that shall vote.
        promote: BTreeSet<ReplicaId>,
        /// Voters that shall only learn. They keep receiving the log, and so hear for sure that they no longer
        /// count.
        demote: BTreeSet<ReplicaId>,
        /// Members that shall leave.
        remove: BTreeSet<ReplicaId>,
        /// How the joint configuration ends.
        leave: Leave,
    },
    /// The joint configuration ends: its incoming half remains.
    Leave,
}

/// How a joint configuration ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Leave {
    /// The leader proposes to leave as soon as the joint configuration is in effect.
    #[default]
    Auto,
    /// The leader that takes this proposal waits for [`Change::Leave`]. A later leader does not wait: whoever
    /// was to end it may be gone, and both halves are needed until then.
    Explicit,
}

/// Why a change makes no sense for a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeImpossible {
    /// It names nobody.
    #[error("the change names no replica")]
    Nobody,
    /// A replica is named for two things at once.
    #[error("{replica} is named twice")]
    Twice {
        /// The replica.
        replica: ReplicaId,
    },
    /// It is a member already.
    #[error("{replica} is a member already")]
    Member {
        /// The replica.
        replica: ReplicaId,
    },
    /// It is no member.
    #[error("{replica} is no member")]
    NotMember {
        /// The replica.
        replica: ReplicaId,
    },
    /// Only learners are promoted, or removed without a joint configuration.
    #[error("{replica} is no learner")]
    NotLearner {
        /// The replica.
        replica: ReplicaId,
    },
    /// Only voters are demoted.
    #[error("{replica} is no voter")]
    NotVoter {
        /// The replica.
        replica: ReplicaId,
    },
    /// Nobody would vote.
    #[error("no voter would be left")]
    NoVoters,
    /// Learners leave without a joint configuration.
    #[error("the voters would stay as they are")]
    SameVoters,
    /// A joint configuration can only be left.
    #[error("the configuration is joint: it must be left first")]
    Joint,
    /// There is nothing to leave.
    #[error("the configuration is not joint")]
    NotJoint,
}

impl Configuration {
    /// The configuration after `change`.
    ///
    /// # Errors
    /// Why it makes no sense here.
    pub fn changed(&self, change: &Change) -> Result<Self, ChangeImpossible> {
        match change {
            Change::Leave if self.is_joint() => Ok(self.left()),
            Change::Leave => Err(ChangeImpossible::NotJoint),
            _ if self.is_joint() => Err(ChangeImpossible::Joint),
            Change::AddLearners(added) => self.with_learners(added),
            Change::RemoveLearners(removed) => self.without_learners(removed),
            Change::Enter { promote, demote, remove, .. } => self.entered(promote, demote, remove),
        }
    }

    /// What remains of a joint configuration.
    pub(crate) fn left(&self) -> Self {
        Self { outgoing: BTreeSet::new(), ..self.clone() }
    }

    fn with_learners(&self, added: &BTreeSet<ReplicaId>) -> Result<Self, ChangeImpossible> {
        somebody(added)?;
        all(added, |id| !self.is_member(id), |replica| ChangeImpossible::Member { replica })?;
        Ok(Self { learners: &self.learners | added, ..self.clone() })
    }

    fn without_learners(&self, removed: &BTreeSet<ReplicaId>) -> Result<Self, ChangeImpossible> {
        somebody(removed)?;
        self.all_learners(removed)?;
        Ok(Self { learners: &self.learners - removed, ..self.clone() })
    }

    fn entered(
        &self,
        promote: &BTreeSet<ReplicaId>,
        demote: &BTreeSet<ReplicaId>,
        remove: &BTreeSet<ReplicaId>,
    ) -> Result<Self, ChangeImpossible> {
        for (one, other) in [(promote, demote), (promote, remove), (demote, remove)] {
            all(one, |id| !other.contains(&id), |replica| ChangeImpossible::Twice { replica })?;
        }
        self.all_learners(promote)?;
        all(demote, |id| self.voters.contains(&id), |replica| ChangeImpossible::NotVoter { replica })?;
        all(remove, |id| self.is_member(id), |replica| ChangeImpossible::NotMember { replica })?;
        let voters = &(&(&self.voters | promote) - demote) - remove;
        if voters.is_empty() {
            return Err(ChangeImpossible::NoVoters);
        }
        if voters == self.voters {
            return Err(ChangeImpossible::SameVoters);
        }
        // Who is demoted is a learner from now on, and counts in the outgoing half as long as there is one.
        let learners = &(&(&self.learners - promote) | demote) - remove;
        Ok(Self { voters, outgoing: self.voters.clone(), learners })
    }

    fn all_learners(&self, replicas: &BTreeSet<ReplicaId>) -> Result<(), ChangeImpossible> {
        all(replicas, |id| self.is_member(id), |replica| ChangeImpossible::NotMember { replica })?;
        all(replicas, |id| self.learners.contains(&id), |replica| ChangeImpossible::NotLearner { replica })
    }
}

fn somebody(replicas: &BTreeSet<ReplicaId>) -> Result<(), ChangeImpossible> {
    if replicas.is_empty() { Err(ChangeImpossible::Nobody) } else { Ok(()) }
}

/// Blames the first replica that is not as it should be.
fn all(
    replicas: &BTreeSet<ReplicaId>,
    fits: impl Fn(ReplicaId) -> bool,
    blame: impl Fn(ReplicaId) -> ChangeImpossible,
) -> Result<(), ChangeImpossible> {
    replicas.iter().copied().find(|id| !fits(*id)).map_or(Ok(()), |id| Err(blame(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    fn simple(voters: &[u64], learners: &[u64]) -> Configuration {
        Configuration { voters: set(voters), outgoing: set(&[]), learners: set(learners) }
    }

    fn enter(promote: &[u64], demote: &[u64], remove: &[u64]) -> Change {
        let (promote, demote, remove) = (set(promote), set(demote), set(remove));
        Change::Enter { promote, demote, remove, leave: Leave::Auto }
    }

    /// What becomes of it, in words.
    fn after(configuration: &Configuration, change: &Change) -> String {
        match configuration.changed(change) {
            Ok(configuration) => configuration.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn learners_come_and_go_in_one_step() {
        let three = simple(&[1, 2, 3], &[4]);
        let add = |ids: &[u64]| after(&three, &Change::AddLearners(set(ids)));
        let remove = |ids: &[u64]| after(&three, &Change::RemoveLearners(set(ids)));
        assert_eq!(add(&[5, 6]), "voters(1 2 3) learners(4 5 6)");
        assert_eq!(add(&[2]), "r2 is a member already");
        assert_eq!(add(&[4]), "r4 is a member already");
        assert_eq!(add(&[]), "the change names no replica");
        assert_eq!(remove(&[4]), "voters(1 2 3)");
        assert_eq!(remove(&[3]), "r3 is no learner", "a voter leaves by way of a joint configuration");
        assert_eq!(remove(&[5]), "r5 is no member");
        assert_eq!(remove(&[]), "the change names no replica");
    }

    #[test]
    fn voters_change_in_two_steps() {
        let three = simple(&[1, 2, 3], &[4, 5]);
        let joint = three.changed(&enter(&[4], &[], &[3])).unwrap();
        assert_eq!(joint.to_string(), "voters(1 2 4) outgoing(1 2 3) learners(5)");
        assert_eq!(after(&joint, &Change::Leave), "voters(1 2 4) learners(5)");
        assert_eq!(
            after(&three, &enter(&[4, 5], &[], &[])),
            "voters(1 2 3 4 5) outgoing(1 2 3)",
            "two at once"
        );
        assert_eq!(
            after(&three, &enter(&[], &[], &[3, 5])),
            "voters(1 2) outgoing(1 2 3) learners(4)",
            "a learner may leave with a voter"
        );
    }

    #[test]
    fn who_is_demoted_counts_until_the_end_of_the_joint_configuration() {
        let joint = simple(&[1, 2, 3], &[4]).changed(&enter(&[4], &[3], &[])).unwrap();
        assert_eq!(joint.to_string(), "voters(1 2 4) outgoing(1 2 3) learners(3)");
        assert!(joint.is_voter(ReplicaId(3)));
        assert_eq!(joint.members().count(), 4, "and is a member once");
        let left = joint.changed(&Change::Leave).unwrap();
        assert!(!left.is_voter(ReplicaId(3)) && left.is_member(ReplicaId(3)));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let three = simple(&[1, 2, 3], &[4]);
        let cases = [
            (enter(&[], &[], &[]), "the voters would stay as they are"),
            (enter(&[], &[], &[4]), "the voters would stay as they are"),
            (enter(&[2], &[], &[]), "r2 is no learner"),
            (enter(&[9], &[], &[]), "r9 is no member"),
            (enter(&[], &[4], &[]), "r4 is no voter"),
            (enter(&[], &[], &[9]), "r9 is no member"),
            (enter(&[4], &[], &[4]), "r4 is named twice"),
            (enter(&[], &[3], &[3]), "r3 is named twice"),
            (enter(&[], &[], &[1, 2, 3]), "no voter would be left"),
            (enter(&[], &[1, 2], &[3]), "no voter would be left"),
        ];
        for (change, reason) in cases {
            assert_eq!(after(&three, &change), reason);
        }
        assert_eq!(after(&three, &Change::Leave), "the configuration is not joint");
    }

    #[test]
    fn a_joint_configuration_can_only_be_left() {
        let joint = simple(&[1, 2, 3], &[4]).changed(&enter(&[4], &[], &[])).unwrap();
        for change in
            [enter(&[], &[], &[1]), Change::AddLearners(set(&[7])), Change::RemoveLearners(set(&[4]))]
        {
            assert_eq!(joint.changed(&change), Err(ChangeImpossible::Joint));
        }
    }
}
