//! Nodes on loopback, each with a runtime of its own, so that one can be killed without the others noticing first.
//! Everything is awaited as an event, with a deadline that only a failing test meets.

mod frames;
mod side;
mod snapshots;
mod strangers;
