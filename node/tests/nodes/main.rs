//! Whole nodes in one process, over real gRPC on loopback.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod bank;
mod fake;
mod fleet;
mod forwards;
mod metrics;
mod pipeline;
mod ports;
mod reflection;
mod three_nodes;
