//! The next step of a move.

use std::collections::BTreeSet;
use std::fmt;

use flotilla_raft::{Change, Index, Leave, ProgressKind, ReplicaId};
use flotilla_topology::{ClusterMap, Membership, Move, NodeId, Refusal, Report};

use super::seen::{FollowerSeen, ReplicaSeen, ShardSeen};

/// How many entries a new replica may be behind when it becomes a voter. The leader goes on writing meanwhile, and until it
/// has them the shard can do without one voter less; a busy leader appends a few hundred entries in a second.
pub const CAUGHT_UP_ENTRIES_MAX: u64 = 100;

/// What shall be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Tell the map of the configuration that is in effect.
    Report(Report),
    /// Propose other members to the leader.
    Propose {
        /// Its node.
        at: NodeId,
        /// What shall become of the members.
        change: Change,
        /// The configuration on which that was decided.
        derived_from: Index,
    },
    /// Have the leader give its office to another voter.
    HandOver {
        /// Its node.
        at: NodeId,
    },
    /// Nothing: look again later.
    Wait,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The new node has not created its replica, or it is no member yet.
    Creating,
    /// The new replica gets the log or a snapshot, and does not vote.
    Copying,
    /// Leadership leaves the replica that leaves.
    HandingOver,
    /// Old and new voters decide together.
    Joint,
    /// The new members are agreed on, and nobody may need the old one soon.
    Settling,
    /// It was cancelled, and the new replica leaves.
    Undoing,
}

/// The next step of a move, and what there is to tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What shall be done.
    pub step: Step,
    /// How far it is.
    pub phase: Phase,
    /// What it waits for; empty: for nothing in particular.
    pub waiting: String,
    /// Keys and values of the shard as its leader has them, in bytes; 0: unknown.
    pub bytes_total: u64,
    /// What was sent of a snapshot, in bytes.
    pub bytes_sent: u64,
    /// How many entries the new replica is behind.
    pub lag: u64,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Copying => "copying",
            Self::HandingOver => "handing over",
            Self::Joint => "joint",
            Self::Settling => "settling",
            Self::Undoing => "undoing",
        })
    }
}

/// The next step of a move of this map. `seen` was observed before the map was read.
#[must_use]
pub fn next(map: &ClusterMap, moving: &Move, seen: &ShardSeen) -> Decision {
    let placement = map.shards.get(&moving.shard).and_then(|info| info.replicas.get(&moving.arriving));
    let phase = match placement.map(|placement| placement.membership) {
        _ if moving.cancelled => Phase::Undoing,
        Some(Membership::Learner) => Phase::Copying,
        Some(Membership::Voter) => Phase::Joint,
        Some(Membership::Expected) | None => Phase::Creating,
    };
    let Some((at, leader)) = seen.leader() else {
        return wait(phase, "nobody is seen to lead the shard");
    };
    let follower = leader.followers.get(&moving.arriving).copied();
    let decision = decide(map, moving, seen, (at, leader, phase));
    Decision {
        bytes_total: leader.bytes,
        bytes_sent: follower.map_or(0, |follower| follower.bytes_sent),
        lag: follower.map_or(0, |follower| follower.lag),
        ..decision
    }
}

fn decide(
    map: &ClusterMap,
    moving: &Move,
    seen: &ShardSeen,
    (at, leader, phase): (NodeId, &ReplicaSeen, Phase),
) -> Decision {
    let Some(info) = map.shards.get(&moving.shard) else { return wait(phase, "the map has no such shard") };
    let (members, in_effect) = (&leader.configuration, leader.configuration_index);
    if in_effect < info.reported {
        return wait(phase, "its leader has not applied what the map knows");
    }
    if in_effect > info.reported {
        return report(map, moving, leader, phase);
    }
    if members.is_joint() {
        return wait(Phase::Joint, "the leader leaves the joint configuration");
    }
    let propose = |phase, change| step(phase, Step::Propose { at, change, derived_from: in_effect });
    let arriving = BTreeSet::from([moving.arriving]);
    if !members.is_member(moving.arriving) {
        // Also of a move that was cancelled: only after a report named it can it leave for sure.
        if !moving.cancelled && !seen.has(moving.to, moving.arriving) {
            let what = format!("node {} has not created its replica", moving.to.0);
            return wait(Phase::Creating, &what);
        }
        return propose(phase, Change::AddLearners(arriving));
    }
    if moving.cancelled && members.learners.contains(&moving.arriving) {
        return propose(Phase::Undoing, Change::RemoveLearners(arriving));
    }
    if let Some(what) = behind(leader.followers.get(&moving.arriving)) {
        return wait(Phase::Copying, &what);
    }
    if leader.replica == moving.leaving && has_heir(leader, moving.leaving) {
        return step(Phase::HandingOver, Step::HandOver { at });
    }
    let remove = BTreeSet::from([moving.leaving]);
    propose(
        Phase::Joint,
        Change::Enter { promote: arriving, demote: BTreeSet::new(), remove, leave: Leave::Auto },
    )
}

/// The map has not heard of the configuration in effect. Nothing else is proposed before it has: what comes next may have to be
/// undone by whoever knows no more than the map.
fn report(map: &ClusterMap, moving: &Move, leader: &ReplicaSeen, phase: Phase) -> Decision {
    let report = Report {
        index: leader.configuration_index,
        configuration: leader.configuration.clone(),
        settled: leader.settled,
    };
    let change = flotilla_topology::Change::Report { shard: moving.shard, report: report.clone() };
    match map.apply(change) {
        Ok(_) => step(phase, Step::Report(report)),
        Err(Refusal::Unsettled { .. }) => wait(Phase::Settling, "the new members are not settled yet"),
        Err(refusal) => wait(phase, &refusal.to_string()),
    }
}

/// Why the new replica cannot become a voter yet.
fn behind(follower: Option<&FollowerSeen>) -> Option<String> {
    let Some(follower) = follower else { return Some("the leader does not know the new replica yet".into()) };
    if !follower.active {
        return Some("the new replica is not heard".into());
    }
    match follower.state {
        ProgressKind::Probe => Some("the leader looks for where to begin".into()),
        ProgressKind::Snapshot => Some("a snapshot is on its way".into()),
        ProgressKind::Replicate if follower.lag > CAUGHT_UP_ENTRIES_MAX => {
            Some(format!("the new replica is {} entries behind", follower.lag))
        }
        ProgressKind::Replicate => None,
    }
}

/// Whether another voter could lead now. One that is alone hands over when it leaves the joint configuration.
fn has_heir(leader: &ReplicaSeen, leaving: ReplicaId) -> bool {
    leader.configuration.voters.iter().any(|voter| *voter != leaving && leader.is_heard(*voter))
}

fn step(phase: Phase, step: Step) -> Decision {
    Decision { step, phase, waiting: String::new(), bytes_total: 0, bytes_sent: 0, lag: 0 }
}

fn wait(phase: Phase, waiting: &str) -> Decision {
    Decision { waiting: waiting.to_string(), ..step(phase, Step::Wait) }
}
