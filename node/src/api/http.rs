//! What a node gives to its HTTP address: whether it serves (it knows its shards and who leads them), its keys, what it
//! knows of itself, its metrics.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use flotilla_daemon::http::{Leader, Process, Report};
use flotilla_proto::v1;
use flotilla_topology::NodeId;

use super::front::Front;
use super::kv::KvService;
use super::node_status::{self, NodeStatus};
use crate::host::{Answer, ReplicaStatus};
use crate::metrics::Scraper;
use crate::runtime::{Ended, Runtime};

/// What a node lacks that has ended its workers.
const ENDING: &str = "this node is shutting down";

/// Whether a node serves. It can be asked from the first moment.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<OnceLock<(Arc<Front>, Arc<NodeStatus>)>>);

impl Readiness {
    /// The node runs: from now on the answer depends on its shards. Only the first call counts.
    pub fn open(&self, front: Arc<Front>, status: Arc<NodeStatus>) {
        drop(self.0.set((front, status)));
    }

    /// What is missing; `None`: the node serves. For the node itself, which asks once at a time: its workers always let it
    /// in, so that a busy node does not look as one without leaders.
    pub async fn missing(&self) -> Option<String> {
        self.judge(async |runtime| match runtime.replicas().await {
            Ok(replicas) => Ok(replicas),
            Err(Ended) => Err(ENDING.to_owned()),
        })
        .await
    }

    /// The same for whoever asks from outside, as often as they like: a worker whose inbox is full is not asked.
    async fn missing_from_outside(&self) -> Option<String> {
        self.judge(async |runtime| match runtime.inspect().await {
            Ok(Answer::Status(replicas)) => Ok(replicas),
            Ok(Answer::Refused(refusal)) => Err(format!("busy: {refusal}")),
            Ok(other) => unreachable!("a worker answered an inspection with {other:?}"),
            Err(Ended) => Err(ENDING.to_owned()),
        })
        .await
    }

    async fn judge(
        &self,
        ask: impl AsyncFnOnce(&Runtime) -> Result<Vec<ReplicaStatus>, String>,
    ) -> Option<String> {
        let Some((front, _)) = self.0.get() else { return Some("the fleet is not founded yet".to_string()) };
        let map = match front.map() {
            Ok(map) => map,
            Err(status) => return Some(status.message().to_string()),
        };
        let replicas = match ask(&front.runtime).await {
            Ok(replicas) => replicas,
            Err(missing) => return Some(missing),
        };
        let node: NodeId = front.node;
        for (shard, _) in map.replicas_on(node) {
            let Some(replica) = replicas.iter().find(|replica| replica.shard == shard) else {
                return Some(format!("{shard} has no replica here yet"));
            };
            if replica.leader.is_none() {
                return Some(format!("{shard} has no known leader"));
            }
        }
        None
    }
}

/// The node, as the HTTP address sees it.
#[derive(Debug)]
pub struct Face {
    node: NodeId,
    started: Instant,
    readiness: Readiness,
    scraper: Scraper,
}

impl Face {
    /// Of a node that starts now.
    #[must_use]
    pub fn new(node: NodeId, readiness: Readiness, scraper: Scraper) -> Self {
        Self { node, started: Instant::now(), readiness, scraper }
    }
}

impl Process for Face {
    type Kv = KvService;

    fn kv(&self) -> Option<KvService> {
        self.readiness.0.get().map(|(front, _)| KvService(Arc::clone(front)))
    }

    async fn missing(&self) -> Option<String> {
        self.readiness.missing_from_outside().await
    }

    async fn report(&self) -> Report {
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = Report::of_node(self.node, uptime_ms);
        let Some((front, node)) = self.readiness.0.get() else { return report };
        let (Some(map), Ok(status)) = (front.newest_map(), node_status::status(front, node).await) else {
            return report;
        };
        let status = status.into_inner();
        // Of shards without a replica here the node knows no leader.
        let leader = |shard: flotilla_topology::ShardId| {
            let replica = status.replicas.iter().find(|replica| replica.shard == shard.0)?;
            let leads = match replica.role() {
                v1::Role::Leader => self.node.0,
                _ => replica.leader_node,
            };
            (leads != 0).then_some(Leader { node: NodeId(leads), term: replica.term })
        };
        report.with_map(&map, leader).with_status(&status)
    }

    async fn metrics(&self) -> String {
        self.scraper.scrape().await
    }
}
