//! A cluster of replicas on simulated disks. Every event is explicit: nothing is delivered, made durable or
//! applied unless a test says so.
#![allow(dead_code)] // Two test binaries share it; each uses a part.

pub mod judge;
pub mod notation;
pub mod promises;
pub mod replica;
pub mod stage;
