//! What every server process of the house is made of, so that a node and a router read, log, listen and are watched in
//! the same way.
//!
//! ```text
//!   config     flags, environment, file → one set of values      logging   lines on stderr
//!   program    main: parse, run until SIGTERM, exit code         address   host:port, and what may be bound
//!   causes     an error and all that led to it, in one line
//!   grpc       the client address: Kv, Cluster, health, reflection
//!   metrics    what a process counts, in Prometheus' text
//!   http       the HTTP address: health, metrics, status, keys  maps     the cluster map on the wire
//!   tls        certificates: flags, handshakes, files that change
//!   table      columns for people, on a terminal or in a file
//!   trial      how a program's flags are tested from outside
//! ```
//!
//! Reading order: [`config`], [`address`], [`program`], [`grpc`]. The page `docs/architecture/daemon.md` has the drawing.
//!
//! What it does not do: it knows neither replicas nor routes. What is served is an argument.

pub mod address;
pub mod causes;
pub mod config;
pub mod grpc;
pub mod http;
mod lingering;
pub mod logging;
pub mod maps;
pub mod metrics;
pub mod program;
pub mod table;
pub mod tls;
mod together;
pub mod trial;

/// The version of every program of the house.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, or "unknown".
pub const COMMIT: &str = env!("FLOTILLA_COMMIT");
/// Both, in one line.
pub const VERSION_LINE: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("FLOTILLA_COMMIT"), ")");
