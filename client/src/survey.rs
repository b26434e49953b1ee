//! Asking every node who leads what, before anyone needs to know it.
//!
//! Routes are otherwise learned by asking the wrong node. That is cheap for who forwards, but who only tells the way (a
//! router that answers REDIRECT, or says whether it is ready) would know nothing until somebody else came by.

use std::collections::BTreeSet;
use std::sync::Arc;

use flotilla_proto::{status, v1};
use flotilla_raft::Term;
use flotilla_topology::{ClusterMap, NodeId, Route, ShardId, Slot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Client;
use crate::call::{cluster, request};
use crate::crew::Crew;

impl Client {
    /// Asks each node of the map once, all at the same time and for at most the time of one attempt. Remembers who leads,
    /// and fetches the map if someone has a newer one. Returns the shards that no node which answered leads.
    pub async fn find_leaders(&self) -> BTreeSet<ShardId> {
        let map = self.map();
        let mut questions = JoinSet::new();
        for info in map.nodes.values() {
            let (crew, address) = (Arc::clone(&self.crew), info.client_addr.clone());
            questions.spawn(async move { (ask(&crew, &address).await, address) });
        }
        let mut leaderless: BTreeSet<ShardId> = map.shards.keys().copied().collect();
        let mut newest = map.epoch.0;
        while let Some(answer) = questions.join_next().await {
            let Ok((Some(node), address)) = answer else { continue };
            // A node of another fleet may have come to live at a known address.
            if node.cluster.map(u128::from) != Some(map.cluster) {
                continue;
            }
            newest = newest.max(node.map_epoch);
            for shard in self.learn(&map, &node, &address) {
                leaderless.remove(&shard);
            }
        }
        if newest > map.epoch.0 {
            // A failure needs no answer: the next survey comes here again.
            let _ = self.crew.fetch_map().await;
        }
        leaderless
    }

    /// Remembers what this node leads, and returns it.
    fn learn(&self, map: &ClusterMap, node: &v1::StatusResponse, address: &str) -> Vec<ShardId> {
        let leads = node.replicas.iter().filter(|replica| replica.role() == v1::Role::Leader);
        let learned = leads.map(|replica| {
            let shard = ShardId(replica.shard);
            let leader = Some((NodeId(node.node), address.to_owned()));
            // Of the map's own epoch: it says who leads the shard, and nothing of which slots the shard owns.
            let route =
                Route { slot: Slot::default(), shard, epoch: map.epoch, term: Term(replica.term), leader };
            self.crew.chart.change(|routes| routes.learn(&route));
            shard
        });
        learned.collect()
    }
}

/// What a node sees of itself; nothing if it does not answer.
async fn ask(crew: &Crew, address: &str) -> Option<v1::StatusResponse> {
    let patience = crew.options.attempt;
    let connection = timeout(patience, crew.connections.get(address)).await.ok()?.ok()?;
    let mut client = cluster(connection.channel.clone());
    match timeout(patience, client.status(request(v1::StatusRequest {}, patience))).await {
        Ok(Ok(response)) => Some(response.into_inner()),
        Ok(Err(failure)) => {
            // A broken connection that stays would make the next request through it ambiguous.
            if status::detail(&failure).is_none() {
                crew.connections.forget(address, &connection).await;
            }
            None
        }
        Err(_) => None,
    }
}
