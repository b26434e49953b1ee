//! `/v1/status`: what a process knows of itself and of the fleet.
//!
//! Field names are public: they are extended, not renamed.

use flotilla_proto::v1;
use flotilla_topology::{ClusterMap, Membership, NodeId, ShardId};
use serde::Serialize;

/// What a process knows.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `node` or `router`.
    pub(super) process: &'static str,
    /// The node's id; absent on a router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<u64>,
    version: &'static str,
    commit: &'static str,
    pid: u32,
    uptime_ms: u64,
    /// Whether it serves, and what is missing if not.
    pub(super) ready: bool,
    pub(super) missing: Option<String>,
    /// In hexadecimal digits; absent before the fleet is known.
    pub(super) cluster: Option<String>,
    pub(super) epoch: u64,
    /// Where a router looks for its fleet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<String>,
    pub(super) nodes: Vec<NodeReport>,
    pub(super) shards: Vec<ShardReport>,
    /// The replicas of a node, as it sees them itself.
    pub(super) replicas: Vec<ReplicaReport>,
}

/// Who leads a shard, as far as the process knows.
#[derive(Clone, Debug)]
pub struct Leader {
    /// The node.
    pub node: NodeId,
    /// The term in which it was seen.
    pub term: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct NodeReport {
    pub(super) node: u64,
    pub(super) client_addr: String,
    pub(super) peer_addr: String,
    pub(super) http_addr: String,
    /// Whether the asked node has a line to it; absent where it has none to look at.
    pub(super) connected: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ShardReport {
    pub(super) shard: u64,
    /// Whether its leader is known.
    ready: bool,
    pub(super) leader: Option<u64>,
    pub(super) leader_addr: Option<String>,
    pub(super) term: u64,
    /// How many slots it owns, and which: first and last of each range.
    pub(super) slots: u32,
    pub(super) ranges: Vec<[u16; 2]>,
    pub(super) replicas: Vec<Placed>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Placed {
    replica: u64,
    pub(super) node: u64,
    role: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ReplicaReport {
    pub(super) shard: u64,
    replica: u64,
    pub(super) role: &'static str,
    term: u64,
    leader_node: u64,
    commit: u64,
    pub(super) applied: u64,
    persisted: u64,
    durable: u64,
    compacted: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    version: u64,
    shard_time_ms: u64,
    pub(super) slots: u32,
    followers: Vec<FollowerReport>,
}

#[derive(Clone, Debug, Serialize)]
struct FollowerReport {
    replica: u64,
    node: u64,
    matched: u64,
    lag: u64,
    active: bool,
}

impl Report {
    /// Of a router, which looks for its fleet at these endpoints.
    #[must_use]
    pub fn of_router(endpoints: Vec<String>, uptime_ms: u64) -> Self {
        Self { endpoints, ..Self::blank("router", uptime_ms) }
    }

    /// Of a node.
    #[must_use]
    pub fn of_node(node: NodeId, uptime_ms: u64) -> Self {
        Self { node: Some(node.0), ..Self::blank("node", uptime_ms) }
    }

    fn blank(process: &'static str, uptime_ms: u64) -> Self {
        Self {
            process,
            node: None,
            version: crate::VERSION,
            commit: crate::COMMIT,
            pid: std::process::id(),
            uptime_ms,
            ready: false,
            missing: None,
            cluster: None,
            epoch: 0,
            endpoints: Vec::new(),
            nodes: Vec::new(),
            shards: Vec::new(),
            replicas: Vec::new(),
        }
    }

    /// With this map, and who leads its shards.
    #[must_use]
    pub fn with_map(mut self, map: &ClusterMap, leader: impl Fn(ShardId) -> Option<Leader>) -> Self {
        self.cluster = Some(format!("{:032x}", map.cluster));
        self.epoch = map.epoch.0;
        let node = |(node, info): (&NodeId, &flotilla_topology::NodeInfo)| NodeReport {
            node: node.0,
            client_addr: info.client_addr.clone(),
            peer_addr: info.peer_addr.clone(),
            http_addr: info.http_addr.clone(),
            connected: None,
        };
        self.nodes = map.nodes.iter().map(node).collect();
        self.shards = map.shards.keys().map(|shard| ShardReport::new(map, *shard, leader(*shard))).collect();
        self
    }

    /// With what the node says of itself.
    #[must_use]
    pub fn with_status(mut self, status: &v1::StatusResponse) -> Self {
        self.replicas = status.replicas.iter().map(ReplicaReport::new).collect();
        for node in &mut self.nodes {
            let peer = status.peers.iter().find(|peer| peer.node == node.node);
            node.connected = peer.map(|peer| peer.connected);
        }
        self
    }

    pub(super) fn set_missing(&mut self, missing: Option<String>) {
        self.ready = missing.is_none();
        self.missing = missing;
    }

    /// As JSON, in one line.
    pub(super) fn json(&self) -> String {
        // A structure of texts, numbers and lists always becomes JSON.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl ShardReport {
    fn new(map: &ClusterMap, shard: ShardId, leader: Option<Leader>) -> Self {
        let slots = map.slots_of(shard);
        let ranges: Vec<[u16; 2]> =
            slots.ranges().iter().map(|range| [range.first().number(), range.last().number()]).collect();
        let replicas = map.shards.get(&shard).into_iter().flat_map(|info| &info.replicas);
        let placed = replicas.map(|(replica, placement)| Placed {
            replica: replica.0,
            node: placement.node.0,
            role: match placement.membership {
                Membership::Voter => "voter",
                Membership::Learner => "learner",
                Membership::Expected => "expected",
            },
        });
        let leads = leader.as_ref().and_then(|leader| map.nodes.get(&leader.node));
        Self {
            shard: shard.0,
            ready: leader.is_some(),
            leader_addr: leads.map(|info| info.client_addr.clone()),
            leader: leader.as_ref().map(|leader| leader.node.0),
            term: leader.map_or(0, |leader| leader.term),
            slots: ranges.iter().map(|[first, last]| u32::from(last - first) + 1).sum(),
            ranges,
            replicas: placed.collect(),
        }
    }
}

impl ReplicaReport {
    fn new(status: &v1::ReplicaStatus) -> Self {
        let follower = |follower: &v1::FollowerStatus| FollowerReport {
            replica: follower.replica,
            node: follower.node,
            matched: follower.match_index,
            lag: follower.lag,
            active: follower.active,
        };
        Self {
            shard: status.shard,
            replica: status.replica,
            role: match (status.membership(), status.role()) {
                (_, v1::Role::Leader) => "leader",
                (v1::Membership::Learner, _) => "learner",
                (_, v1::Role::Candidate | v1::Role::PreCandidate) => "candidate",
                (_, v1::Role::Follower) => "follower",
            },
            term: status.term,
            leader_node: status.leader_node,
            commit: status.commit_index,
            applied: status.applied_index,
            persisted: status.persisted_index,
            durable: status.durable_index,
            compacted: status.compacted_index,
            keys: status.keys,
            bytes: status.bytes,
            version: status.version,
            shard_time_ms: status.shard_time_ms,
            slots: status.slots,
            followers: status.followers.iter().map(follower).collect(),
        }
    }
}
