//! Fleets that the benchmark starts by itself: real processes on this machine, each fleet on fresh data and free ports.
//!
//! ```text
//! setup (what) + programs (which binaries) ─► blueprints ─► processes ─► ready ─► a place to put load on ─► killed, data deleted
//! ```
//!
//! Whoever drops a [`Fleet`] ends it: its processes are killed and waited for, its data is deleted. So an interrupted run leaves
//! nothing behind; only a benchmark that is itself killed with SIGKILL can (Flotilla's processes end by themselves even then).

pub(crate) mod etcd;
mod flotilla;
mod ports;
mod process;
mod programs;
mod readiness;
mod redis;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::processes::Server;
use crate::target::{Name, Place};

pub(crate) use process::Process;
pub(crate) use programs::{Kind, Programs};

/// How long a fleet may take until it serves.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(60);

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setup {
    /// Nodes, shards, replicas of each shard, and perhaps a router in front.
    Flotilla { nodes: u16, shards: u32, replicas: u16, router: bool },
    /// A cluster of so many members, which all hold everything.
    Etcd { nodes: u16 },
    /// One server that syncs its log before it answers, not replicated.
    Redis,
}

/// How the load enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Flotilla's SDK, straight to the leaders.
    Pipelined,
    /// Flotilla's SDK, everything through the router.
    PipelinedThroughRouter,
    /// Unary calls to any node, which forwards.
    Unary,
    /// Unary calls to the leader of the key's shard.
    UnaryToLeaders,
    /// Unary calls to the router, which forwards.
    UnaryThroughRouter,
    /// As the peer's own clients do.
    Peer,
}

impl Setup {
    /// Whose binaries it needs.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Flotilla { .. } => Kind::Flotilla,
            Self::Etcd { .. } => Kind::Etcd,
            Self::Redis => Kind::Redis,
        }
    }
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flotilla { nodes, shards, replicas, router } => {
                let router = if *router { ", a router" } else { "" };
                write!(f, "flotilla ({nodes} nodes, {shards} shards, {replicas} replicas{router})")
            }
            Self::Etcd { nodes } => write!(f, "etcd ({nodes} nodes)"),
            Self::Redis => f.write_str("redis"),
        }
    }
}

/// A running fleet.
#[derive(Debug)]
pub(crate) struct Fleet {
    setup: Setup,
    // Before the folder: processes end before their data is deleted.
    processes: Vec<Process>,
    /// Where its nodes take clients.
    nodes: Vec<String>,
    /// Where its router does.
    router: Option<String>,
    folder: TempDir,
}

impl Fleet {
    /// Starts it on fresh data under `folder`, and waits until it serves.
    pub(crate) async fn start(setup: Setup, programs: &Programs, folder: &Path) -> Result<Self, String> {
        let made = tempfile::Builder::new().prefix("kvbench-").tempdir_in(folder);
        let made = made.map_err(|error| format!("--dir {}: {error}", folder.display()))?;
        let program = programs.get(setup.kind())?;
        let plan = match setup {
            Setup::Flotilla { nodes, shards, replicas, router } => {
                flotilla::plan(program, made.path(), nodes, shards, replicas, router)
            }
            Setup::Etcd { nodes } => etcd::plan(program, made.path(), nodes),
            Setup::Redis => redis::plan(program, made.path()),
        }?;
        let mut processes = Vec::new();
        for blueprint in plan.blueprints {
            processes.push(Process::start(blueprint)?);
        }
        let mut fleet = Self { setup, processes, nodes: plan.nodes, router: plan.router, folder: made };
        fleet.ready().await?;
        if matches!(setup, Setup::Etcd { .. }) {
            let leader = etcd::leader(&fleet.nodes).await?;
            fleet.nodes.swap(0, leader);
            fleet.processes.swap(0, leader);
        }
        Ok(fleet)
    }

    /// One more node of ours joins, under the next id. Returns when it serves.
    pub(crate) async fn join(&mut self, programs: &Programs) -> Result<(), String> {
        let id = self.nodes.len() + 1;
        let program = programs.get(Kind::Flotilla)?;
        let (blueprint, client) = flotilla::joiner(program, self.folder.path(), id, &self.nodes[0])?;
        self.processes.push(Process::start(blueprint)?);
        self.nodes.push(client);
        self.ready().await
    }

    /// Waits until every process serves.
    pub(crate) async fn ready(&mut self) -> Result<(), String> {
        for at in 0..self.processes.len() {
            readiness::wait(&mut self.processes[at], START_PATIENCE).await?;
        }
        Ok(())
    }

    /// Whether everything still runs; who does not is named with its last words.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// The program that its nodes run.
    pub(crate) fn program(&self) -> Result<PathBuf, String> {
        self.processes.first().map(Process::program).ok_or_else(|| "a fleet without processes".to_owned())
    }

    /// The client addresses of the nodes. The first of etcd's led when the fleet was started.
    pub(crate) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// The process that listens at `nodes()[at]`.
    pub(crate) fn process(&mut self, at: usize) -> &mut Process {
        &mut self.processes[at]
    }

    /// Where load goes in by this door.
    pub(crate) fn place(&self, door: Door) -> Place {
        let router: Vec<String> = self.router.iter().cloned().collect();
        let (name, endpoints, through_routers) = match (self.setup, door) {
            // To the leader: what reaches another member is forwarded there, so this is etcd's shortest way.
            (Setup::Etcd { .. }, _) => (Name::Etcd, self.nodes[..1].to_vec(), false),
            (Setup::Redis, _) => (Name::Redis, self.nodes.clone(), false),
            (_, Door::Pipelined | Door::Peer) => (Name::Flotilla, self.nodes.clone(), false),
            (_, Door::PipelinedThroughRouter) => (Name::Flotilla, router, true),
            (_, Door::Unary) => (Name::FlotillaUnary, self.nodes.clone(), false),
            (_, Door::UnaryToLeaders) => (Name::FlotillaUnaryLeaders, self.nodes.clone(), false),
            (_, Door::UnaryThroughRouter) => (Name::FlotillaUnary, router, true),
        };
        let servers = self.processes.iter().map(|process| Server::of(process.id())).collect();
        Place { name, endpoints, through_routers, servers: Some(servers) }
    }
}

/// What a kind of fleet consists of.
#[derive(Debug)]
struct Blueprints {
    blueprints: Vec<process::Blueprint>,
    /// In the order of the first blueprints.
    nodes: Vec<String>,
    router: Option<String>,
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
