//! A sample of worlds: none may fail, and together they must have seen what they are for.

use std::sync::atomic::AtomicBool;

use flotilla_sim::runs::{Plan, many};
use flotilla_sim::summary;

/// Runs the worlds of the plan. A sample that saw nothing proves nothing: each of these must have happened in some world.
pub fn keeps_every_promise(plan: &Plan, seen: &[&str]) {
    let summary = many(plan, &AtomicBool::new(false), |_| {});
    println!("{}", summary::text(&summary));
    for failure in &summary.failures {
        eprintln!("{}", failure.last.join("\n"));
        eprintln!("seed {}: {}: {}", failure.seed, failure.judge, failure.what);
    }
    assert!(summary.failures.is_empty(), "{} worlds failed", summary.failures.len());
    assert_eq!(summary.worlds, plan.seeds);
    for what in seen {
        assert!(summary.coverage.of(what) > 0, "no world has seen this: {what}");
    }
}
