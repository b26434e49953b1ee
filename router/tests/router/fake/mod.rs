//! A fleet of fake nodes on loopback: three of them over one map of keys, with leaders as a test wants them. Nodes can be
//! stopped and started again at their addresses.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flotilla_proto::v1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Server;

mod services;

/// Two shards: the lower and the upper half of the slots. Shard 0 has no slots.
pub const SHARDS: u64 = 2;

/// What a leader does with a write.
#[derive(Clone)]
pub enum Does {
    /// Executes and answers.
    Answer,
    /// Executes when the test says so, then answers.
    AnswerLater,
    /// Executes, then the connection breaks.
    ExecuteThenBreak,
    /// Fails.
    Refuse(Status),
}

/// What all nodes share.
pub struct Sea {
    pub addresses: Vec<String>,
    /// Of the map.
    pub epoch: AtomicU64,
    /// Node and term of each shard's leader.
    pub leaders: Mutex<BTreeMap<u64, (u64, u64)>>,
    pub records: Mutex<BTreeMap<Bytes, v1::Record>>,
    /// The writes that reached a leader.
    pub writes: Mutex<Vec<v1::PutRequest>>,
    /// The reads that reached a leader.
    pub reads: Mutex<Vec<v1::GetRequest>>,
    /// For the next writes, in order; then `Answer`.
    pub script: Mutex<Vec<Does>>,
    /// A write has reached `AnswerLater`.
    pub arrived: Notify,
    /// It may go on.
    pub go_on: Notify,
}

/// A running fleet.
pub struct FakeFleet {
    pub sea: Arc<Sea>,
    running: Vec<Running>,
}

struct Running {
    cables: Cables,
    tasks: [JoinHandle<()>; 2],
}

type Cables = Arc<Mutex<Vec<std::net::TcpStream>>>;

/// One node.
#[derive(Clone)]
struct FakeNode {
    sea: Arc<Sea>,
    node: u64,
    cables: Cables,
}

/// An address where nobody listens.
pub async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

impl FakeFleet {
    /// Three nodes with addresses, none of them running. Node 1 leads everything in term 1.
    pub async fn anchored() -> Self {
        let mut addresses = Vec::new();
        for _ in 0..3 {
            addresses.push(free_address().await);
        }
        let sea = Sea {
            addresses,
            epoch: AtomicU64::new(1),
            leaders: Mutex::new((0..=SHARDS).map(|shard| (shard, (1, 1))).collect()),
            records: Mutex::default(),
            writes: Mutex::default(),
            reads: Mutex::default(),
            script: Mutex::default(),
            arrived: Notify::new(),
            go_on: Notify::new(),
        };
        Self { sea: Arc::new(sea), running: Vec::new() }
    }

    /// All nodes run.
    pub async fn sail(&mut self) {
        for (position, address) in self.sea.addresses.iter().enumerate() {
            let listener = TcpListener::bind(address).await.unwrap();
            self.running.push(run(Arc::clone(&self.sea), position as u64 + 1, listener));
        }
    }

    /// All nodes stop at once, their connections break.
    pub fn sink(&mut self) {
        for node in self.running.drain(..) {
            node.tasks.iter().for_each(JoinHandle::abort);
            cut(&node.cables);
        }
    }
}

fn run(sea: Arc<Sea>, node: u64, listener: TcpListener) -> Running {
    let (sender, incoming) = mpsc::channel(16);
    let cables: Cables = Arc::default();
    let laid = Arc::clone(&cables);
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = stream.into_std().unwrap();
            laid.lock().unwrap().push(stream.try_clone().unwrap());
            if sender.send(TcpStream::from_std(stream)).await.is_err() {
                return;
            }
        }
    });
    let fake = FakeNode { sea, node, cables: Arc::clone(&cables) };
    let serving = tokio::spawn(async move {
        let served = Server::builder()
            .add_service(v1::kv_server::KvServer::new(fake.clone()))
            .add_service(v1::cluster_server::ClusterServer::new(fake))
            .serve_with_incoming(ReceiverStream::new(incoming));
        served.await.unwrap();
    });
    Running { cables, tasks: [accepting, serving] }
}

fn cut(cables: &Cables) {
    for cable in cables.lock().unwrap().drain(..) {
        // The other side may have closed it already.
        let _ = cable.shutdown(Shutdown::Both);
    }
}
