//! Majority arithmetic, and nothing else.
//!
//! Every decision of Raft is a question to a quorum: what have so many replicas reached (an index, a moment,
//! a round), or have so many agreed? A joint configuration needs a majority of *each* half (Raft paper, §6).
//! Learners are never asked.

use std::collections::BTreeSet;

use crate::configuration::Configuration;
use crate::id::ReplicaId;

/// Where an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A quorum said yes.
    Won,
    /// A quorum can no longer say yes.
    Lost,
    /// Neither yet.
    Pending,
}

/// The greatest value that a quorum has reached: what at least a majority of each half has, or more. `None`
/// if a configuration without voters is asked.
pub(crate) fn reached<T: Ord + Copy>(
    configuration: &Configuration,
    value: impl Fn(ReplicaId) -> T,
) -> Option<T> {
    let incoming = reached_by_majority(&configuration.voters, &value)?;
    if configuration.is_joint() {
        let outgoing = reached_by_majority(&configuration.outgoing, &value)?;
        return Some(incoming.min(outgoing));
    }
    Some(incoming)
}

/// Quadratic, because it allocates nothing: halves have three or five voters, and this runs for every
/// acknowledgement.
fn reached_by_majority<T: Ord + Copy>(
    voters: &BTreeSet<ReplicaId>,
    value: &impl Fn(ReplicaId) -> T,
) -> Option<T> {
    let majority = majority_of(voters.len());
    let has_majority = |bar: T| voters.iter().filter(|voter| value(**voter) >= bar).count() >= majority;
    voters.iter().map(|voter| value(*voter)).filter(|bar| has_majority(*bar)).max()
}

/// Where an election stands, given who has voted how (`None`: not yet).
pub(crate) fn decision(configuration: &Configuration, vote: impl Fn(ReplicaId) -> Option<bool>) -> Decision {
    let incoming = decision_of_half(&configuration.voters, &vote);
    if !configuration.is_joint() {
        return incoming;
    }
    match (incoming, decision_of_half(&configuration.outgoing, &vote)) {
        (Decision::Won, Decision::Won) => Decision::Won,
        (Decision::Lost, _) | (_, Decision::Lost) => Decision::Lost,
        _ => Decision::Pending,
    }
}

fn decision_of_half(voters: &BTreeSet<ReplicaId>, vote: &impl Fn(ReplicaId) -> Option<bool>) -> Decision {
    let count = |wanted: Option<bool>| voters.iter().filter(|voter| vote(**voter) == wanted).count();
    let (yes, open, majority) = (count(Some(true)), count(None), majority_of(voters.len()));
    if yes >= majority {
        Decision::Won
    } else if yes + open < majority {
        Decision::Lost
    } else {
        Decision::Pending
    }
}

const fn majority_of(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Configuration {
        let set = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect();
        Configuration { voters: set(voters), outgoing: set(outgoing), learners: set(learners) }
    }

    /// The replica `r` has reached `values[r - 1]`.
    fn reached_with(configuration: &Configuration, values: &[u64]) -> Option<u64> {
        reached(configuration, |id| values[id.0 as usize - 1])
    }

    #[test]
    fn majority_is_more_than_half() {
        for (voters, majority) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
            assert_eq!(majority_of(voters), majority, "of {voters}");
        }
    }

    #[test]
    fn reached_is_what_a_majority_has() {
        assert_eq!(reached_with(&configuration(&[1], &[], &[]), &[7]), Some(7));
        assert_eq!(reached_with(&configuration(&[1, 2], &[], &[]), &[7, 5]), Some(5));
        assert_eq!(reached_with(&configuration(&[1, 2, 3], &[], &[]), &[7, 5, 1]), Some(5));
        assert_eq!(reached_with(&configuration(&[1, 2, 3, 4], &[], &[]), &[7, 7, 1, 2]), Some(2));
        assert_eq!(reached_with(&configuration(&[1, 2, 3, 4, 5], &[], &[]), &[9, 8, 8, 1, 0]), Some(8));
        assert_eq!(reached_with(&configuration(&[], &[], &[]), &[]), None, "nobody decides nothing");
    }

    #[test]
    fn learners_do_not_count() {
        assert_eq!(reached_with(&configuration(&[1, 2, 3], &[], &[4, 5]), &[9, 2, 1, 9, 9]), Some(2));
    }

    #[test]
    fn joint_needs_both_halves() {
        let joint = configuration(&[1, 2, 3], &[3, 4, 5], &[]);
        assert_eq!(reached_with(&joint, &[9, 9, 9, 1, 2]), Some(2), "the outgoing half is behind");
        assert_eq!(reached_with(&joint, &[1, 2, 9, 9, 9]), Some(2), "the incoming half is behind");
        assert_eq!(reached_with(&joint, &[1, 8, 9, 7, 2]), Some(7));
    }

    #[test]
    fn elections_are_decided_as_early_as_possible() {
        let decide = |configuration: &Configuration, votes: &[Option<bool>]| {
            decision(configuration, |id| votes[id.0 as usize - 1])
        };
        let (yes, no) = (Some(true), Some(false));
        let three = configuration(&[1, 2, 3], &[], &[]);
        assert_eq!(decide(&three, &[yes, None, None]), Decision::Pending);
        assert_eq!(decide(&three, &[yes, None, yes]), Decision::Won);
        assert_eq!(decide(&three, &[yes, no, no]), Decision::Lost);
        let four = configuration(&[1, 2, 3, 4], &[], &[]);
        assert_eq!(decide(&four, &[yes, yes, no, no]), Decision::Lost, "a tie is no majority");
        let joint = configuration(&[1, 2, 3], &[3, 4, 5], &[]);
        assert_eq!(decide(&joint, &[yes, yes, yes, None, None]), Decision::Pending);
        assert_eq!(decide(&joint, &[yes, yes, yes, no, no]), Decision::Lost);
        assert_eq!(decide(&joint, &[yes, yes, yes, no, yes]), Decision::Won);
        assert_eq!(decide(&configuration(&[], &[], &[]), &[]), Decision::Lost, "nobody elects nobody");
    }
}
