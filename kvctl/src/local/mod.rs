//! A whole fleet on this machine, for `kvctl dev` and `kvctl demo`: real processes of this very program.
//!
//! ```text
//! kvctl dev ──spawns──► kvctl kvnode --while-stdin-open --id 1 …   (process group of its own, log file, data directory)
//!           ──spawns──► kvctl kvnode --while-stdin-open --id 2 …
//!           ──spawns──► kvctl kvrouter --while-stdin-open --nodes …   (the same; `kvctl dev` only)
//!                │
//!                └─ holds the only write end of each child's stdin: the lifeline
//! ```
//!
//! Ctrl-C reaches only `kvctl`, which ends its children in order. Should `kvctl` itself die, even by SIGKILL, the kernel
//! closes the lifelines, and each child ends as if by SIGTERM ([`lifeline`]). No child outlives its parent.
//!
//! What it does not do: nothing here is for production. A fleet on one disk loses all replicas at once.

pub mod directory;
pub mod fleet;
pub mod interrupt;
pub mod invocation;
pub mod lifeline;
pub mod ports;
pub mod process;
mod readiness;
pub mod shape;
