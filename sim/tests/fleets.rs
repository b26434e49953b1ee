//! Fleets that grow, shrink and are evened while much goes wrong; and the worlds of that kind that once found a bug, by name.

mod sample;

use flotilla_sim::faults::FaultKind;
use flotilla_sim::runs::Plan;
use flotilla_sim::scenario::Topology;

/// Worlds in which all of it is on, and some faults that hit nodes.
#[test]
fn nodes_join_and_leave_whatever_else_goes_wrong() {
    use FaultKind as Kind;
    let faults = vec![
        Kind::Isolate,
        Kind::Pause,
        Kind::Kill,
        Kind::PowerCut,
        Kind::Move,
        Kind::Drain,
        Kind::Join,
        Kind::Remove,
        Kind::Lose,
        Kind::Rebalance,
    ];
    let topology =
        Topology { seconds: Some(20), moves: Some(true), faults: Some(faults), ..Topology::default() };
    let plan =
        Plan { from: 1, seeds: 8, jobs: 2, budget: None, topology, twice: false, stop_at_failure: false };
    let seen = [
        "nodes joined",
        "nodes that joined and started",
        "nodes drained",
        "nodes removed",
        "nodes removed by force",
        "joins under an id that is known",
        "rebalances carried out",
        "moves begun by a rebalance",
    ];
    sample::keeps_every_promise(&plan, &seen);
}
