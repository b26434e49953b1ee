//! Whether a move may begin. What makes no sense the map refuses (`ClusterMap::apply`); here it is judged what would put the
//! shard in danger, or could not come to an end as things are.
//!
//! That is a courtesy to whoever asks, and not what keeps a shard safe: everything seen may be different a moment later.

use flotilla_topology::{Move, NodeId};

use super::seen::ShardSeen;

/// Why a move should not begin now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Danger {
    /// The new node does not answer.
    #[error("node {} does not answer", node.0)]
    Down {
        /// The node.
        node: NodeId,
    },
    /// Nobody leads.
    #[error("the shard has no leader just now")]
    NoLeader,
    /// Another change of the members is under way.
    #[error("its members are being changed already")]
    Changing,
    /// Of the voters that would remain with the new one, too few are up.
    #[error("only {up} of its {voters} voters would be up after the move, and a majority is {majority}")]
    Quorum {
        /// Those that answer their leader, and the new one.
        up: usize,
        /// The voters after the move.
        voters: usize,
        /// How many it needs.
        majority: usize,
    },
}

/// Whether this move, not recorded yet, may begin. `is_up` says whether a node answers.
///
/// # Errors
/// Why it should not.
pub fn check_start(moving: &Move, seen: &ShardSeen, is_up: impl Fn(NodeId) -> bool) -> Result<(), Danger> {
    if !is_up(moving.to) {
        return Err(Danger::Down { node: moving.to });
    }
    let Some((_, leader)) = seen.leader() else { return Err(Danger::NoLeader) };
    let members = &leader.configuration;
    if members.is_joint() || !members.learners.is_empty() {
        return Err(Danger::Changing);
    }
    let staying = || members.voters.iter().filter(|voter| **voter != moving.leaving);
    let (voters, up) =
        (staying().count() + 1, staying().filter(|voter| leader.is_heard(**voter)).count() + 1);
    let majority = voters / 2 + 1;
    if up < majority { Err(Danger::Quorum { up, voters, majority }) } else { Ok(()) }
}
