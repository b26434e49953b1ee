//! Three whole nodes in one process, over loopback, for the stories of more than one file.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use flotilla_node::Node;
use flotilla_node::config::{Config, Parsed, parse};
use flotilla_node::runtime::Fatal;
use flotilla_proto::v1::cluster_client::ClusterClient;
use flotilla_proto::v1::kv_client::KvClient;
use tempfile::TempDir;
use tonic::transport::Channel;

/// How many shards hold the keys.
pub const SHARDS: u64 = 4;
/// Far longer than anything here takes: whoever waits longer waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A fleet of three nodes with their directories and addresses.
pub struct Fleet {
    directory: TempDir,
    replicas: u32,
    /// Client, peer and HTTP port of each node.
    pub ports: Vec<[u16; 3]>,
    /// The nodes that run.
    pub nodes: Vec<Node>,
}

fn config(directory: &Path, ports: &[[u16; 3]], replicas: u32, number: usize) -> Config {
    let init: Vec<String> =
        ports.iter().enumerate().map(|(at, ports)| format!("{}=127.0.0.1:{}", at + 1, ports[1])).collect();
    let [client, peer, http] = ports[number];
    let arguments = [
        "kvnode".to_string(),
        format!("--id={}", number + 1),
        format!("--data-dir={}", directory.join(format!("n{}", number + 1)).display()),
        format!("--client-addr=127.0.0.1:{client}"),
        format!("--peer-addr=127.0.0.1:{peer}"),
        format!("--http-addr=127.0.0.1:{http}"),
        format!("--init={}", init.join(",")),
        format!("--shards={SHARDS}"),
        format!("--replicas={replicas}"),
    ];
    match parse(arguments.into_iter().map(OsString::from)) {
        Ok(Parsed::Run(config)) => *config,
        other => panic!("the flags of the test are wrong: {other:?}"),
    }
}

impl Fleet {
    /// A fleet in which every shard has three replicas.
    pub async fn found() -> Self {
        Self::with_replicas(3).await
    }

    /// A fleet in which every shard has so many replicas.
    pub async fn with_replicas(replicas: u32) -> Self {
        let (directory, ports) =
            (tempfile::tempdir().unwrap(), (0..3).map(|_| [(); 3].map(|()| crate::ports::free())).collect());
        Self { directory, replicas, ports, nodes: Vec::new() }.start().await
    }

    /// Where a node that does not run keeps its log.
    pub fn wal(&self, number: usize) -> std::path::PathBuf {
        self.directory.path().join(format!("n{}/wal", number + 1))
    }

    /// What one node that does not run says when it is started and refuses.
    pub async fn refuses(&self, number: usize) -> String {
        let fatal = Fatal::new(|reason| panic!("a node stopped: {reason}"));
        let config = config(self.directory.path(), &self.ports, self.replicas, number);
        let started = tokio::time::timeout(PATIENCE, Node::start(config, fatal)).await;
        started.expect("it says so soon").expect_err("it refuses").to_string()
    }

    /// Starts all nodes and waits until every shard has a leader.
    pub async fn start(mut self) -> Self {
        let started = (0..3).map(|number| {
            let fatal = Fatal::new(|reason| panic!("a node stopped: {reason}"));
            let config = config(self.directory.path(), &self.ports, self.replicas, number);
            tokio::spawn(Node::start(config, fatal))
        });
        for started in started.collect::<Vec<_>>() {
            let node = tokio::time::timeout(PATIENCE, started).await.expect("a node starts").unwrap();
            self.nodes.push(node.expect("a node starts"));
        }
        for node in &self.nodes {
            tokio::time::timeout(PATIENCE, node.ready()).await.expect("every shard gets a leader");
        }
        self
    }

    /// Starts one node alone: returns when it serves, which is before its shards have leaders.
    pub async fn start_alone(&mut self, number: usize) {
        let fatal = Fatal::new(|reason| panic!("a node stopped: {reason}"));
        let config = config(self.directory.path(), &self.ports, self.replicas, number);
        let started = tokio::time::timeout(PATIENCE, Node::start(config, fatal)).await;
        self.nodes.push(started.expect("a node starts").expect("a node starts"));
    }

    /// Another client port for a node that does not run.
    pub fn move_client_address(&mut self, number: usize) {
        self.ports[number][0] = crate::ports::free();
    }

    /// Stops all nodes that run.
    pub async fn stop(mut self) -> Self {
        let stopping: Vec<_> = self.nodes.drain(..).map(|node| tokio::spawn(node.stop())).collect();
        for stopped in stopping {
            tokio::time::timeout(PATIENCE, stopped).await.expect("a node ends").unwrap();
        }
        self
    }

    /// The client address of a node.
    pub fn address(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[number][0])
    }

    /// Keys and values by one node.
    pub async fn kv(&self, number: usize) -> KvClient<Channel> {
        KvClient::connect(self.address(number)).await.expect("a node that is ready serves clients")
    }

    /// The fleet as one node tells of it.
    pub async fn cluster(&self, number: usize) -> ClusterClient<Channel> {
        ClusterClient::connect(self.address(number)).await.expect("a node that is ready serves clients")
    }
}
