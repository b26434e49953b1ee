//! One node of a Flotilla fleet: the process `kvnode`.
//!
//! The house has two halves. [`host`] is a synchronous, deterministic state machine: many replicas, one log, no clock,
//! no disk, no network. Everything else drives it:
//!
//! ```text
//!   api         what clients ask: Kv, Cluster, health, reflection, /healthz and /readyz
//!   runtime     threads, queues, clocks; the cluster map's keeper
//!   transport   node to node
//!   storage     the data directory
//!   bootstrap   how a fleet begins, and how a node joins it
//!   controller  the next step of a move of a replica, as a pure function
//!   moves       carries the steps out, and what other nodes ask for it
//!   metrics     what is counted, and how it is shown
//!   config      flags, environment, file
//!   examine     `kvnode wal`: a look at the log of a node that does not run
//! ```
//!
//! Reading order: `host/mod.rs`, `host/boundary.rs`, `runtime/mod.rs`, `runtime/start.rs`, `api/front.rs`. The page
//! `docs/architecture/node.md` has the drawing.
//!
//! [`main_with`] is the whole program as a function, so that another program (`kvctl dev`) can be a node too.

pub mod api;
pub mod bootstrap;
pub mod config;
pub mod controller;
mod examine;
pub mod host;
pub mod metrics;
pub mod moves;
pub mod runtime;
pub mod storage;
pub mod transport;

mod program;

pub use program::{Node, NodeError, main_with};

pub use flotilla_daemon::{COMMIT, VERSION, VERSION_LINE};
