//! What a router does, over a fleet of fake nodes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod forwarding;
mod pipelines;
mod stage;
mod watching;
