//! Fleets founded over loopback: real directories, real connections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use flotilla_daemon::tls::Gate;
use flotilla_topology::{NodeId, ShardId};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::storage::{DataDirectory, Founding, FoundingNode, SystemChance};
use crate::transport::{self, Addresses, PeerService};

const PATIENCE: Duration = Duration::from_secs(30);

/// A node that only wants to be founded.
struct Starting {
    door: Door,
    server: JoinHandle<()>,
    directory: Weak<DataDirectory>,
}

impl Starting {
    fn new(path: &Path, node: u64, listener: TcpListener, first: FirstStart) -> Result<Self, BootstrapError> {
        let directory = Arc::new(DataDirectory::open(path, NodeId(node), &mut SystemChance).unwrap());
        let addresses = Addresses {
            client: format!("client-of-{node}:7500"),
            peer: "unused:1".to_string(),
            http: format!("http-of-{node}:7700"),
        };
        let held = Arc::downgrade(&directory);
        let door = Door::new(directory, addresses, first, Options::default())?;
        let service = PeerService::new(door.clone(), Gate::open());
        let server = tokio::spawn(async move {
            let options = transport::Options::default();
            drop(transport::serve(listener, &Gate::open(), service, &options, std::future::pending()).await);
        });
        Ok(Self { door, server, directory: held })
    }

    async fn found(&self) -> Result<Founded, BootstrapError> {
        timeout(PATIENCE, found(&self.door, &mut SystemChance)).await.expect("not founded in time")
    }

    /// Ends the server and lets go of the directory.
    async fn stop(self) {
        let Self { door, server, directory } = self;
        server.abort();
        drop(server.await);
        drop(door);
        // The server's connections have tasks of their own, which end after it.
        let free = async {
            while directory.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, free).await.expect("the directory is let go");
    }
}

/// Three directories and their ports.
struct Fleet {
    directories: [TempDir; 3],
    addresses: [SocketAddr; 3],
}

impl Fleet {
    async fn new() -> (Self, [TcpListener; 3]) {
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let listeners = [bind().await, bind().await, bind().await];
        let addresses = [0, 1, 2].map(|at: usize| listeners[at].local_addr().unwrap());
        let directories = [0, 1, 2].map(|_| tempfile::tempdir().unwrap());
        (Self { directories, addresses }, listeners)
    }

    fn flags(&self) -> FirstStart {
        let node =
            |at: usize| (NodeId(at as u64 + 1), FoundingNode { peer_addr: self.addresses[at].to_string() });
        let founding = Founding { nodes: (0..3).map(node).collect(), shards: 2, replicas: 3 };
        FirstStart { init: Some(founding), join: None }
    }

    fn start(&self, at: usize, listener: TcpListener, first: FirstStart) -> Result<Starting, BootstrapError> {
        Starting::new(self.directories[at].path(), at as u64 + 1, listener, first)
    }

    async fn listen(&self, at: usize) -> TcpListener {
        TcpListener::bind(self.addresses[at]).await.unwrap()
    }
}

#[tokio::test]
async fn three_nodes_found_one_fleet_and_remember_it() {
    let (fleet, listeners) = Fleet::new().await;
    let mut nodes = Vec::new();
    for (at, listener) in listeners.into_iter().enumerate() {
        nodes.push(fleet.start(at, listener, fleet.flags()).unwrap());
    }
    let (one, two, three) = tokio::join!(nodes[0].found(), nodes[1].found(), nodes[2].found());
    let founded = [one.unwrap(), two.unwrap(), three.unwrap()];
    assert!(founded.iter().all(|it| it.genesis == founded[0].genesis), "one map");
    assert!(founded.iter().all(|it| it.cluster == founded[0].cluster), "one cluster");
    let map = &founded[0].genesis;
    assert_eq!(map.cluster, founded[0].cluster.0);
    assert_eq!(map.nodes[&NodeId(2)].client_addr, "client-of-2:7500");
    assert_eq!(map.nodes[&NodeId(3)].http_addr, "http-of-3:7700");
    assert_eq!(map.nodes[&NodeId(1)].peer_addr, fleet.addresses[0].to_string());
    assert_eq!(map.preference(ShardId::META).count(), 3);
    for node in nodes {
        node.stop().await;
    }
    // A restart asks nobody, and flags of any kind are ignored.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let again = fleet.start(1, listener, FirstStart { init: None, join: Some("x:1".into()) }).unwrap();
    assert_eq!(again.found().await.unwrap().genesis, founded[0].genesis);
}

#[tokio::test]
async fn a_node_that_comes_late_is_waited_for_and_one_that_was_wiped_is_refused() {
    let (fleet, [one, two, three]) = Fleet::new().await;
    drop(three);
    let one = fleet.start(0, one, fleet.flags()).unwrap();
    let two = fleet.start(1, two, fleet.flags()).unwrap();
    let late = async {
        // Only now does the third one listen: the others have found nobody there.
        let listener = fleet.listen(2).await;
        fleet.start(2, listener, fleet.flags()).unwrap()
    };
    let (first, second, third) =
        tokio::join!(one.found(), two.found(), async { late.await.found().await.map(|it| it.cluster) });
    assert_eq!(first.unwrap().cluster, second.unwrap().cluster);
    third.unwrap();
    let blank = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wiped = Starting::new(blank.path(), 2, listener, fleet.flags()).unwrap();
    let error = wiped.found().await.unwrap_err();
    assert!(matches!(error, BootstrapError::Forgotten { node: NodeId(2), .. }), "{error}");
    assert!(
        error.to_string().contains("it forgot its votes. Wiped? Rejoin with a new --id and --join"),
        "{error}"
    );
}

#[tokio::test]
async fn other_flags_on_one_node_are_named_on_all() {
    let (fleet, listeners) = Fleet::new().await;
    let mut nodes = Vec::new();
    for (at, listener) in listeners.into_iter().enumerate() {
        let mut first = fleet.flags();
        if at == 1 {
            first.init.as_mut().unwrap().shards = 9;
        }
        nodes.push(fleet.start(at, listener, first).unwrap());
    }
    let (one, two) = tokio::join!(nodes[0].found(), nodes[1].found());
    for (error, difference) in
        [(one, "--shards is 9 there and 2 here"), (two, "--shards is 2 there and 9 here")]
    {
        let error = error.unwrap_err();
        assert!(matches!(error, BootstrapError::Differs { .. }), "{error}");
        assert!(error.to_string().contains(difference), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_begin_is_said_at_once() {
    let (fleet, [one, two, three]) = Fleet::new().await;
    let refusal = |at, listener, first| fleet.start(at, listener, first).map(|_| ()).unwrap_err();
    drop(one);
    let error = refusal(1, two, FirstStart::default());
    assert!(error.to_string().contains("--init"), "{error}");
    let mut first = fleet.flags();
    first.init.as_mut().unwrap().replicas = 4;
    let error = refusal(2, three, first);
    assert!(matches!(error, BootstrapError::Plan(_)), "{error}");
    let mut first = fleet.flags();
    first.init.as_mut().unwrap().nodes.remove(&NodeId(3));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = refusal(2, listener, first);
    assert!(matches!(error, BootstrapError::NotNamed { node: NodeId(3) }), "{error}");
}

#[tokio::test]
async fn an_interrupted_first_start_goes_on_with_its_flags_only() {
    let (fleet, [one, two, three]) = Fleet::new().await;
    // The third one is asked, promises itself, and is stopped before the fleet is founded: the first is stopped too.
    let cluster = crate::storage::ClusterId(5);
    let founding = fleet.flags().init.unwrap();
    for at in [0, 2] {
        let node = NodeId(at as u64 + 1);
        let directory = DataDirectory::open(fleet.directories[at].path(), node, &mut SystemChance).unwrap();
        let membership = crate::storage::Membership::Promised { cluster, founding: founding.clone() };
        directory.become_member(membership).unwrap();
    }
    let mut other = fleet.flags();
    other.init.as_mut().unwrap().shards = 3;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = fleet.start(2, unused, other).map(|_| ()).unwrap_err();
    assert!(matches!(error, BootstrapError::OtherFlags { .. }), "{error}");
    let one = fleet.start(0, one, fleet.flags()).unwrap();
    let two = fleet.start(1, two, fleet.flags()).unwrap();
    let three = fleet.start(2, three, FirstStart::default()).unwrap();
    let (one, two, three) = tokio::join!(one.found(), two.found(), three.found());
    for founded in [one, two, three] {
        assert_eq!(founded.unwrap().cluster, cluster);
    }
}
