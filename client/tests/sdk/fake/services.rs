//! The services of a fake node.

use super::*;
use flotilla_proto::v1::cluster_server::Cluster;
use flotilla_proto::v1::kv_server::Kv;
use std::sync::atomic::Ordering;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;

/// The greatest version plus one, and the record put in.
fn put(sea: &Sea, key: &Bytes, value: Bytes) -> u64 {
    let mut records = sea.records.lock().unwrap();
    let version = records.values().map(|record| record.version).max().unwrap_or_default() + 1;
    records.insert(key.clone(), v1::Record { value, version, expires_ms: None });
    version
}

macro_rules! respond {
    ($response:ident, $outcome:path, $played:expr) => {{
        use $outcome as Outcome;
        let outcome = match $played {
            (Fate::Redirected(redirect), _) => Outcome::Redirect(redirect),
            (Fate::Executed, result) => Outcome::Result(result.unwrap()),
        };
        Ok(Response::new(v1::$response { outcome: Some(outcome) }))
    }};
}

#[tonic::async_trait]
impl Kv for FakeNode {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let it = request.into_inner();
        let stale = it.consistency() == v1::Consistency::Stale;
        let played = self.play("get", &it.key, None, it.route_mode, || v1::GetResult {
            record: self.sea.records.lock().unwrap().get(&it.key).cloned(),
            lag: stale.then(v1::Lag::default),
            stamp: Some(self.stamp(&it.key, 0)),
        });
        respond!(GetResponse, v1::get_response::Outcome, played.await?)
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let it = request.into_inner();
        let played = self.play("put", &it.key, it.request, it.route_mode, || {
            let version = put(&self.sea, &it.key, it.value.clone());
            v1::PutResult { version, stamp: Some(self.stamp(&it.key, version)) }
        });
        respond!(PutResponse, v1::put_response::Outcome, played.await?)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let it = request.into_inner();
        let played = self.play("delete", &it.key, it.request, it.route_mode, || v1::DeleteResult {
            existed: self.sea.records.lock().unwrap().remove(&it.key).is_some(),
            stamp: Some(self.stamp(&it.key, 0)),
        });
        respond!(DeleteResponse, v1::delete_response::Outcome, played.await?)
    }

    async fn compare_and_swap(
        &self,
        request: Request<v1::CompareAndSwapRequest>,
    ) -> Result<Response<v1::CompareAndSwapResponse>, Status> {
        let it = request.into_inner();
        let played = self.play("cas", &it.key, it.request, it.route_mode, || {
            let current = self.sea.records.lock().unwrap().get(&it.key).cloned();
            let swapped = current.as_ref().map_or(0, |record| record.version) == it.expected_version;
            let version = if swapped { put(&self.sea, &it.key, it.value.clone()) } else { 0 };
            let stamp = Some(self.stamp(&it.key, version));
            v1::CompareAndSwapResult { swapped, version, current: current.filter(|_| !swapped), stamp }
        });
        respond!(CompareAndSwapResponse, v1::compare_and_swap_response::Outcome, played.await?)
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        let it = request.into_inner();
        let key = it.compares.first().map(|compare| compare.key.clone()).unwrap_or_default();
        let played = self.play("txn", &key, it.request, it.route_mode, || {
            let (succeeded, results, version) = txns::execute(&self.sea, &it);
            let stamp = Some(self.stamp(&key, version));
            v1::TxnResult { succeeded, results, values_forgotten: false, stamp }
        });
        respond!(TxnResponse, v1::txn_response::Outcome, played.await?)
    }

    type PipelineStream = pipelines::Results;

    async fn pipeline(
        &self,
        messages: Request<tonic::Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        Ok(Response::new(pipelines::open(self.clone(), messages.into_inner()).await?))
    }

    type ScanStream = Pages;

    /// One page, then the stream breaks off: the client must go on by itself. Or all of them.
    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Pages>, Status> {
        let it = request.into_inner();
        let _working = Working::on(&self.sea);
        let played = self.play("scan", &it.from, None, it.route_mode, || page(&self.sea, &it));
        let outcome = match played.await? {
            (Fate::Redirected(redirect), _) => v1::scan_response::Outcome::Redirect(redirect),
            (Fate::Executed, page) => v1::scan_response::Outcome::Result(page.unwrap()),
        };
        let mut rest = Some((outcome, it));
        let sea = Arc::clone(&self.sea);
        let pages = std::iter::from_fn(move || {
            let (outcome, it) = rest.take()?;
            if let v1::scan_response::Outcome::Result(page) = &outcome {
                rest = following(&sea, it, page);
            }
            Some(Ok(v1::ScanResponse { outcome: Some(outcome) }))
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(pages))))
    }
}

/// What comes after this page, if a scan is answered with more than one. Asked for when the page is about to be sent.
fn following(
    sea: &Sea,
    mut it: v1::ScanRequest,
    sent: &v1::ScanPage,
) -> Option<(v1::scan_response::Outcome, v1::ScanRequest)> {
    let bytes = |it: &v1::KeyRecord| it.record.as_ref().map_or(0, |record| record.value.len());
    sea.handed.send_modify(|handed| *handed += sent.records.iter().map(bytes).sum::<usize>());
    let left = (it.limit > 0).then(|| it.limit - sent.records.len() as u64);
    if !sea.streams.load(Ordering::Relaxed) || sent.next.is_empty() || left == Some(0) {
        return None;
    }
    it.limit = left.unwrap_or_default();
    *(if it.reverse { &mut it.to } else { &mut it.from }) = sent.next.clone();
    Some((v1::scan_response::Outcome::Result(page(sea, &it)), it))
}

fn page(sea: &Sea, it: &v1::ScanRequest) -> v1::ScanPage {
    let owners = sea.owners.lock().unwrap().clone();
    let within = |key: &Bytes| {
        *key >= it.from
            && (it.to.is_empty() || *key < it.to)
            && it.shard.is_none_or(|shard| owners[usize::from(Slot::of(key).number())] == shard)
    };
    let all = sea.records.lock().unwrap().clone();
    let mut found: Vec<v1::KeyRecord> = all
        .into_iter()
        .filter(|(key, _)| within(key))
        .map(|(key, record)| v1::KeyRecord { key, record: Some(record) })
        .collect();
    if it.reverse {
        found.reverse();
    }
    let limit = if it.limit > 0 { usize::try_from(it.limit).unwrap() } else { usize::MAX };
    let more = found.len() > sea.page_records.min(limit);
    found.truncate(sea.page_records.min(limit));
    sea.scanned.fetch_add(found.len(), Ordering::Relaxed);
    let next = match found.last() {
        Some(last) if more && it.reverse => last.key.clone(),
        Some(last) if more => [last.key.as_ref(), b"\0"].concat().into(),
        _ => Bytes::new(),
    };
    let slots = it.shard.map_or(vec![v1::SlotRange { first: 0, last: u32::from(SLOTS) - 1 }], |shard| {
        slots_of(shard, &owners)
    });
    v1::ScanPage { records: found, slots, epoch: 1, next, lag: None, stamp: None }
}

fn slots_of(shard: u64, owners: &[u64]) -> Vec<v1::SlotRange> {
    let owned = (0..).zip(owners).filter(|(_, owner)| **owner == shard);
    owned.map(|(slot, _)| v1::SlotRange { first: slot, last: slot }).collect()
}

fn map(sea: &Sea) -> v1::ClusterMap {
    let node = |(position, address): (usize, &String)| v1::Node {
        node: position as u64 + 1,
        client_addr: address.clone(),
        peer_addr: "peer:1".into(),
        http_addr: "http:1".into(),
        leaving: 0,
    };
    let nodes: Vec<v1::Node> = sea.addresses.iter().enumerate().map(node).collect();
    let replica = |node: &v1::Node| v1::Replica {
        replica: node.node,
        node: node.node,
        membership: v1::Membership::Voter.into(),
    };
    let owners = sea.owners.lock().unwrap().clone();
    let shard = |shard: u64| v1::Shard {
        shard,
        replicas: nodes.iter().map(replica).collect(),
        slots: slots_of(shard, &owners),
    };
    let epoch = *sea.epoch.lock().unwrap();
    v1::ClusterMap { cluster: Some(1.into()), epoch, shards: (0..=sea.shards).map(shard).collect(), nodes }
}

type Maps = Pin<Box<dyn Stream<Item = Result<v1::WatchMapResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Cluster for FakeNode {
    async fn get_map(&self, _: Request<v1::GetMapRequest>) -> Result<Response<v1::GetMapResponse>, Status> {
        let map = map(&self.sea);
        let outcome = Some(v1::get_map_response::Outcome::Result(map));
        Ok(Response::new(v1::GetMapResponse { outcome }))
    }

    type WatchMapStream = Maps;

    async fn watch_map(&self, _: Request<v1::WatchMapRequest>) -> Result<Response<Maps>, Status> {
        let (sea, news) = (Arc::clone(&self.sea), self.sea.news.subscribe());
        let maps =
            WatchStream::from_changes(news).map(move |()| Ok(v1::WatchMapResponse { map: Some(map(&sea)) }));
        Ok(Response::new(Box::pin(maps)))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(v1::StatusResponse { node: self.node, ..v1::StatusResponse::default() }))
    }

    async fn shard_status(
        &self,
        request: Request<v1::ShardStatusRequest>,
    ) -> Result<Response<v1::ShardStatusResponse>, Status> {
        let it = request.into_inner();
        if it.shard > self.sea.shards {
            let detail = v1::ErrorDetail { definite: true, ..v1::ErrorDetail::default() };
            let code = tonic::Code::NotFound;
            return Err(flotilla_proto::status::with_detail(code, "no such replica", &detail));
        }
        let replica = v1::ReplicaStatus { shard: it.shard, keys: 7, ..v1::ReplicaStatus::default() };
        Ok(Response::new(v1::ShardStatusResponse { replica: Some(replica) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let it = request.into_inner();
        let key = Bytes::new();
        let played = self.play("transfer", &key, None, it.route_mode, || v1::TransferLeaderResult {
            leader_node: it.to_node,
            term: 9,
        });
        respond!(TransferLeaderResponse, v1::transfer_leader_response::Outcome, played.await?)
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
