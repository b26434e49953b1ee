//! `kvrouter`: one address for a whole fleet, for clients that do not route by themselves.
//!
//! It is the SDK (`flotilla-client`) behind the services of a node. It keeps nothing on disk, decides nothing about routes
//! and retries (the SDK does), and any number of routers may stand side by side.
//!
//! ```text
//!   client ── gRPC ──▶ kv, cluster ──▶ door (who asks, how long may it take) ──▶ SDK ──▶ the shard's leader
//!                          ▲                                                      ▲
//!              statuses (what an error of the SDK says on the wire)      fleet (finds the map and the leaders)
//! ```
//!
//! Reading order: `config`, `fleet`, `door`, `room`, `verbs`, `kv`, `pipeline`, `cluster`, `statuses`, `metrics`, `http`, `program`.
//!
//! What it does not do: TLS, metrics, the `/v1` HTTP interface, watching the map for others. It answers for no node:
//! `Status` and `ShardStatus` are asked of nodes.

mod cluster;
pub mod config;
mod door;
mod fleet;
mod http;
mod kv;
mod metrics;
mod pipeline;
mod program;
mod room;
pub mod statuses;
mod verbs;

pub use flotilla_daemon::VERSION_LINE;
pub use program::{Router, RouterError, main_with};
