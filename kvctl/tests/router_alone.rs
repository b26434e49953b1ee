//! A fleet of which only the router can be reached: its map names nodes at addresses that lead nowhere from here, as with
//! containers and NAT. The verbs of keys work all the same.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::pin::Pin;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_proto::v1::cluster_server::{Cluster, ClusterServer};
use flotilla_proto::v1::kv_server::{Kv, KvServer};
use futures_util::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn not_played<T>() -> Answer<T> {
    Err(Status::unimplemented("the router of this story does not answer that"))
}

/// Answers for a fleet of one node and one shard.
#[derive(Clone, Default)]
struct Router {
    records: Arc<Mutex<BTreeMap<Bytes, v1::Record>>>,
    node: String,
}

impl Router {
    /// Starts one. Its address.
    fn start(runtime: &tokio::runtime::Runtime) -> String {
        let _inside = runtime.enter();
        let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap().to_string();
        let router = Self { node: nowhere, ..Self::default() };
        let server = tonic::transport::Server::builder()
            .add_service(KvServer::new(router.clone()))
            .add_service(ClusterServer::new(router));
        runtime.spawn(server.serve_with_incoming(incoming));
        address
    }

    fn map(&self) -> v1::ClusterMap {
        let nowhere = || self.node.clone();
        let node = v1::Node {
            node: 1,
            client_addr: nowhere(),
            peer_addr: nowhere(),
            http_addr: nowhere(),
            leaving: 0,
        };
        let replicas = vec![v1::Replica { replica: 1, node: 1, ..v1::Replica::default() }];
        let slots = vec![v1::SlotRange { first: 0, last: 16_383 }];
        let meta = v1::Shard { shard: 0, replicas: replicas.clone(), ..v1::Shard::default() };
        let shard = v1::Shard { shard: 1, replicas, slots };
        let cluster = Some(v1::Id128 { high: 1, low: 1 });
        v1::ClusterMap { cluster, epoch: 1, nodes: vec![node], shards: vec![meta, shard] }
    }
}

const STAMP: v1::Stamp = v1::Stamp { shard: 1, term: 1, version: 7, shard_time_ms: 1 };

#[tonic::async_trait]
impl Kv for Router {
    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        let record = self.records.lock().unwrap().get(&request.get_ref().key).cloned();
        let result = v1::GetResult { record, stamp: Some(STAMP), ..v1::GetResult::default() };
        Ok(Response::new(v1::GetResponse { outcome: Some(v1::get_response::Outcome::Result(result)) }))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answer<v1::PutResponse> {
        let it = request.into_inner();
        let record = v1::Record { value: it.value, version: STAMP.version, expires_ms: None };
        self.records.lock().unwrap().insert(it.key, record);
        let result = v1::PutResult { version: STAMP.version, stamp: Some(STAMP) };
        Ok(Response::new(v1::PutResponse { outcome: Some(v1::put_response::Outcome::Result(result)) }))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        let existed = self.records.lock().unwrap().remove(&request.get_ref().key).is_some();
        let result = v1::DeleteResult { existed, stamp: Some(STAMP) };
        Ok(Response::new(v1::DeleteResponse { outcome: Some(v1::delete_response::Outcome::Result(result)) }))
    }

    async fn compare_and_swap(
        &self,
        _: Request<v1::CompareAndSwapRequest>,
    ) -> Answer<v1::CompareAndSwapResponse> {
        not_played()
    }

    async fn txn(&self, _: Request<v1::TxnRequest>) -> Answer<v1::TxnResponse> {
        let result = v1::TxnResult { succeeded: false, stamp: Some(STAMP), ..v1::TxnResult::default() };
        Ok(Response::new(v1::TxnResponse { outcome: Some(v1::txn_response::Outcome::Result(result)) }))
    }

    type PipelineStream = Messages<v1::PipelineResponse>;

    async fn pipeline(&self, _: Request<Streaming<v1::PipelineRequest>>) -> Answer<Self::PipelineStream> {
        not_played()
    }

    type ScanStream = Messages<v1::ScanResponse>;

    async fn scan(&self, _: Request<v1::ScanRequest>) -> Answer<Self::ScanStream> {
        let records = self.records.lock().unwrap().clone().into_iter();
        let records = records.map(|(key, record)| v1::KeyRecord { key, record: Some(record) }).collect();
        let page = v1::ScanPage { records, stamp: Some(STAMP), ..v1::ScanPage::default() };
        let response = v1::ScanResponse { outcome: Some(v1::scan_response::Outcome::Result(page)) };
        Ok(Response::new(Box::pin(futures_util::stream::iter([Ok(response)]))))
    }
}

#[tonic::async_trait]
impl Cluster for Router {
    async fn get_map(&self, _: Request<v1::GetMapRequest>) -> Answer<v1::GetMapResponse> {
        let outcome = Some(v1::get_map_response::Outcome::Result(self.map()));
        Ok(Response::new(v1::GetMapResponse { outcome }))
    }

    type WatchMapStream = Messages<v1::WatchMapResponse>;

    async fn watch_map(&self, _: Request<v1::WatchMapRequest>) -> Answer<Self::WatchMapStream> {
        not_played()
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        not_played()
    }

    async fn shard_status(&self, _: Request<v1::ShardStatusRequest>) -> Answer<v1::ShardStatusResponse> {
        not_played()
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Answer<v1::TransferLeaderResponse> {
        not_played()
    }

    async fn start_move(&self, _: Request<v1::StartMoveRequest>) -> Answer<v1::StartMoveResponse> {
        not_played()
    }

    async fn list_moves(&self, _: Request<v1::ListMovesRequest>) -> Answer<v1::ListMovesResponse> {
        not_played()
    }

    async fn cancel_move(&self, _: Request<v1::CancelMoveRequest>) -> Answer<v1::CancelMoveResponse> {
        not_played()
    }

    async fn change_node(&self, _: Request<v1::ChangeNodeRequest>) -> Answer<v1::ChangeNodeResponse> {
        not_played()
    }

    async fn plan_evening(&self, _: Request<v1::PlanEveningRequest>) -> Answer<v1::PlanEveningResponse> {
        not_played()
    }
}

#[test]
fn keys_need_no_node() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = Router::start(&runtime);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("txn.json");
    std::fs::write(&file, r#"{"compares":[{"key":"a","version":3}],"then":[{"delete":{"key":"a"}}]}"#)
        .unwrap();
    let kvctl = |args: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        command.env_clear().args(["--endpoint", &address]).args(args).output().unwrap()
    };
    let said = |args: &[&str], code: i32, stdout: &str, stderr: &str| {
        let output = kvctl(args);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let seen = (output.status.code(), text(&output.stdout), text(&output.stderr));
        assert_eq!(seen, (Some(code), stdout.to_string(), stderr.to_string()), "{args:?}");
    };
    said(&["put", "k", "v"], 0, "version 7\n", "");
    said(&["get", "k"], 0, "v", "");
    said(&["get", "k", "--stale"], 0, "v", "");
    said(&["scan"], 0, "k\tv\n", "");
    said(&["del", "k"], 0, "deleted\n", "");
    said(&["get", "k"], 1, "", "kvctl: no such key: k\n");
    let failed = "kvctl: the compares did not hold: nothing was done\n";
    said(&["txn", file.to_str().unwrap()], 1, "otherwise, version 7\n", failed);
}

#[test]
fn a_load_and_a_dump_need_no_node() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = Router::start(&runtime);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records");
    let kvctl = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        let output = command.env_clear().args(["--endpoint", &address]).args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let load = ["load", file.to_str().unwrap(), "--output", "json"];
    // The second line's time is over long since: its key goes. Of `b` the last line counts.
    let text = "a\t1\n{\"key\":\"c\",\"value\":\"1\",\"expires_ms\":1}\nb\t1\nb\t2\n{\"key_b64\":\"/w==\",\"value\":\"\"}\n";
    std::fs::write(&file, format!("c\t0\n{text}")).unwrap();
    let (code, stdout, stderr) = kvctl(&load);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let counted =
        ["records", "expired", "repeated", "empty_lines", "next_line"].map(|name| summary[name].as_u64());
    assert_eq!(counted, [6, 1, 0, 0, 7].map(Some), "{summary}");
    let lines = "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\"}\n{\"key_b64\":\"/w==\",\"value\":\"\"}\n";
    assert_eq!(kvctl(&["dump"]), (Some(0), lines.to_string(), String::new()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
}
