//! Every flag of `kvrouter`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser};
use flotilla_daemon::address::HostPort;
use flotilla_daemon::config::Bytes;
use flotilla_daemon::logging::Logging;
use flotilla_daemon::tls::TlsFlags;

/// A stateless door to a Flotilla fleet: forwards each request to the leader of its shard, and asks again where it can.
///
/// Every flag can also stand in a TOML file (`--config FILE`, the flag's name without the dashes in front) and in the
/// environment (`KVROUTER_` and the name in capitals, with `_`). A flag beats the environment, which beats the file.
#[derive(Clone, Debug, Parser)]
#[command(name = "kvrouter", version = crate::VERSION_LINE, max_term_width = 110)]
pub struct Config {
    /// A TOML file with any of these flags
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Client addresses of nodes of the fleet, separated by commas; one that is up suffices to find the others
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', required = true)]
    pub nodes: Vec<HostPort>,
    /// Where clients are served (gRPC)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    pub client_addr: HostPort,
    /// Where keys, status, metrics, /healthz and /readyz are served (HTTP)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7480")]
    pub http_addr: HostPort,
    /// Serve addresses that are not loopback although nothing is encrypted and nobody is asked who they are
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub insecure: bool,
    /// Who it is.
    #[command(flatten)]
    pub tls: TlsFlags,
    /// How long a request may take with all its attempts, in ms; a client that waits for less gets less
    #[arg(long, value_name = "MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(10..=45_000))]
    pub deadline_ms: u64,
    /// How long one attempt may take before another node is asked, in ms
    #[arg(long, value_name = "MS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(10..=45_000))]
    pub attempt_timeout_ms: u64,
    /// How long connecting to a node may take, in ms
    #[arg(long, value_name = "MS", default_value_t = 500,
          value_parser = clap::value_parser!(u64).range(10..=45_000))]
    pub connect_timeout_ms: u64,
    /// How often the nodes are asked who leads, in ms
    #[arg(long, value_name = "MS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub survey_interval_ms: u64,
    /// How many bytes of requests may be under way at once; beyond that they are refused, surely not executed
    #[arg(long, value_name = "BYTES", default_value = "128MiB")]
    pub inflight_bytes_max: Bytes,
    /// How many bytes of one pipeline's operations may be under way before more is read of it
    #[arg(long, value_name = "BYTES", default_value = "16MiB")]
    pub stream_bytes_max: Bytes,
    /// The longest value that is taken over HTTP, in bytes; a node may refuse shorter ones
    #[arg(long, value_name = "BYTES", default_value = "1MiB")]
    pub value_bytes_max: Bytes,
    /// How many threads serve sockets; default: as many as there are cores
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Its log.
    #[command(flatten)]
    pub logging: Logging,
}

impl Config {
    /// How long a request may take with all its attempts.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// How often the nodes are asked who leads.
    #[must_use]
    pub const fn survey_interval(&self) -> Duration {
        Duration::from_millis(self.survey_interval_ms)
    }
}
