//! What every server process of the house is made of, so that a node and a router read, log, listen and are watched in
//! the same way.

pub mod metrics;
