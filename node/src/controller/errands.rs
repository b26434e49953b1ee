//! What the controller begins by itself: nodes that leave are emptied, and replicas that are out of service, or on dead nodes,
//! are replaced.
//!
//! ```text
//!   n2 shall be empty:   what it leads is handed over ─▶ at most 4 moves at once, each to the emptiest home ─▶ removed, if that is wished
//!   n3 is dead:          the same without handing over, and only of shards whose leader does not hear it either
//!   r3 is out of service on n3: it moves to another node that has room; if none has, it is replaced on n3
//! ```
//!
//! A pure function, like the next step of a move: nothing is remembered of what was begun. A move that was begun stands in the map;
//! one that was not is begun by the next round, of this controller or another. All changes of a round are made to the map that they
//! were decided on, or not at all.

use std::collections::BTreeMap;

use flotilla_raft::{ProgressKind, ReplicaId};
use flotilla_topology::{Change, ClusterMap, Leaving, NodeId, ShardId};

use super::places::Places;
use super::plan::CAUGHT_UP_ENTRIES_MAX;
use super::seen::{FleetSeen, ReplicaSeen, ShardSeen};
use super::start::{Danger, check_start};

/// How many replicas move at once before the controller begins another move by itself; those that operators began count. Each costs its
/// snapshot, and a node sends no more than two at a time.
pub const MOVES_AT_ONCE_MAX: usize = 4;

/// What a round shall begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errands {
    /// Changes of the map, in this order, all or none.
    pub changes: Vec<Change>,
    /// Leaderships that leave nodes.
    pub hand_overs: Vec<HandOver>,
    /// Why a node is not becoming empty just now.
    pub waiting: BTreeMap<NodeId, String>,
}

/// A leadership that shall go to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HandOver {
    /// The shard.
    pub shard: ShardId,
    /// Who leads it.
    pub at: NodeId,
    /// Who shall.
    pub to: NodeId,
}

/// A move that would be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The shard.
    pub shard: ShardId,
    /// The node that gives its replica up.
    pub from: NodeId,
    /// The node that gets one.
    pub to: NodeId,
    /// Keys and values of the shard, in bytes, as its leader has them; 0: unknown.
    pub bytes: u64,
    /// The replica that would leave leads.
    pub leads: bool,
}

/// Why a node cannot be emptied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Nobody could take some of its replicas.
    #[error(
        "no node could take the replicas of {}: it must be up, not be leaving, have none of them, and have room on its disk; let one join",
        shards(.0)
    )]
    Homeless(Vec<ShardId>),
    /// Who shall be removed by force is alive.
    #[error("node {} answers: drain it instead, so that its replicas go on serving until others have taken over", node.0)]
    Answers {
        /// The node.
        node: NodeId,
    },
    /// A shard would be lost, or is.
    #[error("{shard}: {danger}")]
    Shard {
        /// The shard.
        shard: ShardId,
        /// What would become of it.
        danger: Danger,
    },
}

/// As a sentence names them.
fn shards(shards: &[ShardId]) -> String {
    let names: Vec<String> = shards.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What shall be begun now. `seen` was observed before the map was read.
#[must_use]
pub fn errands(map: &ClusterMap, seen: &FleetSeen) -> Errands {
    let mut round = Round { map: map.clone(), seen, errands: Errands::default() };
    round.cancel_what_cannot_arrive();
    round.replace_quarantined();
    let leaving: Vec<NodeId> = map.leaving.keys().copied().collect();
    let dead = seen.dead.iter().filter(|node| map.is_home(**node));
    for node in leaving.iter().chain(dead) {
        round.empty(*node);
    }
    round.errands
}

/// Where the replicas of a node would go, were it emptied now. What moves away from it already is left out.
///
/// # Errors
/// Some could go nowhere.
pub fn plan_emptying(map: &ClusterMap, seen: &FleetSeen, node: NodeId) -> Result<Vec<Planned>, Obstacle> {
    let (mut places, mut planned, mut homeless) = (Places::of(map, seen), Vec::new(), Vec::new());
    for (shard, replica) in map.replicas_on(node) {
        if map.move_of(shard).is_some_and(|(_, moving)| moving.from == node || moving.to == node) {
            continue;
        }
        let Some(to) = places.home(shard, Some(node)) else {
            homeless.push(shard);
            continue;
        };
        places.take(shard, to);
        let leader = seen.shards.get(&shard).and_then(ShardSeen::leader).map(|(_, leader)| leader);
        planned.push(Planned {
            shard,
            from: node,
            to,
            bytes: seen.bytes(shard),
            leads: leader.is_some_and(|leader| leader.replica == replica),
        });
    }
    if homeless.is_empty() { Ok(planned) } else { Err(Obstacle::Homeless(homeless)) }
}

/// Whether a node may be removed by force: it is dead, and none of its shards would have too few voters meanwhile.
///
/// # Errors
/// Why it may not.
pub fn check_force(map: &ClusterMap, seen: &FleetSeen, node: NodeId) -> Result<(), Obstacle> {
    if seen.up.contains(&node) {
        return Err(Obstacle::Answers { node });
    }
    let nothing = ShardSeen::default();
    for (shard, replica) in map.replicas_on(node) {
        let replicas = seen.shards.get(&shard).unwrap_or(&nothing);
        let Some((_, leader)) = replicas.leader() else {
            return Err(Obstacle::Shard { shard, danger: Danger::NoLeader });
        };
        if leader.is_heard(replica) {
            return Err(Obstacle::Answers { node });
        }
    }
    plan_emptying(map, seen, node).map(drop)
}

/// A round, and the map as it will be after what it has decided so far.
struct Round<'a> {
    map: ClusterMap,
    seen: &'a FleetSeen,
    errands: Errands,
}

impl Round<'_> {
    /// Makes a change. Whether it makes sense.
    fn change(&mut self, change: Change) -> bool {
        match self.map.apply(change.clone()) {
            Ok(next) => {
                self.map = next;
                self.errands.changes.push(change);
                true
            }
            Err(_) => false,
        }
    }

    fn waits(&mut self, node: NodeId, why: String) {
        self.errands.waiting.entry(node).or_insert(why);
    }

    /// Moves to nodes that leave, or that are dead, do not end there.
    fn cancel_what_cannot_arrive(&mut self) {
        let arrives = |node: NodeId| self.map.is_home(node) && !self.seen.dead.contains(&node);
        let moves = self.map.moves.iter().filter(|(_, moving)| !moving.cancelled && !arrives(moving.to));
        for id in moves.map(|(id, _)| *id).collect::<Vec<_>>() {
            // Refused where its new replica votes: then it ends, and the replica moves on.
            self.change(Change::CancelMove { id });
        }
    }

    fn empty(&mut self, node: NodeId) {
        let replicas: Vec<(ShardId, ReplicaId)> = self.map.replicas_on(node).collect();
        if replicas.is_empty() && self.map.leaving.get(&node) == Some(&Leaving::Removed) {
            self.change(Change::RemoveNode { node });
        }
        for (shard, replica) in replicas {
            if let Err(why) = self.relieve(node, shard, replica) {
                self.waits(node, why);
            }
        }
    }

    /// One replica leaves a node. The error is what that waits for.
    fn relieve(&mut self, node: NodeId, shard: ShardId, replica: ReplicaId) -> Result<(), String> {
        if self.map.move_of(shard).is_some() {
            return Ok(());
        }
        let seen = self.seen;
        let shown = seen.shards.get(&shard);
        let Some((at, leader)) = shown.and_then(ShardSeen::leader) else {
            return Err(format!("{shard} has no leader"));
        };
        if self.map.is_home(node) && leader.is_heard(replica) {
            // We do not hear the node, and others do: the network is ill, and no replica is lost.
            return Err(format!("the leader of {shard} hears its replica"));
        }
        if at == node
            && let Some(to) = self.heir(leader, shard)
        {
            self.errands.hand_overs.push(HandOver { shard, at, to });
            return Ok(());
        }
        if self.map.moves.len() >= MOVES_AT_ONCE_MAX {
            return Ok(());
        }
        let Some(to) = Places::of(&self.map, seen).home(shard, Some(node)) else {
            return Err(Obstacle::Homeless(vec![shard]).to_string());
        };
        self.begin(shard, Change::StartMove { shard, from: node, to })
    }

    /// Who is out of service is replaced, by its node's own word.
    fn replace_quarantined(&mut self) {
        let seen = self.seen;
        for (node, shards) in &seen.quarantined {
            for (shard, spent) in shards {
                if let Err(why) = self.replace(*node, *shard, *spent) {
                    self.waits(*node, why);
                }
            }
        }
    }

    /// The replica of a shard on a node is replaced, if its id is spent. The error is what that waits for.
    fn replace(&mut self, node: NodeId, shard: ShardId, spent: ReplicaId) -> Result<(), String> {
        if let Some((id, moving)) = self.map.move_of(shard) {
            if moving.to == node && moving.arriving <= spent && !moving.cancelled {
                // Refused where it votes: then the move ends, and it is replaced after that.
                self.change(Change::CancelMove { id });
            }
            return Ok(());
        }
        let is_here = self.map.replica_on(shard, node).is_some_and(|replica| replica <= spent);
        // Who leaves is emptied anyway.
        if !is_here || !self.map.is_home(node) || self.map.moves.len() >= MOVES_AT_ONCE_MAX {
            return Ok(());
        }
        if self.seen.shards.get(&shard).and_then(ShardSeen::leader).is_none() {
            return Err(format!(
                "{shard} has no leader, and only a majority of its voters can replace the one that is out of service"
            ));
        }
        let start = match Places::of(&self.map, self.seen).home(shard, Some(node)) {
            Some(to) => Change::StartMove { shard, from: node, to },
            None => Change::Replace { shard, node },
        };
        self.begin(shard, start)
    }

    /// Begins a move, if that endangers nothing. The error is what that waits for.
    fn begin(&mut self, shard: ShardId, start: Change) -> Result<(), String> {
        let started = self.map.apply(start.clone()).map_err(|refusal| refusal.to_string())?;
        if let Some((_, moving)) = started.move_of(shard) {
            check_start(&started, moving, self.seen).map_err(|danger| format!("{shard}: {danger}"))?;
        }
        self.change(start);
        Ok(())
    }

    /// Who could lead at once in the place of a leader whose node leaves: who leads least, of those that stay.
    fn heir(&self, leader: &ReplicaSeen, shard: ShardId) -> Option<NodeId> {
        let voters = leader.configuration.voters.iter().filter(|voter| **voter != leader.replica);
        let able = voters.filter(|voter| {
            leader.followers.get(voter).is_some_and(|it| {
                it.active && it.state == ProgressKind::Replicate && it.lag <= CAUGHT_UP_ENTRIES_MAX
            })
        });
        let nodes = able.filter_map(|voter| self.map.node_of(shard, *voter));
        let stays = nodes.filter(|node| self.map.is_home(*node) && self.seen.up.contains(node));
        stays.min_by_key(|node| (self.leaderships(*node), *node))
    }

    /// How many of the shards that were looked at a node leads, or will.
    fn leaderships(&self, node: NodeId) -> usize {
        let leads = |seen: &&ShardSeen| seen.leader().is_some_and(|(at, _)| at == node);
        let will = self.errands.hand_overs.iter().filter(|it| it.to == node).count();
        self.seen.shards.values().filter(leads).count() + will
    }
}
