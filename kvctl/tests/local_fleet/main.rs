//! `kvctl dev` with real processes, and what a user does with it: the verbs, the README's commands, the SDK's examples.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod dev;
mod examples;
mod life;
mod readme;
mod transactions;
