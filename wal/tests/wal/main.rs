//! The shared log against a simulated disk. One binary: linking is what takes long.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod crash;
mod damage;
mod forged;
mod histories;
mod model;
mod names;
mod quarantine;
mod records;
mod sectors;
