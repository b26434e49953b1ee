//! tonic alone: a unary call that echoes, and a stream of batches that echoes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::Limit;
use crate::processes;

#[allow(missing_docs, unused_qualifications, clippy::all)]
mod wire {
    tonic::include_proto!("flotilla.bench");
}

use wire::echo_client::EchoClient;
use wire::echo_server::{Echo, EchoServer};
use wire::{Batch, Message};

/// So many ask at the same time, over so many connections, as in the comparisons.
const CLIENTS: usize = 64;
const CONNECTIONS: usize = 3;

/// A batch of the stream: so many payloads of so many bytes, so many batches under way.
const BATCH: usize = 64;
const PAYLOAD_BYTES: usize = 256;
const BATCHES_UNDER_WAY: usize = 4;

struct Mirror;

#[tonic::async_trait]
impl Echo for Mirror {
    type ManyStream = Streaming<Batch>;

    async fn one(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn many(&self, request: Request<Streaming<Batch>>) -> Result<Response<Streaming<Batch>>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

/// A server, which ends when this is dropped, and connections to it.
struct Pair {
    server: JoinHandle<()>,
    connections: Vec<EchoClient<Channel>>,
}

impl Pair {
    async fn open() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tokio::spawn(async move {
            // Why it ended is told by its clients, which fail.
            drop(Server::builder().add_service(EchoServer::new(Mirror)).serve_with_incoming(incoming).await);
        });
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|it| it.to_string())?;
            let channel = endpoint.tcp_nodelay(true).connect().await.map_err(|error| error.to_string())?;
            connections.push(EchoClient::new(channel));
        }
        Ok(Self { server, connections })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What all clients count, and when they stop.
#[derive(Debug, Default)]
struct Count {
    done: AtomicU64,
    ending: AtomicBool,
}

/// One call per operation.
pub(super) async fn unary(duration: Duration) -> Result<Limit, String> {
    let pair = Pair::open().await?;
    let (count, mut clients) = (Arc::new(Count::default()), JoinSet::new());
    for number in 0..CLIENTS {
        let (count, mut client) = (Arc::clone(&count), pair.connections[number % CONNECTIONS].clone());
        clients.spawn(async move {
            let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
            while !count.ending.load(Ordering::Relaxed) {
                client.one(Message { payload: payload.clone() }).await.map_err(|it| it.to_string())?;
                count.done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    measure("tonic, unary echo of 256 B, 64 clients", &count, clients, duration).await
}

/// Batches on one stream for each connection.
pub(super) async fn batches(duration: Duration) -> Result<Limit, String> {
    let pair = Pair::open().await?;
    let (count, mut clients) = (Arc::new(Count::default()), JoinSet::new());
    for client in &pair.connections {
        clients.spawn(stream_batches(client.clone(), Arc::clone(&count)));
    }
    measure("tonic, stream echo of 64 × 256 B, 12 batches", &count, clients, duration).await
}

async fn stream_batches(mut client: EchoClient<Channel>, count: Arc<Count>) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel(BATCHES_UNDER_WAY);
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let batch = Batch { payloads: vec![payload; BATCH] };
    for _ in 0..BATCHES_UNDER_WAY {
        sender.send(batch.clone()).await.map_err(|error| error.to_string())?;
    }
    let sent =
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    let answers = client.many(sent).await.map_err(|status| status.to_string())?;
    let mut answers = answers.into_inner();
    while !count.ending.load(Ordering::Relaxed) {
        let answer = answers.message().await.map_err(|status| status.to_string())?;
        let answer = answer.ok_or("the echo ended its stream")?;
        count.done.fetch_add(answer.payloads.len() as u64, Ordering::Relaxed);
        sender.send(batch.clone()).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Lets the clients work for a tenth of the time, then counts.
async fn measure(
    limit: &'static str,
    count: &Count,
    mut clients: JoinSet<Result<(), String>>,
    duration: Duration,
) -> Result<Limit, String> {
    tokio::time::sleep(duration / 10).await;
    let (began, cpu, done) = (Instant::now(), processes::own(), count.done.load(Ordering::Relaxed));
    tokio::time::sleep(duration).await;
    let done = (count.done.load(Ordering::Relaxed) - done) as f64;
    let (took, cpu) = (began.elapsed(), processes::own().saturating_sub(cpu));
    count.ending.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    Ok(Limit {
        limit,
        operations_per_second: done / took.as_secs_f64(),
        cpu_us_per_operation: cpu.as_secs_f64() * 1e6 / done.max(1.0),
        p50_us: None,
        p99_us: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn echoes_are_counted_operation_by_operation() {
        let unary = unary(Duration::from_millis(100)).await.unwrap();
        assert!(unary.operations_per_second > 0.0, "{unary:?}");
        let batches = batches(Duration::from_millis(100)).await.unwrap();
        assert!(batches.operations_per_second > 0.0, "{batches:?}");
    }
}
