//! kvsim: whole fleets in one thread, under one seed and virtual time.
//!
//! **What.** The production raft core, log, state machine and node host, and the SDK's dispatch and retry, run as a fleet
//! of nodes and clients whose network, disks, clocks and power are simulated. Faults come from the seed; after every step
//! the [`judges`] look at everything; at the end the faults stop, and everything must be well. A failing seed fails again,
//! exactly, for ever.
//!
//! **Why.** Consensus and recovery go wrong in orders of events that no test of real processes meets twice. Here a fleet
//! lives half a minute in a fraction of a second, thousands of times, and every disk is seen from inside.
//!
//! **What it does not do.** No threads, no sockets, no file systems: those are tried by the process tests. The base is the
//! in-memory one, not fjall. A new kind of event is one variant of [`event::Event`] or [`faults::FaultKind`], and one room.
//!
//! Reading order: [`scenario`] (what a seed stands for), [`world`] (the loop), [`faults`], [`clients`], [`judges`],
//! [`runs`] (many seeds), [`shrink`].

pub mod chance;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod coverage;
pub mod event;
pub mod faults;
mod interrupt;
pub mod judges;
pub mod leaving;
pub mod network;
pub mod node;
pub mod page;
pub mod profile;
pub mod rounds;
pub mod runs;
pub mod scenario;
pub mod script;
pub mod shrink;
pub mod stories;
pub mod summary;
pub mod supporters;
pub mod trace;
pub mod world;
