//! Every flag of `kvnode`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser};
use flotilla_daemon::address::{HostPort, HostPortError};
use flotilla_daemon::config::Bytes;
use flotilla_daemon::logging::Logging;
use flotilla_daemon::program::cores;
use flotilla_daemon::tls::TlsFlags;
use flotilla_topology::NodeId;

/// One node of a Flotilla fleet: it hosts replicas of many shards, each a Raft group of its own.
///
/// Every flag can also stand in a TOML file (`--config FILE`, the flag's name without the dashes in front) and in the
/// environment (`KVNODE_` and the name in capitals, with `_`). A flag beats the environment, which beats the file.
///
/// `kvnode wal inspect DIR` and `kvnode wal verify DIR` look at the log of a node that does not run.
#[derive(Clone, Debug, Parser)]
#[command(name = "kvnode", version = crate::VERSION_LINE, max_term_width = 110)]
pub struct Config {
    /// A TOML file with any of these flags
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The id of this node: a number from 1, never reused in a fleet
    #[arg(long, value_name = "NUMBER", value_parser = node_id)]
    pub id: NodeId,
    /// The directory of everything that this node keeps; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where it listens.
    #[command(flatten)]
    pub addresses: Addresses,
    /// How it begins.
    #[command(flatten)]
    pub first_start: FirstStart,
    /// What clients may send.
    #[command(flatten)]
    pub limits: Limits,
    /// How fast it notices.
    #[command(flatten)]
    pub timing: Timing,
    /// Threads, queues, memory.
    #[command(flatten)]
    pub memory: Memory,
    /// Its log.
    #[command(flatten)]
    pub logging: Logging,
}

/// Where the node listens, and what it tells others of that.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Addresses")]
pub struct Addresses {
    /// Where clients are served (gRPC)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7501")]
    pub client_addr: HostPort,
    /// Where other nodes are served
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7601")]
    pub peer_addr: HostPort,
    /// Where keys, status, metrics, /healthz and /readyz are served (HTTP)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7701")]
    pub http_addr: HostPort,
    /// The client address that others are told, where it is not the one that is bound (containers, NAT)
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_client_addr: Option<HostPort>,
    /// The peer address that others are told, where it is not the one that is bound (containers, NAT)
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_peer_addr: Option<HostPort>,
    /// Serve addresses that are not loopback although nothing is encrypted and nobody is asked who they are
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub insecure: bool,
    /// Who it is.
    #[command(flatten)]
    pub tls: TlsFlags,
}

/// How a node with an empty directory comes into a fleet. A directory that belongs to one ignores all of it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "First start")]
pub struct FirstStart {
    /// Begin a new fleet of these nodes: ID=PEER_ADDR, separated by commas, this node among them; the same on all
    #[arg(long, value_name = "ID=HOST:PORT,…", value_delimiter = ',')]
    pub init: Vec<InitNode>,
    /// Join a running fleet: the client address of any member
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "init")]
    pub join: Option<HostPort>,
    /// How many shards a new fleet begins with, beside the meta shard
    #[arg(long, value_name = "COUNT", default_value_t = 8,
          value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub shards: u32,
    /// How many replicas each shard of a new fleet has
    #[arg(long, value_name = "COUNT", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=9))]
    pub replicas: u32,
}

/// The largest of what a client may send.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// The longest key, in bytes
    #[arg(long, value_name = "BYTES", default_value = "4KiB")]
    pub key_bytes_max: Bytes,
    /// The longest value, in bytes
    #[arg(long, value_name = "BYTES", default_value = "1MiB")]
    pub value_bytes_max: Bytes,
    /// The largest batch of operations that becomes one entry of a shard's log, in bytes
    #[arg(long, value_name = "BYTES", default_value = "4MiB")]
    pub batch_bytes_max: Bytes,
    /// How far in the future of a shard's clock the deadline of a write may lie, in ms
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    pub deadline_max_ms: u64,
}

/// How fast the node finds out that another is gone.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Timing")]
pub struct Timing {
    /// A follower that hears nothing starts an election after at least this, in ms
    #[arg(long, value_name = "MS", default_value_t = 150,
          value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub election_timeout_min_ms: u64,
    /// … and after at most this, in ms
    #[arg(long, value_name = "MS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(11..=120_000))]
    pub election_timeout_max_ms: u64,
    /// A leader that has nothing to send says so after this, in ms
    #[arg(long, value_name = "MS", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(1..=30_000))]
    pub heartbeat_interval_ms: u64,
    /// How often nodes tell each other that they live, in ms: one message per pair of nodes, for all shards
    #[arg(long, value_name = "MS", default_value_t = 25,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub beat_interval_ms: u64,
    /// A shard of which nobody wants anything for this long sleeps, in ms: it sends nothing and owns no timer, the beats of its
    /// nodes speak for it. 0: never
    #[arg(long, value_name = "MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub idle_after_ms: u64,
    /// How long a node promises at each beat to vote for nobody but the leaders that it follows, in ms; they answer reads alone
    /// meanwhile. 0: every batch of reads asks the others
    #[arg(long, value_name = "MS", default_value_t = 90,
          value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub support_ms: u64,
    /// A node that has been silent for this long is taken for dead, in ms: its replicas are replaced on other nodes, where there are
    /// some without one and a majority is up. What the nodes that may lead the meta shard are told counts. 0: never
    #[arg(long, value_name = "MS", default_value_t = 600_000,
          value_parser = clap::value_parser!(u64).range(0..=604_800_000))]
    pub repair_after_ms: u64,
    /// By how much any node's clock may run too fast or too slow, in millionths
    #[arg(long, value_name = "PPM", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(0..=500_000))]
    pub clock_drift_ppm_max: u32,
    /// How long requests in flight and leaderships may take to end after SIGTERM, in ms
    #[arg(long, value_name = "MS", default_value_t = 8_000,
          value_parser = clap::value_parser!(u64).range(0..=9_000))]
    pub shutdown_timeout_ms: u64,
}

/// Threads, queues and memory.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Threads and memory")]
pub struct Memory {
    /// How many threads serve sockets and do the work of the shards; default: as many as there are cores. Fewer where
    /// several nodes share a machine: threads that take turns on one processor only cost
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Into how many workers the shards are divided, each of which does one thing at a time; default: as many as threads,
    /// at most 2
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,
    /// How many threads read what is not in memory
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub readers: u16,
    /// How many reads may wait for these threads; beyond that they are refused
    #[arg(long, value_name = "COUNT", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub reads_queued_max: u32,
    /// How many bytes of client requests may wait for each worker; beyond that they are refused
    #[arg(long, value_name = "BYTES", default_value = "32MiB")]
    pub inbox_bytes_max: Bytes,
    /// How many bytes of other nodes' messages may wait for each worker; beyond that they are dropped
    #[arg(long, value_name = "BYTES", default_value = "64MiB")]
    pub peer_inbox_bytes_max: Bytes,
    /// How many bytes of writes may be on their way from proposal to answer, for each shard; beyond that they are refused
    #[arg(long, value_name = "BYTES", default_value = "32MiB")]
    pub proposed_bytes_max: Bytes,
    /// How many bytes of writes that are not yet in the base the node may hold; beyond that writes are refused
    #[arg(long, value_name = "BYTES", default_value = "256MiB")]
    pub overlay_bytes_max: Bytes,
    /// A shard's writes go to the base when they are this many bytes …
    #[arg(long, value_name = "BYTES", default_value = "16MiB")]
    pub flush_bytes: Bytes,
    /// … or when the oldest is this old, in ms
    #[arg(long, value_name = "MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub flush_interval_ms: u64,
    /// How many bytes of each shard's log are kept for followers that lag, although the base has their effect
    #[arg(long, value_name = "BYTES", default_value = "4MiB")]
    pub log_retain_bytes: Bytes,
    /// How many bytes of snapshots leave this node in a second, all together: about half of a gigabit link, so that moves leave
    /// room for appends. 0: as many as go
    #[arg(long, value_name = "BYTES", default_value = "64MiB")]
    pub snapshot_bytes_per_second: Bytes,
    /// How many snapshots this node sends at once, and how many it takes in; further ones wait
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub snapshots_max: u16,
    /// How many bytes of the base are cached in memory
    #[arg(long, value_name = "BYTES", default_value = "64MiB")]
    pub base_cache_bytes: Bytes,
}

/// One member of `--init`: `ID=PEER_ADDR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitNode {
    /// The node.
    pub node: NodeId,
    /// Its peer address.
    pub peer_addr: HostPort,
}

impl FromStr for InitNode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, address) = text.split_once('=').ok_or("expected ID=HOST:PORT")?;
        let peer_addr = address.parse().map_err(|error: HostPortError| error.to_string())?;
        Ok(Self { node: node_id(id)?, peer_addr })
    }
}

/// A node's id: not 0, which stands for "no node" on the wire.
fn node_id(text: &str) -> Result<NodeId, String> {
    match text.parse::<u64>() {
        Ok(0) | Err(_) => Err("expected a number from 1".to_string()),
        Ok(id) => Ok(NodeId(id)),
    }
}

impl Addresses {
    /// The client address that others are told.
    #[must_use]
    pub fn advertised_client(&self) -> &HostPort {
        self.advertise_client_addr.as_ref().unwrap_or(&self.client_addr)
    }

    /// The peer address that others are told.
    #[must_use]
    pub fn advertised_peer(&self) -> &HostPort {
        self.advertise_peer_addr.as_ref().unwrap_or(&self.peer_addr)
    }

    /// The HTTP address that others are told: the advertised client host, where one was given, with the HTTP port.
    #[must_use]
    pub fn advertised_http(&self) -> String {
        let bound = self.http_addr.as_str();
        match (&self.advertise_client_addr, bound.rsplit_once(':')) {
            (Some(client), Some((_, port))) => format!("{}:{port}", client.host()),
            _ => bound.to_string(),
        }
    }
}

impl Memory {
    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        let threads = || self.threads.map_or_else(cores, usize::from);
        self.workers.map_or_else(|| threads().min(2), usize::from)
    }
}
