//! A sample of worlds, each run twice; more with `kvsim --seeds N`. And the worlds that once found a bug, by name.

mod sample;

use flotilla_sim::faults::FaultKind;
use flotilla_sim::profile::Profile;
use flotilla_sim::runs::{Outcome, Plan, run};
use flotilla_sim::scenario::{DRIFT_PPM_MAX, Scenario, Topology};

/// Fewer virtual seconds than `kvsim` draws, so that a sample fits among the other tests.
fn short() -> Topology {
    Topology { seconds: Some(8), ..Topology::default() }
}

/// As it was before replicas moved: for worlds that are known by their seed.
fn resting() -> Topology {
    Topology { moves: Some(false), ..Topology::default() }
}

#[test]
fn a_sample_of_worlds_keeps_every_promise_and_is_equal_when_run_again() {
    let plan = Plan {
        from: 1,
        seeds: 24,
        jobs: 2,
        budget: None,
        topology: short(),
        twice: true,
        stop_at_failure: false,
    };
    let seen = [
        "elections won",
        "snapshots installed",
        "power cuts",
        "operations unknown",
        "log truncated",
        "reads by lease",
        "moves finished",
        "moves rolled back",
    ];
    sample::keeps_every_promise(&plan, &seen);
}

/// The power failed after the base had switched to a snapshot and before the log was reset. The next life goes on from the
/// snapshot, by the intent in its log, and acknowledges it at once: rightly, though the log's reset is not durable yet. (The
/// judge thought otherwise.)
#[test]
fn a_snapshot_in_the_base_and_announced_in_the_log_may_be_acknowledged() {
    let outcome = run(&Scenario::draw(44, &resting()), false);
    assert_eq!(outcome.failure, None);
    assert!(outcome.coverage.of("power cuts at delicate moments") > 0);
}

/// The last heartbeats of a leader came after the first beat of its node's next life, or after the word that it leads no more. They
/// bound those who might have elected another, for as long as that node beat. Found by worlds 4209, 5643 and 6534 of ten thousand.
#[test]
fn a_heartbeat_that_comes_too_late_binds_nobody() {
    for seed in [4209, 5643, 6534] {
        assert_eq!(run(&Scenario::draw(seed, &resting()), false).failure, None, "seed {seed}");
    }
}

#[test]
fn a_world_goes_on_until_enough_was_answered() {
    let scenario = Scenario { operations_min: 0, ..Scenario::draw(37, &short()) };
    let ended = run(&scenario, false);
    let more = ended.operations.0 + 100;
    let went_on = run(&Scenario { operations_min: more, ..scenario }, false);
    assert_eq!((&ended.failure, &went_on.failure), (&None, &None));
    assert!(went_on.operations.0 >= more, "{:?}, then {:?}", ended.operations, went_on.operations);
}

/// Clocks that are a hundred times worse than the nodes are told: leases are believed for too long, and that is all that breaks. The
/// judge of leases says so where it is asked.
#[test]
fn clocks_beyond_their_bound_break_leases_and_nothing_else() {
    let faults =
        vec![FaultKind::Drift, FaultKind::Isolate, FaultKind::Pause, FaultKind::Kill, FaultKind::Reset];
    let topology = Topology { profile: Some(Profile::Promises), faults: Some(faults), ..short() };
    let worlds = |beyond_the_drift| {
        let scenarios = (0..4).map(|seed| Scenario::draw(seed, &topology));
        let told_too_little = scenarios.map(|scenario| Scenario {
            clock_drift_ppm_max: DRIFT_PPM_MAX / 100,
            beyond_the_drift,
            ..scenario
        });
        told_too_little.map(|scenario| run(&scenario, false)).collect::<Vec<_>>()
    };
    let forgiven = worlds(true);
    for outcome in &forgiven {
        assert_eq!(outcome.failure, None);
    }
    let broken = |outcome: &Outcome| outcome.coverage.of("leases broken by clocks beyond the bound");
    assert!(forgiven.iter().map(broken).sum::<u64>() > 0, "no clock was as wrong as that");
    let judged = worlds(false);
    let failures: Vec<_> = judged.iter().filter_map(|outcome| outcome.failure.as_ref()).collect();
    assert!(failures.iter().any(|failure| failure.judge == "leases covered"), "{failures:?}");
}

#[test]
fn another_seed_is_another_world() {
    let digest = |seed| run(&Scenario::draw(seed, &short()), false).digest;
    assert_ne!(digest(1), digest(2));
}

#[test]
fn what_users_fix_of_a_world_is_fixed() {
    let text = "nodes = 5\nshards = 2\nfaults = [\"kill\", \"one-way\"]";
    let topology: Topology = toml::from_str(text).expect("it is right");
    topology.check().expect("it can be");
    let scenario = Scenario::draw(3, &topology);
    assert_eq!((scenario.nodes, scenario.shards, scenario.faults.len()), (5, 2, 2));
    let wrong: Topology = toml::from_str("clients = 9").expect("it is right");
    assert_eq!(wrong.check().expect_err("too many"), "clients is 9: it must be 1 to 8");
    let unknown = toml::from_str::<Topology>("faults = [\"rain\"]").expect_err("there is no such fault");
    assert!(unknown.to_string().contains("rain"), "{unknown}");
}
