//! A sample of worlds: none may fail, and together they must have seen what they are for.

use std::sync::atomic::AtomicBool;

use flotilla_sim::runs::{Failure, Plan, many};
use flotilla_sim::summary;

/// Runs the worlds of the plan. A sample that saw nothing proves nothing: each of these must have happened in some world.
pub fn keeps_every_promise(plan: &Plan, seen: &[&str]) {
    let summary = many(plan, &AtomicBool::new(false), |_| {});
    let figures = summary::text(&summary);
    let story = |it: &Failure| format!("{}\nseed {}: {}: {}", it.last.join("\n"), it.seed, it.judge, it.what);
    let stories: Vec<String> = summary.failures.iter().map(story).collect();
    assert!(stories.is_empty(), "{figures}{}\n{} worlds failed", stories.join("\n"), stories.len());
    assert_eq!(summary.worlds, plan.seeds);
    for what in seen {
        assert!(summary.coverage.of(what) > 0, "no world has seen this: {what}\n{figures}");
    }
}
