//! One node of a test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flotilla_daemon::metrics::Registry;
use flotilla_daemon::tls::Gate;
use flotilla_raft::{Message, ReplicaId, Rpc, Term};
use flotilla_topology::{NodeId, ShardId};
use tokio::runtime::{Builder, Runtime};

use crate::bootstrap::{self, Door, FirstStart};
use crate::host::Supports;
use crate::runtime::Clock;
use crate::storage::{BootId, ClusterId, DataDirectory, DirectoryId, Founding, FoundingNode};
use crate::transport::{
    Addresses, Clerk, Clerks, Identity, Options, PeerEvent, PeerService, Pulse, Transport, serve,
};

/// How long an event may take on a machine that is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

type Notify = tokio::sync::oneshot::Sender<()>;
type Ended = tokio::task::JoinHandle<Result<(), tonic::transport::Error>>;

/// A node that has a transport and nothing else.
pub(super) struct Side {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) runtime: Runtime,
    metrics: Registry,
    events: Receiver<PeerEvent>,
    shutdown: Notify,
    server: Ended,
    _directory: tempfile::TempDir,
}

/// Who a test node is.
pub(super) fn identity(node: u64, cluster: u128) -> Identity {
    Identity {
        cluster: ClusterId(cluster),
        node: NodeId(node),
        directory: DirectoryId(u128::from(node) << 64),
        boot: BootId(u128::from(node)),
        addresses: Addresses { client: format!("client-of-{node}:1"), ..Addresses::default() },
    }
}

/// Beats of a node that promises nothing for long.
fn pulse() -> Pulse {
    let interval = Duration::from_millis(25);
    Pulse { supports: Supports::default(), clock: Clock::start(), interval }
}

/// Times that do not keep a test waiting.
pub(super) fn options() -> Options {
    Options { backoff_max: Duration::from_millis(50), ..Options::default() }
}

impl Side {
    /// Node `node` of cluster 1, on a free port.
    pub(super) fn start(node: u64) -> Self {
        Self::start_as(identity(node, 1), options(), "127.0.0.1:0")
    }

    pub(super) fn start_as(identity: Identity, options: Options, address: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let node = identity.node;
        let (report, events) = channel();
        let report = Mutex::new(report);
        let directory = tempfile::tempdir().unwrap();
        let door = door(node, directory.path());
        let metrics = Registry::new();
        let gate = Gate::new(options.tls.clone(), &metrics);
        let (shutdown, asked) = tokio::sync::oneshot::channel();
        let (transport, address, server) = runtime.block_on(async {
            let events = Arc::new(move |event| _ = report.lock().unwrap().send(event));
            let transport = Transport::start(options.clone(), identity, events, pulse());
            let service = PeerService::new(door, gate.clone());
            service.open(transport.clone(), nobody_asks());
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let asked = async { drop(asked.await) };
            let server = tokio::spawn(async move { serve(listener, &gate, service, &options, asked).await });
            (transport, address, server)
        });
        Self { node, address, transport, runtime, metrics, events, shutdown, server, _directory: directory }
    }

    /// Makes the others peers of this one.
    pub(super) fn knows(&self, others: &[&Self]) {
        let addresses: BTreeMap<NodeId, String> =
            others.iter().map(|other| (other.node, other.address.to_string())).collect();
        self.transport.set_peers(&addresses);
    }

    /// The next event that `wanted` makes something of; others are skipped.
    pub(super) fn await_event<T>(&self, what: &str, mut wanted: impl FnMut(PeerEvent) -> Option<T>) -> T {
        loop {
            let Ok(event) = self.events.recv_timeout(PATIENCE) else { panic!("{}: no {what}", self.node) };
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    /// Waits until so many connections were refused for this reason, or more: who is refused may try again by itself.
    pub(super) fn await_refused(&self, reason: &str, count: u64) {
        let series = format!("kv_tls_refused_total{{port=\"peer\",reason=\"{reason}\"}} ");
        let counted = |shown: &str| {
            shown.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).unwrap_or_default()
        };
        let begun = Instant::now();
        loop {
            let shown = self.metrics.render();
            if counted(&shown) >= count {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: not {count} {reason} but {shown}", self.node);
            std::thread::yield_now();
        }
    }

    /// What has happened so far and was not awaited.
    pub(super) fn unawaited(&self) -> Vec<PeerEvent> {
        self.events.try_iter().collect()
    }

    pub(super) fn await_connected(&self, other: &Self) {
        self.await_event("connection", |event| match event {
            PeerEvent::Connected { node, .. } if node == other.node => Some(()),
            _ => None,
        });
    }

    pub(super) fn await_lost(&self, other: NodeId) {
        self.await_event("loss", |event| match event {
            PeerEvent::Lost { node } if node == other => Some(()),
            _ => None,
        });
    }

    /// The terms of messages from `other`, until `last` has come.
    pub(super) fn await_terms(&self, other: NodeId, last: u64) -> Vec<u64> {
        let mut terms = Vec::new();
        while terms.last() != Some(&last) {
            terms.extend(self.await_event("message", |event| match event {
                PeerEvent::Messages { node, messages } if node == other => {
                    Some(messages.into_iter().map(|(_, message)| message.term.0).collect::<Vec<_>>())
                }
                _ => None,
            }));
        }
        terms
    }

    /// Asks the server to end in good order, and waits until it has.
    pub(super) fn end_server(self) {
        self.shutdown.send(()).unwrap();
        let server = self.server;
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, server).await });
        ended.expect("the server goes on").unwrap().unwrap();
    }

    /// Everything that this node runs ends at once, as if it had been killed. Returns its address.
    pub(super) fn kill(self) -> SocketAddr {
        self.runtime.shutdown_timeout(PATIENCE);
        self.address
    }
}

/// A message that can be told from others by its term.
pub(super) fn beat(term: u64) -> Message {
    Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(term), rpc: Rpc::TimeoutNow }
}

pub(super) const SHARD: ShardId = ShardId(7);

fn nobody_asks() -> Clerks {
    fn clerk<Q, A>() -> Clerk<Q, A> {
        Arc::new(|_| unreachable!("nobody asks here"))
    }
    Clerks { announce: clerk(), join: clerk(), inspect: clerk(), change_members: clerk(), hand_over: clerk() }
}

pub(super) fn door(node: NodeId, path: &std::path::Path) -> Door {
    let mut ids = 0;
    let mut chance = move || {
        ids += 1;
        ids
    };
    let directory = Arc::new(DataDirectory::open(path, node, &mut chance).unwrap());
    let nodes = [(node, FoundingNode { peer_addr: "127.0.0.1:1".into() })].into();
    let init = Some(Founding { nodes, shards: 1, replicas: 1 });
    let first = FirstStart { init, join: None };
    Door::new(directory, Addresses::default(), first, bootstrap::Options::default()).unwrap()
}
