//! `kvbench`: closed-loop load on a fleet of Flotilla and on its peers, measured in the same way.
//!
//! A number of clients each ask, wait for the answer, and ask again; what they ask is drawn from a mix of operations over
//! a set of keys. Latencies go into HDR histograms, and the CPU time of the servers is read from the kernel before and
//! after, so that a figure says what an operation costs, not only how many there were.
//!
//! Reading order: `cli` (what can be asked for), `workload` (what is done), `target` (to whom), `load` (the loop),
//! `recorder` and `processes` (what is measured), `report` (what is printed).
//!
//! What it does not do: open-loop load (a fixed rate, whatever the answers); a closed loop hides how long a queue would grow.

mod cli;
mod load;
mod processes;
mod recorder;
mod report;
mod target;
mod workload;

pub use cli::main_with;
