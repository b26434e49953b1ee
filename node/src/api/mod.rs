//! What clients ask of a node: gRPC on the client address, a little HTTP beside it.
//!
//! One verb per file. Reading order: `front.rs` (the way of a request), `gate.rs` (bytes become types), `get.rs`,
//! `put.rs`, `delete.rs`, `compare_and_swap.rs`, `txn.rs`, `pipeline/` (all of these, by thousands), `scan.rs` with
//! `cursor.rs`; `cluster.rs` with `maps.rs`,
//! `node_status.rs`, `transfer_leader.rs`; `answers.rs` and `refusals.rs` (the words of the wire), `backends.rs`
//! (connections for what is forwarded), `http.rs`.
//!
//! What it does not do: it holds no data and decides nothing about it. Whether a shard owns a key is checked by the
//! shard itself.

mod answers;
mod backends;
mod cluster;
mod compare_and_swap;
mod cursor;
mod delete;
mod front;
mod gate;
mod get;
mod http;
mod kv;
mod maps;
mod moves;
mod node_status;
mod nodes;
mod pipeline;
mod put;
pub mod refusals;
mod scan;
mod transfer_leader;
mod txn;

pub use cluster::ClusterService;
pub use front::Front;
pub use gate::request_id;
pub use http::{Face, Readiness};
pub use kv::KvService;
pub use node_status::{NodeStatus, encode_replica};
pub(crate) use node_status::{encode_quarantine, resting};
pub use pipeline::{Results, examine};
pub use scan::{Pages, examine_scan};
