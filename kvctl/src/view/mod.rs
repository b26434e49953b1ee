//! The fleet as an operator sees it: the cluster map, and what each node says of itself, brought together.
//!
//! A pure function of answers ([`Fleet::of`]), so that every judgement can be tested without a fleet. The answers were
//! given at slightly different moments; nothing here claims that they speak of one.

mod problems;

use std::collections::BTreeMap;

use flotilla_proto::v1 as wire;
use flotilla_topology::{Epoch, NodeId, ShardId};

pub use problems::{Problem, problems};

/// The whole fleet.
#[derive(Debug)]
pub struct Fleet {
    /// The cluster id.
    pub cluster: u128,
    /// The newest epoch among the map and the nodes' answers.
    pub epoch: Epoch,
    /// In the order of their ids.
    pub nodes: Vec<Node>,
    /// In the order of their ids, the meta shard first.
    pub shards: Vec<Shard>,
}

/// One node of the map.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// `host:port` of the gRPC services.
    pub client_addr: String,
    /// `host:port` for the other nodes.
    pub peer_addr: String,
    /// `host:port` of metrics and the status page.
    pub http_addr: String,
    /// Whether it shall be empty.
    pub leaving: wire::Leaving,
    /// What it says of itself, or why it says nothing.
    pub answer: Result<NodeAnswer, String>,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub struct NodeAnswer {
    /// Its process id.
    pub pid: u32,
    /// Since its start.
    pub uptime_ms: u64,
    /// Version and commit of the program.
    pub version: String,
    /// How many replicas it hosts.
    pub replicas: usize,
    /// How many of them lead.
    pub leaders: usize,
    /// The nodes that it has no stream to.
    pub unconnected: Vec<NodeId>,
    /// What is out of service on it.
    pub quarantined: Vec<wire::QuarantineStatus>,
    /// The room on its disk, if that tells.
    pub room: Option<wire::DiskRoom>,
}

/// One shard of the map.
#[derive(Debug)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// How many slots it owns: none for the meta shard.
    pub slots: u64,
    /// Which ones, in order.
    pub ranges: Vec<wire::SlotRange>,
    /// The greatest term that any replica names.
    pub term: u64,
    /// Who leads in that term, by its own word.
    pub leader: Option<NodeId>,
    /// Live keys by the leader's last flush (without a leader: by the replica that flushed last).
    pub keys: u64,
    /// Bytes of these keys and values.
    pub bytes: u64,
    /// In the order of their ids.
    pub replicas: Vec<Replica>,
}

/// One replica of the map.
#[derive(Debug)]
pub struct Replica {
    /// Its replica id.
    pub id: u64,
    /// Where it lives.
    pub node: NodeId,
    /// Voter or learner.
    pub membership: wire::Membership,
    /// What its node says of it; nothing when the node does not answer or hosts no such replica.
    pub seen: Option<wire::ReplicaStatus>,
    /// Entries of the leader's log that it is not known to have; unknown without a leader.
    pub lag: Option<u64>,
}

impl Fleet {
    /// Brings the map and the answers together. `answers` holds what each node of the map said.
    #[must_use]
    pub fn of(
        map: &wire::ClusterMap,
        mut answers: BTreeMap<NodeId, Result<wire::StatusResponse, String>>,
    ) -> Self {
        let mut epoch = map.epoch;
        let mut seen = BTreeMap::new();
        let mut nodes = Vec::new();
        for node in &map.nodes {
            let id = NodeId(node.node);
            let answer = answers.remove(&id).unwrap_or_else(|| Err("it was not asked".to_string()));
            if let Ok(status) = &answer {
                epoch = epoch.max(status.map_epoch);
                seen.extend(status.replicas.iter().map(|replica| ((id, replica.shard), replica.clone())));
            }
            nodes.push(Node {
                id,
                client_addr: node.client_addr.clone(),
                peer_addr: node.peer_addr.clone(),
                http_addr: node.http_addr.clone(),
                leaving: node.leaving(),
                answer: answer.map(|status| NodeAnswer::of(&status)),
            });
        }
        nodes.sort_by_key(|node| node.id);
        let mut shards: Vec<Shard> = map.shards.iter().map(|shard| Shard::of(shard, &seen)).collect();
        shards.sort_by_key(|shard| shard.id);
        Self { cluster: map.cluster.map_or(0, u128::from), epoch: Epoch(epoch), nodes, shards }
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Of how many shards a node has a replica, by the map.
    #[must_use]
    pub fn replicas_on(&self, id: NodeId) -> usize {
        let has = |shard: &&Shard| shard.replicas.iter().any(|replica| replica.node == id);
        self.shards.iter().filter(has).count()
    }

    /// Whether this node answered.
    #[must_use]
    pub fn answers(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.answer.is_ok())
    }

    /// The shard with this id.
    #[must_use]
    pub fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.id == id)
    }
}

impl NodeAnswer {
    fn of(status: &wire::StatusResponse) -> Self {
        let unconnected = status.peers.iter().filter(|peer| !peer.connected);
        Self {
            pid: status.pid,
            uptime_ms: status.uptime_ms,
            version: format!("{} ({})", status.version, status.commit),
            replicas: status.replicas.len(),
            leaders: status.replicas.iter().filter(|replica| replica.role() == wire::Role::Leader).count(),
            unconnected: unconnected.map(|peer| NodeId(peer.node)).collect(),
            quarantined: status.quarantined.clone(),
            room: status.room,
        }
    }
}

impl Shard {
    fn of(shard: &wire::Shard, seen: &BTreeMap<(NodeId, u64), wire::ReplicaStatus>) -> Self {
        let status_of = |replica: &wire::Replica| {
            let status = seen.get(&(NodeId(replica.node), shard.shard))?;
            (status.replica == replica.replica).then_some(status)
        };
        let statuses: Vec<&wire::ReplicaStatus> = shard.replicas.iter().filter_map(status_of).collect();
        let term = statuses.iter().map(|status| status.term).max().unwrap_or(0);
        let leader = leader(statuses.iter().copied());
        let counted = leader.or_else(|| statuses.iter().max_by_key(|status| status.digest_index).copied());
        let mut replicas: Vec<Replica> = shard
            .replicas
            .iter()
            .map(|replica| Replica {
                id: replica.replica,
                node: NodeId(replica.node),
                membership: replica.membership(),
                seen: status_of(replica).cloned(),
                lag: leader.and_then(|leader| lag(leader, replica.replica)),
            })
            .collect();
        replicas.sort_by_key(|replica| replica.id);
        Self {
            id: ShardId(shard.shard),
            slots: shard.slots.iter().map(|range| u64::from(range.last - range.first) + 1).sum(),
            ranges: shard.slots.clone(),
            term,
            leader: leader
                .and_then(|leader| replicas.iter().find(|replica| replica.id == leader.replica))
                .map(|at| at.node),
            keys: counted.map_or(0, |status| status.keys),
            bytes: counted.map_or(0, |status| status.bytes),
            replicas,
        }
    }

    /// Replaces what was seen of its replicas by newer answers. A replica without one was not reached this time.
    pub fn refresh(&mut self, answers: &[(NodeId, wire::ReplicaStatus)]) {
        for replica in &mut self.replicas {
            let answer =
                answers.iter().find(|(node, status)| *node == replica.node && status.replica == replica.id);
            replica.seen = answer.map(|(_, status)| status.clone());
        }
        let statuses = || self.replicas.iter().filter_map(|replica| replica.seen.as_ref());
        let Some(leader) = leader(statuses()).cloned() else {
            self.leader = None;
            return;
        };
        self.term = leader.term;
        for replica in &mut self.replicas {
            replica.lag = lag(&leader, replica.id);
            if replica.id == leader.replica {
                self.leader = Some(replica.node);
            }
        }
    }

    /// The greatest known lag of its replicas.
    #[must_use]
    pub fn lag_max(&self) -> Option<u64> {
        self.replicas.iter().filter_map(|replica| replica.lag).max()
    }
}

impl Replica {
    /// `leader`, `follower`, … as its node says, or `down`.
    #[must_use]
    pub fn role(&self) -> &'static str {
        match self.seen.as_ref().map(wire::ReplicaStatus::role) {
            None => "down",
            Some(wire::Role::Leader) => "leader",
            Some(wire::Role::Candidate | wire::Role::PreCandidate) => "candidate",
            Some(wire::Role::Follower) if self.membership == wire::Membership::Learner => "learner",
            Some(wire::Role::Follower) => "follower",
        }
    }

    /// `voter` or `learner`: its place in the configuration.
    #[must_use]
    pub fn membership(&self) -> &'static str {
        match self.membership {
            wire::Membership::Voter => "voter",
            wire::Membership::Learner => "learner",
            wire::Membership::Expected => "expected",
        }
    }
}

/// Who leads by its own word. A leader of an older term does not know yet that it was replaced.
fn leader<'a>(
    statuses: impl Iterator<Item = &'a wire::ReplicaStatus> + Clone,
) -> Option<&'a wire::ReplicaStatus> {
    let term = statuses.clone().map(|status| status.term).max()?;
    statuses.into_iter().find(|status| status.role() == wire::Role::Leader && status.term == term)
}

/// Entries of the leader's log that a replica is not known to have, by the leader's word.
fn lag(leader: &wire::ReplicaStatus, replica: u64) -> Option<u64> {
    if leader.replica == replica {
        return Some(0);
    }
    leader.followers.iter().find(|follower| follower.replica == replica).map(|follower| follower.lag)
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use super::samples::{answer, map, three_nodes};
    use super::*;

    #[test]
    fn the_leader_of_the_greatest_term_counts() {
        let mut answers = three_nodes();
        // Node 1 was cut off: it still believes that it leads shard 1 in term 3.
        let stale = &mut answers.get_mut(&NodeId(1)).unwrap().as_mut().unwrap().replicas[1];
        stale.set_role(wire::Role::Leader);
        stale.term = 3;
        let fleet = Fleet::of(&map(), answers);
        let shard = fleet.shard(ShardId(1)).unwrap();
        assert_eq!((shard.leader, shard.term), (Some(NodeId(2)), 4));
    }

    #[test]
    fn a_replica_on_a_silent_node_is_down_and_its_lag_is_the_leaders_word() {
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Err("connection refused".to_string()));
        let fleet = Fleet::of(&map(), answers);
        let replica = &fleet.shard(ShardId(1)).unwrap().replicas[2];
        assert_eq!((replica.role(), replica.lag), ("down", Some(7)));
        assert!(fleet.node(NodeId(3)).unwrap().answer.is_err());
    }

    #[test]
    fn a_replica_under_an_id_that_the_map_does_not_name_is_not_seen() {
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Ok(answer(3, |replica| replica.replica = 99)));
        let fleet = Fleet::of(&map(), answers);
        assert_eq!(fleet.shard(ShardId(1)).unwrap().replicas[2].role(), "down");
    }

    #[test]
    fn slots_are_counted_with_both_ends() {
        let fleet = Fleet::of(&map(), three_nodes());
        assert_eq!(fleet.shards.iter().map(|shard| shard.slots).collect::<Vec<_>>(), [0, 16384]);
    }
}
