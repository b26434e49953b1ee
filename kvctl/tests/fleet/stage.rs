//! A fleet of real processes, and what can be done to it.
//!
//! ```text
//! let mut fleet = Plan::new(3).shards(4).flag("--flush-interval-ms", "50").start().await;
//! let leader = fleet.leader(1).await.node;
//! fleet.kill(leader);
//! fleet.led_by_another(1, leader).await;
//! fleet.restart(leader);
//! fleet.ready().await;
//! ```
//!
//! Nodes have the ids 1 to n. Everything is killed and removed when the fleet is dropped; when that is because the story
//! failed, the last words of all nodes are printed before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use flotilla_client::Client;
use flotilla_proto::v1;
use futures_util::future::join_all;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::network::Network;
use crate::patience::until;
use crate::process::{Process, program};
use crate::tool::output;
use crate::{ports, questions};

/// How often a fleet is started on other ports when somebody took one of them.
const STARTS_MAX: usize = 5;

/// Of each shard.
const REPLICAS: u64 = 3;

/// How many lines of each node a failed story prints.
const LAST_WORDS: usize = 40;

/// The fleet that a story wants.
#[derive(Clone, Debug)]
pub struct Plan {
    nodes: u64,
    shards: u64,
    flags: Vec<String>,
    /// Where each node has a host of its own; else all are on loopback.
    network: Option<Arc<Network>>,
    /// The nodes whose data is elsewhere than that of the others.
    disks: BTreeMap<u64, PathBuf>,
}

/// A node's ports, and the host that they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub host: Ipv4Addr,
    pub client: u16,
    pub peer: u16,
    pub http: u16,
}

impl Ports {
    /// Three of loopback that nobody uses.
    pub fn free() -> Self {
        let [client, peer, http] = ports::free();
        Self { host: Ipv4Addr::LOCALHOST, client, peer, http }
    }

    /// Those that every node has on a host of its own.
    fn of_host(host: Ipv4Addr) -> Self {
        Self { host, client: 7501, peer: 7601, http: 7701 }
    }

    /// The client address.
    pub fn client_addr(self) -> String {
        format!("{}:{}", self.host, self.client)
    }

    /// The peer address.
    pub fn peer_addr(self) -> String {
        format!("{}:{}", self.host, self.peer)
    }

    /// The HTTP address.
    pub fn http_addr(self) -> String {
        format!("{}:{}", self.host, self.http)
    }

    /// As flags of a node.
    pub fn flags(self) -> Vec<String> {
        let flags = [
            ("--client-addr", self.client_addr()),
            ("--peer-addr", self.peer_addr()),
            ("--http-addr", self.http_addr()),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]);
        // Nodes do not listen on anything but loopback unasked.
        let insecure = (!self.host.is_loopback()).then(|| "--insecure".to_string());
        flags.chain(insecure).collect()
    }
}

/// A running fleet.
#[derive(Debug)]
pub struct Fleet {
    plan: Plan,
    folder: TempDir,
    ports: BTreeMap<u64, Ports>,
    /// What `--init` says: the ports that the nodes were founded with.
    init: String,
    /// The nodes that run.
    running: BTreeMap<u64, Process>,
    /// Those that joined later. With them not every node has a replica of every shard.
    joined: BTreeSet<u64>,
}

/// Who leads a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    pub node: u64,
    pub term: u64,
}

impl Plan {
    /// So many nodes, each with a replica of each of 4 shards; replicas: 3, or as many as there are nodes.
    pub fn new(nodes: u64) -> Self {
        Self { nodes, shards: 4, flags: Vec::new(), network: None, disks: BTreeMap::new() }
    }

    /// So many shards beside the meta shard.
    pub fn shards(self, shards: u64) -> Self {
        Self { shards, ..self }
    }

    /// One more flag for every node.
    pub fn flag(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([flag.to_string(), value.to_string()]);
        self
    }

    /// The data of this node is in a directory on this disk.
    pub fn on_disk(mut self, id: u64, disk: &Path) -> Self {
        self.disks.insert(id, disk.to_owned());
        self
    }

    /// Node i on host i of this network.
    pub fn across(self, network: &Arc<Network>) -> Self {
        Self { network: Some(Arc::clone(network)), ..self }
    }

    /// Starts it, and waits until every shard is led.
    pub async fn start(self) -> Fleet {
        for _ in 0..STARTS_MAX {
            let mut fleet = self.clone().found();
            if fleet.first_ready().await {
                return fleet;
            }
        }
        panic!("somebody took a port of the fleet, {STARTS_MAX} times");
    }

    fn found(self) -> Fleet {
        let place = |id| match &self.network {
            None => Ports::free(),
            Some(_) => Ports::of_host(Network::address(id)),
        };
        let ports: BTreeMap<u64, Ports> = (1..=self.nodes).map(|id| (id, place(id))).collect();
        let named: Vec<String> =
            ports.iter().map(|(id, ports)| format!("{id}={}", ports.peer_addr())).collect();
        let folder = tempfile::Builder::new().prefix("flotilla-").tempdir().unwrap();
        let init = named.join(",");
        let mut fleet =
            Fleet { plan: self, folder, ports, init, running: BTreeMap::new(), joined: BTreeSet::new() };
        fleet.ids().into_iter().for_each(|id| fleet.restart(id));
        fleet
    }
}

impl Fleet {
    /// All nodes, running or not.
    pub fn ids(&self) -> Vec<u64> {
        self.ports.keys().copied().collect()
    }

    /// All shards, the meta shard first.
    pub fn shards(&self) -> impl Iterator<Item = u64> + use<> {
        0..=self.plan.shards
    }

    /// A node's ports.
    pub fn ports(&self, id: u64) -> Ports {
        self.ports[&id]
    }

    /// A node's client address.
    pub fn address(&self, id: u64) -> String {
        self.ports(id).client_addr()
    }

    /// A node's data directory.
    pub fn data(&self, id: u64) -> PathBuf {
        let folder = self.plan.disks.get(&id).map_or(self.folder.path(), PathBuf::as_path);
        folder.join(format!("n{id}"))
    }

    /// A node that runs.
    pub fn process(&mut self, id: u64) -> &mut Process {
        self.running.get_mut(&id).unwrap_or_else(|| panic!("node {id} does not run"))
    }

    /// The arguments with which a node is started, the first time and ever after.
    pub fn args(&self, id: u64) -> Vec<String> {
        let mut args = vec!["--id".to_string(), id.to_string(), "--data-dir".to_string()];
        args.push(self.data(id).to_str().unwrap().to_string());
        args.extend(self.ports(id).flags());
        let (shards, replicas) = (self.plan.shards, self.plan.nodes.min(3));
        if self.joined.contains(&id) {
            args.extend(["--join".to_string(), self.address(1)]);
        } else {
            args.extend(["--init".to_string(), self.init.clone()]);
            args.extend(["--shards".to_string(), shards.to_string()]);
            args.extend(["--replicas".to_string(), replicas.to_string()]);
        }
        args.extend(self.plan.flags.iter().cloned());
        args
    }

    /// SIGTERM, and waits for the end with code 0.
    pub async fn stop(&mut self, id: u64) {
        self.process(id).signal(Signal::TERM);
        let (status, words) = self.end(id).await;
        assert_eq!(status.code(), Some(0), "node {id}: {status}: {words}");
    }

    /// Starts a node that does not run.
    pub fn restart(&mut self, id: u64) {
        let start = || Process::start(&self.args(id), &self.folder.path().join(format!("n{id}.log")));
        let process = match &self.plan.network {
            None => start(),
            Some(network) => network.on(id, start),
        };
        let before = self.running.insert(id, process);
        assert!(before.is_none(), "node {id} was started twice");
    }

    /// Starts one more node, which joins the fleet through node 1, and waits until it serves.
    pub async fn join(&mut self, id: u64) {
        self.ports.insert(id, Ports::free());
        self.joined.insert(id);
        self.restart(id);
        self.ready().await;
    }

    /// Gives a node that does not run other ports from its next start on.
    pub fn move_to(&mut self, id: u64, ports: Ports) {
        assert!(!self.running.contains_key(&id), "node {id} runs");
        self.ports.insert(id, ports);
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u64) {
        self.process(id).kill();
        self.running.remove(&id);
    }

    /// SIGKILL to all, before any of them is waited for: nobody sees the others go.
    pub fn kill_all(&mut self) {
        self.running.values().for_each(|process| process.signal(Signal::KILL));
        self.running.clear();
    }

    /// Forgets a process that has ended by itself.
    pub async fn end(&mut self, id: u64) -> (std::process::ExitStatus, String) {
        let status = self.process(id).end().await;
        let words = self.process(id).words();
        self.running.remove(&id);
        (status, words)
    }

    /// SIGSTOP: it stands still, and its connections stay.
    pub fn freeze(&mut self, id: u64) {
        self.process(id).signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self, id: u64) {
        self.process(id).signal(Signal::CONT);
    }

    /// What the running nodes say of themselves, those that answer.
    pub async fn statuses(&self) -> Vec<v1::StatusResponse> {
        self.statuses_without(None).await
    }

    /// One of them is not asked: it may be frozen or cut off, and would be waited for.
    async fn statuses_without(&self, silent: Option<u64>) -> Vec<v1::StatusResponse> {
        let asked = self.running.keys().filter(|id| Some(**id) != silent).map(|id| self.address(*id));
        let asked: Vec<_> = asked.map(async |address| questions::status(&address).await).collect();
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// What a node says of its replica of a shard.
    pub async fn replica(&self, id: u64, shard: u64) -> Option<v1::ReplicaStatus> {
        let status = questions::status(&self.address(id)).await?;
        status.replicas.into_iter().find(|replica| replica.shard == shard)
    }

    /// Waits until a shard is led, and says by whom.
    pub async fn leader(&self, shard: u64) -> Leader {
        let led = async || self.leader_now(shard).await;
        until(&format!("shard {shard} is led"), led).await
    }

    /// Who leads a shard, if one of the nodes that answer says that it does.
    pub async fn leader_now(&self, shard: u64) -> Option<Leader> {
        newest_leader(&self.statuses().await, shard)
    }

    /// Waits until a shard is led by another node than this one.
    pub async fn led_by_another(&self, shard: u64, old: u64) -> Leader {
        let led = async || newest_leader(&self.statuses_without(Some(old)).await, shard);
        until(&format!("shard {shard} is led by another node than {old}"), led).await
    }

    /// Waits until all running nodes answer, and know the leaders of all their shards.
    pub async fn ready(&mut self) {
        until("all nodes are ready", async || self.is_ready().await.then_some(())).await;
    }

    async fn is_ready(&mut self) -> bool {
        for (id, process) in &mut self.running {
            if let Some(status) = process.ended() {
                panic!("node {id} ended with {status}: {}", process.words());
            }
        }
        let statuses = self.statuses().await;
        // As long as there are no more nodes than replicas, each has one of every shard.
        let has_all = self.plan.nodes <= REPLICAS && self.joined.is_empty();
        let hosts = |status: &v1::StatusResponse| match has_all {
            true => status.replicas.len() as u64 > self.plan.shards,
            false => !status.replicas.is_empty() || !self.joined.is_empty(),
        };
        let knows = |status: &v1::StatusResponse| {
            hosts(status) && status.replicas.iter().all(|replica| replica.leader_node != 0)
        };
        statuses.len() == self.running.len() && statuses.iter().all(knows)
    }

    /// Like [`Fleet::ready`], but false when a node could not have one of its ports.
    async fn first_ready(&mut self) -> bool {
        until("the fleet is founded", async || {
            let taken = |process: &mut Process| {
                process.ended().is_some() && process.words().contains("cannot listen on")
            };
            if self.running.values_mut().any(taken) {
                return Some(false);
            }
            self.is_ready().await.then_some(true)
        })
        .await
    }

    /// A client of its own, whose operations may take so long.
    pub async fn client(&self, deadline: Duration) -> Client {
        let endpoints: Vec<String> = self.ids().into_iter().map(|id| self.address(id)).collect();
        Client::builder(endpoints).deadline(deadline).build().await.unwrap()
    }

    /// Runs `kvctl` against this fleet, and waits for its end.
    pub async fn kvctl(&self, args: &[&str]) -> Output {
        output(self.kvctl_command(args)).await
    }

    /// `kvctl` against this fleet, not started yet.
    pub fn kvctl_command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args);
        for id in self.ids() {
            command.args(["--endpoint", &self.address(id)]);
        }
        command
    }

    /// Waits until all nodes are ready, and holds all replicas against each other: the same keys and bytes, by digest, at one
    /// index. Returns what `kvctl shard show` says of each shard.
    ///
    /// # Panics
    /// They differ.
    pub async fn converged(&mut self) -> Vec<serde_json::Value> {
        self.ready().await;
        let mut all = Vec::new();
        for shard in self.shards() {
            let shown = self.kvctl(&["shard", "show", &shard.to_string(), "--output", "json"]).await;
            let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
            let replicas = shown["replicas"].as_array().unwrap();
            assert_eq!((shown["digests"].as_str(), replicas.len()), (Some("equal"), 3), "{shown}");
            for replica in replicas {
                for field in ["digest", "digest_index", "keys", "bytes"] {
                    assert_eq!(replica[field], replicas[0][field], "{field}: {shown}");
                }
            }
            all.push(shown);
        }
        all
    }

    /// What each node said in its present run.
    pub fn words(&mut self, id: u64) -> String {
        self.process(id).words()
    }
}

/// The leader of the greatest term: an older one may not know yet that it is one no more.
fn newest_leader(statuses: &[v1::StatusResponse], shard: u64) -> Option<Leader> {
    let seen =
        statuses.iter().flat_map(|status| status.replicas.iter().map(|replica| (status.node, replica)));
    let leading = seen.filter(|(_, replica)| replica.shard == shard && replica.role() == v1::Role::Leader);
    leading.map(|(node, replica)| Leader { node, term: replica.term }).max_by_key(|leader| leader.term)
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for id in self.ids() {
            let log = std::fs::read(self.folder.path().join(format!("n{id}.log"))).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- node {id}, the last of {} lines:", lines.len());
            lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)).for_each(|line| eprintln!("{line}"));
        }
    }
}
