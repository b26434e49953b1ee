//! A router in front of a fleet of fake nodes, and what a client sees of it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use flotilla_proto::v1;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_router::config::{Parsed, parse};
use flotilla_router::{Router, RouterError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::fake::{FakeFleet, free_address};

/// A router and what a client sees of it.
pub struct Stage {
    pub fleet: FakeFleet,
    pub kv: KvClient<Channel>,
    pub health: Streaming<HealthCheckResponse>,
    pub http_addr: String,
    pub channel: Channel,
    pub shut: oneshot::Sender<()>,
    pub ended: JoinHandle<Result<(), RouterError>>,
}

impl Stage {
    /// A router that has found its fleet.
    pub async fn set() -> Self {
        Self::set_with(&[]).await
    }

    /// The same with more flags.
    pub async fn set_with(flags: &[(&str, &str)]) -> Self {
        let mut fleet = FakeFleet::anchored().await;
        fleet.sail().await;
        let mut stage = Self::before_with(fleet, flags).await;
        stage.until(ServingStatus::Serving).await;
        stage
    }

    /// A router before a fleet that may not be there yet.
    pub async fn before(fleet: FakeFleet) -> Self {
        Self::before_with(fleet, &[]).await
    }

    async fn before_with(fleet: FakeFleet, flags: &[(&str, &str)]) -> Self {
        let (client_addr, http_addr) = (free_address().await, free_address().await);
        let nodes = fleet.sea.addresses.join(",");
        let args = [
            ("--client-addr", client_addr.as_str()),
            ("--http-addr", &http_addr),
            ("--nodes", &nodes),
            ("--deadline-ms", "3000"),
            ("--survey-interval-ms", "20"),
        ];
        let args =
            args.iter().chain(flags).flat_map(|(flag, value)| [OsString::from(flag), OsString::from(value)]);
        let Ok(Parsed::Run(config)) = parse(std::iter::once("kvrouter".into()).chain(args)) else {
            panic!("the flags are good")
        };
        let router = Router::bind(&config).await.unwrap();
        let (shut, shutdown) = oneshot::channel::<()>();
        let ended = tokio::spawn(router.run(async { drop(shutdown.await) }));
        let channel =
            Endpoint::from_shared(format!("http://{client_addr}")).unwrap().connect().await.unwrap();
        let watch = HealthCheckRequest { service: "flotilla.v1.Kv".into() };
        let mut health = HealthClient::new(channel.clone());
        let health = health.watch(watch).await.unwrap().into_inner();
        Self { fleet, kv: KvClient::new(channel.clone()), health, http_addr, channel, shut, ended }
    }

    /// Waits until health says this.
    pub async fn until(&mut self, wanted: ServingStatus) {
        // The numbers of grpc.health.v1.
        let wanted = if wanted == ServingStatus::Serving { 1 } else { 2 };
        while self.health.message().await.unwrap().expect("health is watched").status != wanted {}
    }

    pub async fn put(&mut self, key: &'static str, value: &'static str) -> Result<v1::PutResponse, Status> {
        let request = v1::PutRequest { key: key.into(), value: value.into(), ..v1::PutRequest::default() };
        self.kv.put(request).await.map(tonic::Response::into_inner)
    }

    /// A pipeline through the router.
    pub async fn pipeline(&self) -> Pipeline {
        let (sender, requests) = mpsc::channel(8);
        let mut kv = self.kv.clone();
        let results = kv.pipeline(ReceiverStream::new(requests)).await.unwrap().into_inner();
        Pipeline { sender, results, waiting: BTreeMap::new() }
    }

    /// The first line of what an HTTP path answers, and what comes behind its head.
    pub async fn http(&self, path: &str) -> (String, String) {
        self.http_with("GET", path, "").await
    }

    /// The same of another method, with a body.
    pub async fn http_with(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.http_addr).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: router\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }
}

/// One stream of operations.
pub struct Pipeline {
    sender: mpsc::Sender<v1::PipelineRequest>,
    pub results: Streaming<v1::PipelineResponse>,
    waiting: BTreeMap<u64, Outcome>,
}

impl Pipeline {
    /// Sends one batch: operations with their ids.
    pub async fn send(&self, operations: impl IntoIterator<Item = (u64, Operation)>) {
        let operation =
            |(id, operation)| v1::PipelineOperation { id, timeout_ms: 0, operation: Some(operation) };
        self.send_batch(operations.into_iter().map(operation).collect()).await;
    }

    /// Sends one batch as it is.
    pub async fn send_batch(&self, operations: Vec<v1::PipelineOperation>) {
        self.sender.send(v1::PipelineRequest { operations }).await.unwrap();
    }

    /// What came of the operation with this id.
    pub async fn outcome(&mut self, id: u64) -> Outcome {
        loop {
            if let Some(outcome) = self.waiting.remove(&id) {
                return outcome;
            }
            let batch = self.results.message().await.unwrap().expect("the stream goes on");
            for result in batch.results {
                let twice = self.waiting.insert(result.id, result.outcome.expect("an outcome"));
                assert!(twice.is_none(), "{} was answered twice", result.id);
            }
        }
    }

    /// How the operation with this id failed.
    pub async fn failure(&mut self, id: u64) -> v1::PipelineFailure {
        match self.outcome(id).await {
            Outcome::Failure(failure) => failure,
            other => panic!("{id} did not fail: {other:?}"),
        }
    }
}

#[track_caller]
pub fn written(response: v1::PutResponse) -> v1::PutResult {
    match response.outcome {
        Some(v1::put_response::Outcome::Result(result)) => result,
        other => panic!("not written: {other:?}"),
    }
}
