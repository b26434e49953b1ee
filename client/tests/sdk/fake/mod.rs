//! A fleet of fake nodes: real gRPC servers on loopback that answer as a script says, over one shared map of keys.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flotilla_client::{Builder, Client};
use flotilla_proto::v1::{self, RequestId};
use flotilla_topology::{SLOTS, Slot};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

mod pipelines;
mod services;
mod txns;

pub use pipelines::Manners;

/// Shard time in all answers, unless a test sets another.
pub const SHARD_TIME_MS: u64 = 1_000;

/// What a node does with a request.
pub enum Does {
    /// Executes and answers.
    Answer,
    /// Executes, then the connection breaks.
    ExecuteThenBreak,
    /// The connection breaks before anything was executed.
    Break,
    /// Never answers.
    Hang,
    /// Executes and answers, once it is told so.
    AnswerWhenTold(oneshot::Receiver<()>),
    /// Says that this node (counted from 1) leads, in this term; 0: nobody.
    Redirect { leader: u64, term: u64 },
    /// Fails.
    Refuse(Status),
}

/// A request as a node saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which node, counted from 1.
    pub node: u64,
    /// The method.
    pub method: &'static str,
    /// The key; of a scan where it begins.
    pub key: Bytes,
    /// The id of a write.
    pub request: Option<RequestId>,
    /// As asked.
    pub route_mode: i32,
    /// How many requests this node saw before, of any kind but maps.
    pub before: usize,
}

type Script = Box<dyn FnMut(&Seen) -> Does + Send>;

/// What all nodes of the fleet share.
pub struct Sea {
    pub addresses: Vec<String>,
    pub shards: u64,
    pub epoch: Mutex<u64>,
    pub shard_time_ms: Mutex<u64>,
    pub records: Mutex<BTreeMap<Bytes, v1::Record>>,
    pub seen: Mutex<Vec<Seen>>,
    pub page_records: usize,
    /// The shard of each slot.
    pub owners: Mutex<Vec<u64>>,
    /// Tells those who watch the map that there is a newer one.
    pub news: watch::Sender<()>,
    /// How many scans the nodes are working on.
    pub working: watch::Sender<usize>,
    /// Whether a scan is answered with all its pages, as far as the client takes them; else with one, and then it breaks off.
    pub streams: AtomicBool,
    /// How many bytes of values such scans have given to be sent.
    pub handed: watch::Sender<usize>,
    /// How many records all scans were answered with.
    pub scanned: AtomicUsize,
    pub manners: Mutex<Manners>,
    /// How many operations each message of a pipeline brought.
    pub messages: Mutex<Vec<usize>>,
    script: Mutex<Script>,
}

/// A running fleet.
pub struct Fleet {
    pub sea: Arc<Sea>,
    nodes: Vec<JoinSet<()>>,
    cables: Vec<Cables>,
}

impl Fleet {
    /// Starts so many nodes, with two shards, that do what the script says.
    pub async fn start(nodes: usize, script: impl FnMut(&Seen) -> Does + Send + 'static) -> Self {
        Self::start_with(nodes, Vec::new(), script).await
    }

    /// As `start`, with further nodes in the map, at addresses where nobody listens.
    pub async fn start_with(
        nodes: usize,
        gone: Vec<String>,
        script: impl FnMut(&Seen) -> Does + Send + 'static,
    ) -> Self {
        Self::launch(nodes, gone, 2, Box::new(script)).await
    }

    /// One node with so many shards.
    pub async fn alone(shards: u64, script: impl FnMut(&Seen) -> Does + Send + 'static) -> Self {
        Self::launch(1, Vec::new(), shards, Box::new(script)).await
    }

    async fn launch(nodes: usize, gone: Vec<String>, shards: u64, script: Script) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..nodes {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let sea = Arc::new(Sea {
            addresses: listeners.iter().map(address).chain(gone).collect(),
            shards,
            epoch: Mutex::new(1),
            shard_time_ms: Mutex::new(SHARD_TIME_MS),
            records: Mutex::default(),
            seen: Mutex::default(),
            page_records: 3,
            owners: Mutex::new(Slot::all().map(|slot| planned(slot, shards)).collect()),
            news: watch::Sender::new(()),
            working: watch::Sender::new(0),
            streams: AtomicBool::new(false),
            handed: watch::Sender::new(0),
            scanned: AtomicUsize::new(0),
            manners: Mutex::default(),
            messages: Mutex::default(),
            script: Mutex::new(script),
        });
        let mut fleet = Self { sea, nodes: Vec::new(), cables: Vec::new() };
        for (position, listener) in listeners.into_iter().enumerate() {
            let (cables, mut tasks) = (Cables::default(), JoinSet::new());
            let (sender, incoming) = mpsc::channel(16);
            tasks.spawn(accept(listener, Arc::clone(&cables), sender));
            let sea = Arc::clone(&fleet.sea);
            let node = FakeNode { sea, node: position as u64 + 1, cables: Arc::clone(&cables) };
            tasks.spawn(serve(node, incoming));
            fleet.nodes.push(tasks);
            fleet.cables.push(cables);
        }
        fleet
    }

    /// Ends a node (counted from 1): it listens no more, and its connections break.
    pub async fn sink(&mut self, node: usize) {
        self.nodes[node - 1].shutdown().await;
        cut(&self.cables[node - 1]);
    }

    /// Gives slots to other shards, in a new epoch.
    pub fn move_slots(&self, owner: impl Fn(Slot) -> u64) {
        *self.sea.owners.lock().unwrap() = Slot::all().map(owner).collect();
        *self.sea.epoch.lock().unwrap() += 1;
    }

    /// A client's builder with all nodes as endpoints.
    pub fn builder(&self) -> Builder {
        Client::builder(self.sea.addresses.clone())
    }

    /// Every request seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.sea.seen.lock().unwrap().clone()
    }

    /// The nodes that saw requests of this method, in order.
    pub fn nodes_asked(&self, method: &str) -> Vec<u64> {
        self.seen().iter().filter(|seen| seen.method == method).map(|seen| seen.node).collect()
    }
}

/// The shard of a key, as long as no slot moved.
pub fn shard_of(key: &[u8], shards: u64) -> u64 {
    planned(Slot::of(key), shards)
}

fn planned(slot: Slot, shards: u64) -> u64 {
    u64::from(slot.number()) * shards / u64::from(SLOTS) + 1
}

type Incoming = mpsc::Sender<std::io::Result<TcpStream>>;

async fn accept(listener: TcpListener, cables: Cables, sender: Incoming) {
    while let Ok((stream, _)) = listener.accept().await {
        let stream = stream.into_std().unwrap();
        cables.lock().unwrap().push(stream.try_clone().unwrap());
        if sender.send(TcpStream::from_std(stream)).await.is_err() {
            return;
        }
    }
}

async fn serve(node: FakeNode, incoming: mpsc::Receiver<std::io::Result<TcpStream>>) {
    let served = Server::builder()
        .add_service(v1::kv_server::KvServer::new(node.clone()))
        .add_service(v1::cluster_server::ClusterServer::new(node))
        .serve_with_incoming(ReceiverStream::new(incoming));
    served.await.unwrap();
}

fn cut(cables: &Cables) {
    for cable in cables.lock().unwrap().drain(..) {
        // The other side may have closed it already.
        let _ = cable.shutdown(Shutdown::Both);
    }
}

type Cables = Arc<Mutex<Vec<std::net::TcpStream>>>;

/// One node.
#[derive(Clone)]
struct FakeNode {
    sea: Arc<Sea>,
    node: u64,
    /// Its connections, to be cut.
    cables: Cables,
}

/// A scan that a node works on, until it is dropped.
pub struct Working(Arc<Sea>);

impl Working {
    pub fn on(sea: &Arc<Sea>) -> Self {
        sea.working.send_modify(|count| *count += 1);
        Self(Arc::clone(sea))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.send_modify(|count| *count -= 1);
    }
}

/// What became of a request that was not simply answered.
enum Fate {
    Executed,
    Redirected(v1::Redirect),
}

impl FakeNode {
    /// Plays the script for a request; `execute` runs where the script says so.
    async fn play<T>(
        &self,
        method: &'static str,
        key: &Bytes,
        request: Option<RequestId>,
        route_mode: i32,
        mut execute: impl FnMut() -> T,
    ) -> Result<(Fate, Option<T>), Status> {
        match self.ask_script(method, key, request, route_mode) {
            Does::Answer => Ok((Fate::Executed, Some(execute()))),
            Does::ExecuteThenBreak => {
                execute();
                self.cut().await
            }
            Does::Break => self.cut().await,
            Does::Hang => std::future::pending().await,
            Does::AnswerWhenTold(told) => {
                told.await.unwrap();
                Ok((Fate::Executed, Some(execute())))
            }
            Does::Redirect { leader, term } => Ok((Fate::Redirected(self.redirect(key, leader, term)), None)),
            Does::Refuse(status) => Err(status),
        }
    }

    fn ask_script(
        &self,
        method: &'static str,
        key: &Bytes,
        request: Option<RequestId>,
        route_mode: i32,
    ) -> Does {
        let mut seen = self.sea.seen.lock().unwrap();
        let before = seen.iter().filter(|seen| seen.node == self.node).count();
        let it = Seen { node: self.node, method, key: key.clone(), request, route_mode, before };
        seen.push(it.clone());
        drop(seen);
        (self.sea.script.lock().unwrap())(&it)
    }

    async fn cut<T>(&self) -> T {
        cut(&self.cables);
        std::future::pending().await
    }

    fn redirect(&self, key: &[u8], leader: u64, term: u64) -> v1::Redirect {
        let addr = leader.checked_sub(1).map(|at| self.sea.addresses[at as usize].clone());
        v1::Redirect {
            slot: u32::from(Slot::of(key).number()),
            shard: shard_of(key, self.sea.shards),
            epoch: *self.sea.epoch.lock().unwrap(),
            term,
            leader_node: leader,
            leader_addr: addr.unwrap_or_default(),
        }
    }

    fn stamp(&self, key: &[u8], version: u64) -> v1::Stamp {
        let shard_time_ms = *self.sea.shard_time_ms.lock().unwrap();
        v1::Stamp { shard: shard_of(key, self.sea.shards), term: 1, version, shard_time_ms }
    }
}

type Pages = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;
