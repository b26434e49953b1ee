//! `kvbench`: closed-loop load on a fleet of Flotilla and on its peers, measured in the same way.
//!
//! A number of clients each ask, wait for the answer, and ask again; what they ask is drawn from a mix of operations over
//! a set of keys. Latencies go into HDR histograms, and the CPU time of the servers is read from the kernel before and
//! after, so that a figure says what an operation costs, not only how many there were.
//!
//! Reading order: `cli` (what can be asked for), `workload` (what is done), `target` (to whom), `load` (the loop),
//! `recorder` and `processes` (what is measured), `report` (what is printed). Then what starts servers by itself: `fleet`,
//! `compare` (targets side by side, with `plot` and `machine` for its pages), `failover` (the gap when a leader dies), `limits`
//! (what the parts alone can do).
//!
//! What it does not do: open-loop load (a fixed rate, whatever the answers); a closed loop hides how long a queue would grow.

mod cli;
mod compare;
mod failover;
mod fleet;
mod limits;
mod load;
mod machine;
mod moving;
mod plot;
mod processes;
mod recorder;
mod report;
mod target;
mod workload;

pub use cli::main_with;
