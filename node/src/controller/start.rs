//! Whether a move may begin. What makes no sense the map refuses (`ClusterMap::apply`); here it is judged what would put the
//! shard in danger, or could not come to an end as things are.
//!
//! That is a courtesy to whoever asks, and not what keeps a shard safe: everything seen may be different a moment later.

use flotilla_daemon::table::bytes;
use flotilla_topology::{ClusterMap, Move, NodeId};

use super::places::Places;
use super::seen::{FleetSeen, ShardSeen};

/// Why a move should not begin now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Danger {
    /// The new node does not answer.
    #[error("node {} does not answer", node.0)]
    Down {
        /// The node.
        node: NodeId,
    },
    /// The disk of the new node is too full.
    #[error(
        "the disk of node {} is too full: {} are free, what is to come needs {}, and {} shall stay free",
        node.0, bytes(*free), bytes(*needed), bytes(*reserve)
    )]
    Full {
        /// The node.
        node: NodeId,
        /// What this move and those that are under way take there, in bytes.
        needed: u64,
        /// What is free, in bytes.
        free: u64,
        /// What must stay free, in bytes.
        reserve: u64,
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

/// Whether this move may begin. `map` has it already, as it would be recorded.
///
/// # Errors
/// Why it should not.
pub fn check_start(map: &ClusterMap, moving: &Move, seen: &FleetSeen) -> Result<(), Danger> {
    if !seen.up.contains(&moving.to) {
        return Err(Danger::Down { node: moving.to });
    }
    let leader = seen.shards.get(&moving.shard).and_then(ShardSeen::leader);
    let Some((_, leader)) = leader else { return Err(Danger::NoLeader) };
    let members = &leader.configuration;
    if members.is_joint() || !members.learners.is_empty() {
        return Err(Danger::Changing);
    }
    let staying = || members.voters.iter().filter(|voter| **voter != moving.leaving);
    let (voters, up) =
        (staying().count() + 1, staying().filter(|voter| leader.is_heard(**voter)).count() + 1);
    let majority = voters / 2 + 1;
    if up < majority {
        return Err(Danger::Quorum { up, voters, majority });
    }
    // Who takes its own place needs no other.
    if moving.from == moving.to { Ok(()) } else { Places::of(map, seen).check_room(moving.to, 0) }
}
