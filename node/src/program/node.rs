//! One node, from its configuration to its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flotilla_daemon::address::{ListenError, Resolved};
use flotilla_daemon::grpc::{self, ServeError};
use flotilla_daemon::http;
use flotilla_daemon::metrics::keep_up;
use flotilla_daemon::tls::Gate;
use flotilla_tls::{Owner, Tls, TlsError};
use flotilla_topology::{NodeId, NodeInfo, ShardId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tonic::Status;
use tracing::{info, warn};

use crate::api::{ClusterService, Face, Front, KvService, NodeStatus, Readiness};
use crate::bootstrap::{self, BootstrapError, Door, FirstStart, Founded, found};
use crate::config::{Config, InitNode};
use crate::metrics::{NodeMetrics, Scraper};
use crate::moves::{Mover, Office};
use crate::runtime::{Fatal, FleetKeeper, Input, Runtime, StartError, Started, options, start};
use crate::storage::{DataDirectory, DirectoryError, Founding, FoundingNode, SystemChance};
use crate::transport::{self, Addresses, Clerk, Clerks, Identity, PeerService, Transport};

/// How often it is looked whether the node became ready, or stopped to be.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// A leadership that cannot be moved for so long stays: the other replicas may be down.
const MOVING_PATIENCE: Duration = Duration::from_secs(1);

/// How long the answer to a request over HTTP may take.
const HTTP_PATIENCE: Duration = Duration::from_secs(10);

/// How long the threads may take to end when the requests took all the time that there was.
const THREADS_PATIENCE: Duration = Duration::from_secs(1);

/// Why a node did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Something of the operating system.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// An address that is not listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The fleet was not founded.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The threads did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The client address.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// A node that serves.
#[derive(Debug)]
pub struct Node {
    config: Config,
    runtime: Arc<Runtime>,
    front: Arc<Front>,
    transport: Transport,
    readiness: Readiness,
    ready: watch::Receiver<bool>,
    ended: watch::Sender<bool>,
    listening: Listening,
    client: JoinHandle<Result<(), ServeError>>,
    tasks: Vec<JoinHandle<()>>,
}

/// What is served from the first moment.
#[derive(Debug)]
struct Listening {
    peer: JoinHandle<Result<(), tonic::transport::Error>>,
    http: JoinHandle<std::io::Result<()>>,
    /// Looks after the certificate.
    keeper: JoinHandle<()>,
}

/// The listeners of a node, bound before anything else: two nodes on one address shall find out at once.
struct Bound {
    client: TcpListener,
    peer: TcpListener,
    http: TcpListener,
}

/// A node that does not serve clients yet.
struct Starting {
    config: Config,
    directory: Arc<DataDirectory>,
    service: PeerService,
    readiness: Readiness,
    metrics: Arc<NodeMetrics>,
    scraper: Scraper,
    ended: watch::Sender<bool>,
    listening: Listening,
    client: TcpListener,
    gate: Gate,
}

impl Node {
    /// Runs a node until `shutdown` ends, then ends it in good order.
    ///
    /// # Errors
    /// It could not start; the text is one line for the operator.
    pub async fn run(
        config: Config,
        fatal: Fatal,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), NodeError> {
        let mut shutdown = pin!(shutdown);
        // Before the fleet is founded there is nothing to end in good order.
        let node = tokio::select! {
            node = Box::pin(Self::start(config, fatal)) => node?,
            () = &mut shutdown => return Ok(()),
        };
        shutdown.await;
        node.stop().await;
        Ok(())
    }

    /// Starts a node: returns when its clients are served. With a blank directory that is when the fleet is founded,
    /// for which all its nodes are needed.
    ///
    /// # Errors
    /// It could not start; the text is one line for the operator.
    pub async fn start(config: Config, fatal: Fatal) -> Result<Self, NodeError> {
        let tls = config.addresses.tls.load(owner(&config))?;
        let hosts = resolve(&config).await?;
        let directory = Arc::new(open_directory(&config).await?);
        let bound = bind(hosts).await?;
        let own = own_addresses(&config);
        let first = first_start(&config);
        let asking = bootstrap::Options { tls: tls.clone(), ..bootstrap::Options::default() };
        let door = Door::new(Arc::clone(&directory), own.clone(), first, asking)?;
        let (readiness, ended) = (Readiness::default(), watch::Sender::new(false));
        let metrics = blocking(|| Ok(Arc::new(NodeMetrics::new()))).await?;
        let gate = Gate::new(tls, metrics.registry());
        let service = PeerService::new(door.clone(), gate.clone());
        let scraper = Scraper::new(Arc::clone(&metrics));
        let face = Face::new(config.id, readiness.clone(), scraper.clone());
        let listening = listen(&config, &gate, (bound.peer, bound.http), &service, face, &ended);
        info!(
            node = %config.id,
            version = crate::VERSION_LINE,
            peer = %config.addresses.peer_addr,
            data_dir = %config.data_dir.display(),
            "starting"
        );
        let starting = Starting {
            config,
            directory,
            service,
            readiness,
            metrics,
            scraper,
            ended,
            listening,
            client: bound.client,
            gate,
        };
        match starting.begin(door, own, fatal).await {
            Ok((founded, started)) => starting.serve(&founded, started).await,
            Err(error) => {
                starting.give_up().await;
                Err(error)
            }
        }
    }

    /// The configuration that the node runs with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Returns when every shard with a replica here has a known leader.
    pub async fn ready(&self) {
        // An error says that the node is ending: nobody waits for it any more.
        drop(self.ready.clone().wait_for(|ready| *ready).await);
    }

    /// What is missing until the node is ready; `None`: it is.
    pub fn missing(&self) -> Option<String> {
        self.readiness.missing()
    }

    /// How many answers its clients and the node itself wait for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.runtime.waiting()
    }

    /// Ends the node: leaders move away, requests end, threads end.
    pub async fn stop(self) {
        let patience = Duration::from_millis(self.config.timing.shutdown_timeout_ms);
        let deadline = Instant::now() + patience;
        let moving = tokio::time::timeout(patience / 2, move_leaders(&self.runtime)).await;
        if moving.is_err() {
            warn!("some leaderships could not be moved away in time");
        }
        self.front.end();
        self.ended.send_replace(true);
        finish("client", self.client, deadline).await;
        self.transport.shutdown();
        finish("peer", self.listening.peer, deadline).await;
        finish("http", self.listening.http, deadline).await;
        self.listening.keeper.abort();
        for task in self.tasks {
            task.abort();
            drop(task.await);
        }
        let runtime = self.runtime;
        let left = deadline.saturating_duration_since(Instant::now()) + THREADS_PATIENCE;
        if end_threads(move || runtime.end(), left).await.is_err() {
            // What a thread that hangs on its disk has not written yet is in the log, and comes back from there.
            warn!("some threads did not end in time");
        }
        info!(node = %self.config.id, "ended");
    }
}

impl Starting {
    /// Learns which fleet the node belongs to, recovers what it holds, and starts its threads.
    async fn begin(&self, door: Door, own: Addresses, fatal: Fatal) -> Result<(Founded, Started), NodeError> {
        let founded = found(&door, &mut SystemChance).await?;
        let identity = Identity {
            cluster: founded.cluster,
            node: self.config.id,
            directory: founded.directory,
            boot: self.directory.boot().id,
            addresses: own,
        };
        let tls = self.gate.tls().cloned();
        let started =
            start_threads(&self.config, &self.directory, (identity, tls), &self.metrics, fatal).await?;
        Ok((founded, started))
    }

    /// Ends what serves already, so that the directory is free again when the refusal is out.
    async fn give_up(self) {
        let deadline = Instant::now() + Duration::from_millis(self.config.timing.shutdown_timeout_ms);
        self.ended.send_replace(true);
        finish("peer", self.listening.peer, deadline).await;
        finish("http", self.listening.http, deadline).await;
        self.listening.keeper.abort();
    }

    /// The threads run: takes in the map, opens the peer address in full, and serves clients.
    async fn serve(self, founded: &Founded, started: Started) -> Result<Node, NodeError> {
        let Self { config, directory, service, readiness, metrics, scraper, ended, listening, client, gate } =
            self;
        let Started { runtime, transport, map_changed, maps } = started;
        let genesis = Bytes::from(founded.genesis.encode());
        let keeper = Arc::new(FleetKeeper::new(
            config.id,
            own_info(&config),
            genesis.clone(),
            Arc::clone(&runtime),
            transport.clone(),
            Arc::clone(&directory),
        ));
        let office = Office {
            cluster: founded.cluster,
            node: config.id,
            runtime: Arc::clone(&runtime),
            transport: transport.clone(),
        };
        service.open(transport.clone(), clerks(&keeper, &office));
        // The cache first: whatever is taken becomes the cache, and the genesis map is the oldest of all.
        if let Some(cached) = directory.cached_map()? {
            keeper.take(cached).await;
        }
        keeper.take(genesis).await;
        let bytes_max = options::message_bytes_max(&config);
        let limits = config.limits.clone();
        let front = Arc::new(Front::new(
            config.id,
            Arc::clone(&runtime),
            limits,
            keeper.maps(),
            bytes_max,
            gate.tls().cloned(),
        ));
        scraper.open(Arc::clone(&runtime), transport.clone(), keeper.maps());
        let status =
            Arc::new(NodeStatus { node: config.id, started: Instant::now(), transport: transport.clone() });
        readiness.open(Arc::clone(&front), Arc::clone(&status));
        let (telling, ready) = watch::channel(false);
        let shutdown = when(ended.subscribe());
        let kv = KvService(Arc::clone(&front));
        let grace = config.timing.repair_after_ms;
        let repair_after = (grace > 0).then(|| Duration::from_millis(grace));
        let mover = Arc::new(Mover::new(office, keeper.maps(), repair_after));
        let cluster = ClusterService { front: Arc::clone(&front), status, mover: Arc::clone(&mover) };
        let serving = ready.clone();
        let client = tokio::spawn(async move {
            grpc::serve(client, &gate, kv, cluster, bytes_max, serving, shutdown).await
        });
        let tasks = vec![
            tokio::spawn(keeper.run(map_changed, maps, ended.subscribe())),
            tokio::spawn(mover.run(ended.subscribe())),
            tokio::spawn(tell_ready(config.id, readiness.clone(), telling)),
            tokio::spawn(keep_up(metrics.registry().clone())),
        ];
        info!(
            node = %config.id,
            cluster = %founded.cluster,
            client = %config.addresses.client_addr,
            peer = %config.addresses.peer_addr,
            http = %config.addresses.http_addr,
            "serving"
        );
        Ok(Node { config, runtime, front, transport, readiness, ready, ended, listening, client, tasks })
    }
}

async fn open_directory(config: &Config) -> Result<DataDirectory, NodeError> {
    let (path, node) = (config.data_dir.clone(), config.id);
    blocking(move || DataDirectory::open(&path, node, &mut SystemChance).map_err(NodeError::from)).await
}

async fn start_threads(
    config: &Config,
    directory: &Arc<DataDirectory>,
    (identity, tls): (Identity, Option<Tls>),
    metrics: &Arc<NodeMetrics>,
    fatal: Fatal,
) -> Result<Started, NodeError> {
    let (config, directory) = (config.clone(), Arc::clone(directory));
    let metrics = Arc::clone(metrics);
    blocking(move || {
        start(&config, &directory, identity, tls, &mut SystemChance, &metrics, &fatal)
            .map_err(NodeError::from)
    })
    .await
}

/// Runs what waits for a disk where that harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// What the hosts of the addresses mean now.
struct Hosts {
    client: Resolved,
    peer: Resolved,
    http: Resolved,
}

/// What others expect of the certificate of this node.
fn owner(config: &Config) -> Owner {
    let dialled = [config.addresses.advertised_client(), config.addresses.advertised_peer()];
    // A host that has colons stands in brackets.
    let hosts = dialled.map(|address| address.host().trim_matches(['[', ']']).to_owned());
    Owner::Node { id: config.id, hosts: hosts.into() }
}

async fn resolve(config: &Config) -> Result<Hosts, ListenError> {
    let addresses = &config.addresses;
    let anywhere = addresses.insecure || addresses.tls.is_on();
    Ok(Hosts {
        client: addresses.client_addr.resolve("--client-addr", anywhere).await?,
        peer: addresses.peer_addr.resolve("--peer-addr", anywhere).await?,
        http: addresses.http_addr.resolve("--http-addr", anywhere).await?,
    })
}

async fn bind(hosts: Hosts) -> Result<Bound, ListenError> {
    Ok(Bound {
        client: hosts.client.bind().await?,
        peer: hosts.peer.bind().await?,
        http: hosts.http.bind().await?,
    })
}

/// Serves the peer address and the HTTP address, which answer from the first moment.
fn listen(
    config: &Config,
    gate: &Gate,
    (peer, listener): (TcpListener, TcpListener),
    service: &PeerService,
    face: Face,
    ended: &watch::Sender<bool>,
) -> Listening {
    let (service, peer_options) = (service.clone(), options::transport(config, gate.tls().cloned()));
    let (shutdown, guard) = (when(ended.subscribe()), gate.clone());
    let peer =
        tokio::spawn(async move { transport::serve(peer, &guard, service, &peer_options, shutdown).await });
    let options =
        http::Options { value_bytes_max: config.limits.value_bytes_max.as_usize(), patience: HTTP_PATIENCE };
    let (shutdown, guard) = (when(ended.subscribe()), gate.clone());
    let http =
        tokio::spawn(async move { http::serve(listener, &guard, Arc::new(face), options, shutdown).await });
    Listening { peer, http, keeper: tokio::spawn(gate.clone().keep()) }
}

/// Ends when the node does.
async fn when(mut ended: watch::Receiver<bool>) {
    // An error says that the node itself is gone, which is as good.
    drop(ended.wait_for(|ended| *ended).await);
}

/// Says when the node becomes ready, and when it stops to be.
async fn tell_ready(node: NodeId, readiness: Readiness, ready: watch::Sender<bool>) {
    let mut look = tokio::time::interval(READY_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut signs = None;
    loop {
        look.tick().await;
        // A node with a thousand replicas that sleep has something better to do than to count them.
        let seen = std::mem::replace(&mut signs, readiness.signs());
        if seen.is_some() && seen == signs {
            continue;
        }
        let missing = readiness.missing();
        let now = missing.is_none();
        let changed = ready.send_if_modified(|before| std::mem::replace(before, now) != now);
        match missing {
            None if changed => info!(%node, "ready"),
            Some(missing) if changed => warn!(%node, missing, "no longer ready"),
            _ => {}
        }
    }
}

/// Waits until a server has ended the requests under way; at the deadline they are cut off.
async fn finish<T>(what: &str, mut server: JoinHandle<T>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    if tokio::time::timeout(left, &mut server).await.is_err() {
        warn!(what, "some requests did not end in time");
        server.abort();
        drop(server.await);
    }
}

/// Some thread still runs.
#[derive(Debug, PartialEq, Eq)]
struct StillRunning;

/// Waits until `end` has ended all threads, but no longer than the patience: it blocks, and a thread that hangs on its disk
/// shall not keep the process alive.
async fn end_threads(end: impl FnOnce() + Send + 'static, patience: Duration) -> Result<(), StillRunning> {
    match tokio::time::timeout(patience, tokio::task::spawn_blocking(end)).await {
        Ok(_) => Ok(()),
        Err(_) => Err(StillRunning),
    }
}

/// Moves every leadership of this node to another. Returns when it leads nothing that another could, or when for a
/// while none could be moved.
async fn move_leaders(runtime: &Runtime) {
    let mut look = tokio::time::interval(READY_INTERVAL / 5);
    let (mut fewest, mut since) = (usize::MAX, Instant::now());
    loop {
        look.tick().await;
        let Ok(replicas) = runtime.replicas().await else { return };
        // A shard with one voter has nobody else to lead it.
        let led: Vec<ShardId> = replicas
            .into_iter()
            .filter(|replica| replica.leads() && replica.configuration.voters.len() > 1)
            .map(|replica| replica.shard)
            .collect();
        if led.len() < fewest {
            (fewest, since) = (led.len(), Instant::now());
        }
        if led.is_empty() || since.elapsed() > MOVING_PATIENCE {
            return;
        }
        for shard in led {
            // Refused where no follower is fit to lead, or where a transfer is under way: looked at again.
            drop(runtime.order(shard, |token| Input::Transfer { shard, token, to: None }).await);
        }
    }
}

fn clerks(keeper: &Arc<FleetKeeper>, office: &Office) -> Clerks {
    Clerks {
        announce: clerk(keeper, |keeper, it| async move { keeper.announced(it).await }),
        join: clerk(keeper, |keeper, it| async move { keeper.joined(it).await }),
        inspect: clerk(office, |office, it| async move { office.inspect(it).await }),
        change_members: clerk(office, |office, it| async move { office.change_members(it).await }),
        hand_over: clerk(office, |office, it| async move { office.hand_over(it).await }),
    }
}

/// Who has its own copy of `desk` for each question.
fn clerk<D, Q, A, F>(desk: &D, answer: impl Fn(D, Q) -> F + Send + Sync + 'static) -> Clerk<Q, A>
where
    D: Clone + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let desk = desk.clone();
    Arc::new(move |question| Box::pin(answer(desk.clone(), question)))
}

fn first_start(config: &Config) -> FirstStart {
    let first = &config.first_start;
    let node = |member: &InitNode| (member.node, FoundingNode { peer_addr: member.peer_addr.to_string() });
    let nodes: BTreeMap<NodeId, FoundingNode> = first.init.iter().map(node).collect();
    let founding = Founding { nodes, shards: first.shards, replicas: first.replicas };
    FirstStart {
        init: (!first.init.is_empty()).then_some(founding),
        join: first.join.as_ref().map(ToString::to_string),
    }
}

fn own_addresses(config: &Config) -> Addresses {
    let addresses = &config.addresses;
    Addresses {
        client: addresses.advertised_client().to_string(),
        peer: addresses.advertised_peer().to_string(),
        http: addresses.advertised_http(),
    }
}

fn own_info(config: &Config) -> NodeInfo {
    let Addresses { client, peer, http } = own_addresses(config);
    NodeInfo { client_addr: client, peer_addr: peer, http_addr: http }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// More than any machine takes: only a test that hangs waits so long.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn threads_that_end_are_waited_for() {
        let (release, released) = mpsc::channel::<()>();
        let (done, all_done) = mpsc::channel();
        let ending = tokio::spawn(end_threads(
            move || {
                released.recv().expect("the test lets go");
                done.send(()).expect("the test looks");
            },
            LONG,
        ));
        tokio::task::yield_now().await;
        assert!(!ending.is_finished(), "the threads have not ended");
        release.send(()).expect("the ending waits");
        assert_eq!(ending.await.expect("no panic"), Ok(()));
        assert_eq!(all_done.try_recv(), Ok(()), "it returned before the threads had ended");
    }

    #[tokio::test]
    async fn a_thread_that_hangs_does_not_hold_up_the_end() {
        let (_held, never) = mpsc::channel::<()>();
        // Dropped before what is held, so that nobody listens when the thread goes on.
        let (ended, end) = mpsc::channel();
        let hangs = move || {
            // Until the test is over: its runtime waits for such threads.
            assert!(never.recv().is_err());
            ended.send(()).expect_err("the test is over");
        };
        let outcome = tokio::time::timeout(LONG, end_threads(hangs, Duration::from_millis(10))).await;
        assert_eq!(outcome, Ok(Err(StillRunning)));
        assert_eq!(end.try_recv(), Err(mpsc::TryRecvError::Empty), "the thread still hangs");
    }
}
