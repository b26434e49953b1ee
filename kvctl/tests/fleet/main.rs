//! Stories of real processes: fleets of the built binary on loopback, killed, frozen, wiped and confused, seen only through
//! their public interface (gRPC, `kvctl`, exit codes, stderr). docs/verification.md says what each story proves and how long
//! it takes.
//!
//! Reading order: `stage` (a fleet and what can be done to it), `process` (one node), `ports`, `network` (a host for each
//! node, and links to cut), `disk` (one that can be full), `patience` (how a story waits), `skips` (what it does where it
//! cannot be told), `questions` (what a node is asked directly), `ledger` (writers, and what they were promised), `logbook` and `sailors` (clients whose history
//! is recorded and judged), `router`, `tool` (`kvctl` as a process), `idler` (a node that does nothing); then the stories:
//! `kills`, `churn`, `freeze`, `partitions`, `linearizable`, `overload`, `catching_up`, `refusals`, `manners`, `pipelines`,
//! `routers`, `loads`, `moves`, `growing`, `rot`, `full`, `packages`, `encrypted`, `detour`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]

mod catching_up;
mod churn;
mod detour;
mod disk;
mod encrypted;
mod freeze;
mod full;
mod growing;
mod idler;
mod kills;
mod ledger;
mod linearizable;
mod loads;
mod logbook;
mod manners;
mod meta;
mod moves;
mod network;
mod overload;
mod packages;
mod partitions;
mod patience;
mod pipelines;
mod ports;
mod process;
mod questions;
mod refusals;
mod rot;
mod router;
mod routers;
mod sailors;
mod skips;
mod stage;
mod tool;
