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
use crate::host::Answer;
use crate::metrics::Scraper;
use crate::runtime::{Ended, Unled};

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

    /// What is missing; `None`: the node serves. By what workers told last, so that asking costs them nothing, however many replicas
    /// they have.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let Some((front, _)) = self.0.get() else { return Some("the fleet is not founded yet".to_string()) };
        let map = match front.map() {
            Ok(map) => map,
            Err(status) => return Some(status.message().to_string()),
        };
        if !map.nodes.contains_key(&front.node) {
            return Some(format!("this node is no member of the fleet any more (epoch {})", map.epoch));
        }
        // What is out of service makes no node unready: it serves all others.
        let shards = map.replicas_on(front.node).map(|(shard, _)| shard);
        let shards = shards.filter(|shard| front.runtime.quarantine().of(*shard).is_none());
        front.runtime.first_unled(shards).map(|unled| match unled {
            Unled::Unborn(shard) => format!("{shard} has no replica here yet"),
            Unled::Leaderless(shard) => format!("{shard} has no known leader"),
        })
    }

    /// As long as this is the same, so is what is missing. `None`: that may change at any time.
    #[must_use]
    pub fn signs(&self) -> Option<(u64, u64)> {
        let (front, _) = self.0.get()?;
        Some((front.map().ok()?.epoch.0, front.runtime.leader_news()))
    }

    /// What is missing, for whoever asks from outside: a node whose workers do not answer does not serve, whatever they told last.
    async fn missing_from_outside(&self) -> Option<String> {
        if let Some((front, _)) = self.0.get() {
            match front.runtime.inspect().await {
                Ok(Answer::Status(_)) => {}
                Ok(Answer::Refused(refusal)) => return Some(format!("busy: {refusal}")),
                Ok(other) => unreachable!("a worker answered an inspection with {other:?}"),
                Err(Ended) => return Some(ENDING.to_owned()),
            }
        }
        self.missing()
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
