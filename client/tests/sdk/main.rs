//! The SDK against nodes that do as they are told.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod examples;
mod fake;
mod forwarding;
mod lanes;
mod request_ids;
mod retries;
mod scans;
mod txns;
mod windows;
