//! The services of a fake node.

use super::*;
use flotilla_proto::v1::cluster_server::Cluster;
use flotilla_proto::v1::kv_server::Kv;
use flotilla_topology::Slot;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use tokio_stream::Stream;
use tonic::{Request, Response};

const HALF: u32 = 8192;

fn shard_of(key: &[u8]) -> u64 {
    u64::from(u32::from(Slot::of(key).number()) / HALF) + 1
}

fn stamp(shard: u64, version: u64) -> v1::Stamp {
    v1::Stamp { shard, term: 1, version, shard_time_ms: 1_000 }
}

impl FakeNode {
    /// Where a request for this key belongs; nothing: here.
    fn elsewhere(&self, key: &[u8]) -> Option<v1::Redirect> {
        let shard = shard_of(key);
        let (node, term) = self.sea.leaders.lock().unwrap()[&shard];
        (node != self.node).then(|| v1::Redirect {
            slot: u32::from(Slot::of(key).number()),
            shard,
            epoch: 1,
            term,
            leader_node: node,
            leader_addr: self.sea.addresses[node as usize - 1].clone(),
        })
    }

    fn execute(&self, it: &v1::PutRequest) -> u64 {
        let mut records = self.sea.records.lock().unwrap();
        let version = records.len() as u64 + 1;
        records.insert(it.key.clone(), v1::Record { value: it.value.clone(), version, expires_ms: None });
        version
    }
}

type Pages = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Kv for FakeNode {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        use v1::get_response::Outcome;
        let it = request.into_inner();
        let outcome = self.elsewhere(&it.key).map_or_else(
            || {
                self.sea.reads.lock().unwrap().push(it.clone());
                let record = self.sea.records.lock().unwrap().get(&it.key).cloned();
                let stale = it.consistency() == v1::Consistency::Stale;
                let lag = stale.then_some(v1::Lag { entries: 3, silence_ms: 4 });
                Outcome::Result(v1::GetResult { record, lag, stamp: Some(stamp(shard_of(&it.key), 9)) })
            },
            Outcome::Redirect,
        );
        Ok(Response::new(v1::GetResponse { outcome: Some(outcome) }))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        use v1::put_response::Outcome;
        let it = request.into_inner();
        let answer = |outcome| Ok(Response::new(v1::PutResponse { outcome: Some(outcome) }));
        if let Some(redirect) = self.elsewhere(&it.key) {
            return answer(Outcome::Redirect(redirect));
        }
        self.sea.writes.lock().unwrap().push(it.clone());
        let next = {
            let mut script = self.sea.script.lock().unwrap();
            if script.is_empty() { Does::Answer } else { script.remove(0) }
        };
        match next {
            Does::Answer => {}
            Does::AnswerLater => {
                self.sea.arrived.notify_one();
                self.sea.go_on.notified().await;
            }
            Does::ExecuteThenBreak => {
                self.execute(&it);
                cut(&self.cables);
                std::future::pending::<()>().await;
            }
            Does::Refuse(status) => return Err(status),
        }
        let version = self.execute(&it);
        answer(Outcome::Result(v1::PutResult { version, stamp: Some(stamp(shard_of(&it.key), version)) }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        use v1::delete_response::Outcome;
        let it = request.into_inner();
        let existed = self.sea.records.lock().unwrap().remove(&it.key).is_some();
        let outcome = match self.elsewhere(&it.key) {
            Some(redirect) => Outcome::Redirect(redirect),
            None => Outcome::Result(v1::DeleteResult { existed, stamp: None }),
        };
        Ok(Response::new(v1::DeleteResponse { outcome: Some(outcome) }))
    }

    async fn compare_and_swap(
        &self,
        request: Request<v1::CompareAndSwapRequest>,
    ) -> Result<Response<v1::CompareAndSwapResponse>, Status> {
        use v1::compare_and_swap_response::Outcome;
        let it = request.into_inner();
        let current = self.sea.records.lock().unwrap().get(&it.key).cloned();
        let result = v1::CompareAndSwapResult { swapped: false, version: 0, current, stamp: None };
        Ok(Response::new(v1::CompareAndSwapResponse { outcome: Some(Outcome::Result(result)) }))
    }

    async fn txn(&self, _: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        Err(Status::unimplemented("no transactions here yet"))
    }

    type PipelineStream = Pin<Box<dyn Stream<Item = Result<v1::PipelineResponse, Status>> + Send>>;

    async fn pipeline(
        &self,
        _: Request<tonic::Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        Err(Status::unimplemented("no pipelines here yet"))
    }

    type ScanStream = Pages;

    /// One record per message, of which the first breaks off: who forwards must go on by itself.
    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Pages>, Status> {
        use v1::scan_response::Outcome;
        let it = request.into_inner();
        let records = self.sea.records.lock().unwrap().clone();
        let mut left = records.into_iter().filter(|(key, _)| *key >= it.from);
        let first = left.next().map(|(key, record)| v1::KeyRecord { key, record: Some(record) });
        let next = left.next().map(|(key, _)| key).unwrap_or_default();
        let page = v1::ScanPage {
            records: first.into_iter().collect(),
            slots: vec![v1::SlotRange { first: 0, last: 2 * HALF - 1 }],
            epoch: 1,
            next,
            lag: None,
            stamp: None,
        };
        let response = v1::ScanResponse { outcome: Some(Outcome::Result(page)) };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(response)))))
    }
}

type Maps = Pin<Box<dyn Stream<Item = Result<v1::WatchMapResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Cluster for FakeNode {
    async fn get_map(&self, _: Request<v1::GetMapRequest>) -> Result<Response<v1::GetMapResponse>, Status> {
        let nodes = (1..).zip(&self.sea.addresses).map(|(node, address)| v1::Node {
            node,
            client_addr: address.clone(),
            peer_addr: "peer:1".into(),
            http_addr: "http:1".into(),
            leaving: 0,
        });
        let replica = |node| v1::Replica { replica: node, node, membership: v1::Membership::Voter.into() };
        let slots = |shard: u64| match u32::try_from(shard).unwrap().checked_sub(1) {
            Some(half) => vec![v1::SlotRange { first: half * HALF, last: (half + 1) * HALF - 1 }],
            None => vec![],
        };
        let shard =
            |shard| v1::Shard { shard, replicas: (1..=3).map(replica).collect(), slots: slots(shard) };
        let map = v1::ClusterMap {
            cluster: Some(7.into()),
            epoch: self.sea.epoch.load(Ordering::Relaxed),
            nodes: nodes.collect(),
            shards: (0..=SHARDS).map(shard).collect(),
        };
        let outcome = Some(v1::get_map_response::Outcome::Result(map));
        Ok(Response::new(v1::GetMapResponse { outcome }))
    }

    type WatchMapStream = Maps;

    async fn watch_map(&self, _: Request<v1::WatchMapRequest>) -> Result<Response<Maps>, Status> {
        Err(Status::unimplemented("a fake node"))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let leaders = self.sea.leaders.lock().unwrap().clone();
        let led = leaders.into_iter().filter(|(_, (node, _))| *node == self.node);
        let replica = |(shard, (_, term))| v1::ReplicaStatus {
            shard,
            term,
            role: v1::Role::Leader.into(),
            ..v1::ReplicaStatus::default()
        };
        Ok(Response::new(v1::StatusResponse {
            node: self.node,
            cluster: Some(7.into()),
            map_epoch: self.sea.epoch.load(Ordering::Relaxed),
            replicas: led.map(replica).collect(),
            ..v1::StatusResponse::default()
        }))
    }

    async fn shard_status(
        &self,
        _: Request<v1::ShardStatusRequest>,
    ) -> Result<Response<v1::ShardStatusResponse>, Status> {
        Err(Status::unimplemented("a fake node"))
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        Err(Status::unimplemented("a fake node"))
    }

    async fn start_move(
        &self,
        _: Request<v1::StartMoveRequest>,
    ) -> Result<Response<v1::StartMoveResponse>, Status> {
        Err(Status::unimplemented("a fake node"))
    }

    async fn list_moves(
        &self,
        _: Request<v1::ListMovesRequest>,
    ) -> Result<Response<v1::ListMovesResponse>, Status> {
        Err(Status::unimplemented("a fake node"))
    }

    async fn cancel_move(
        &self,
        _: Request<v1::CancelMoveRequest>,
    ) -> Result<Response<v1::CancelMoveResponse>, Status> {
        Err(Status::unimplemented("a fake node"))
    }

    async fn change_node(
        &self,
        _: Request<v1::ChangeNodeRequest>,
    ) -> Result<Response<v1::ChangeNodeResponse>, Status> {
        Err(Status::unimplemented("a fake node"))
    }

    async fn plan_evening(
        &self,
        _: Request<v1::PlanEveningRequest>,
    ) -> Result<Response<v1::PlanEveningResponse>, Status> {
        Err(Status::unimplemented("a fake node"))
    }
}
