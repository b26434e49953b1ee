//! One world, run to its end or to the first broken promise; and many of them, side by side.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::coverage::Coverage;
use crate::faults::FaultKind;
use crate::judges::Violation;
use crate::scenario::{Scenario, Topology};
use crate::world::World;

/// What came of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What it was about.
    pub profile: &'static str,
    /// How many nodes, and how many replicas of each shard.
    pub shape: String,
    /// The number that stands for all of its steps: equal for equal runs.
    pub digest: u64,
    /// How many turns there were.
    pub turns: u64,
    /// How much virtual time passed, in microseconds.
    pub virtual_us: u64,
    /// How many operations were answered, surely not executed, and neither.
    pub operations: (usize, usize, usize),
    /// In how many terms somebody led.
    pub terms_led: usize,
    /// The faults that happened.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What it has seen.
    pub coverage: Coverage,
    /// The broken promise, if there is one.
    pub failure: Option<Failure>,
    /// All lines, if they were asked for.
    pub lines: Vec<String>,
}

/// A broken promise, with what led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Who says so; `assertion`: the product itself.
    pub judge: String,
    /// What was seen.
    pub what: String,
    /// The last steps.
    pub last: Vec<String>,
}

thread_local! {
    /// Where the last panic of this thread came from.
    static CAME_FROM: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics are caught and reported here, not printed.
fn quiet() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        set_hook(Box::new(|panic| {
            let place =
                panic.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
            CAME_FROM.with(|from| *from.borrow_mut() = place);
        }));
    });
}

/// Lets a world go on until it ends or a promise is broken.
pub fn guarded(world: &mut World, act: impl FnOnce(&mut World)) -> Option<Failure> {
    quiet();
    let ended = catch_unwind(AssertUnwindSafe(|| act(world)));
    let last = world.trace.lines().map(str::to_owned).collect();
    ended.err().map(|panic| {
        let (judge, what) = told(panic.as_ref());
        Failure { seed: world.scenario.seed, judge, what, last }
    })
}

/// Runs a world. `all_lines`: keeps every line, not only the last ones.
#[must_use]
pub fn run(scenario: &Scenario, all_lines: bool) -> Outcome {
    let mut world = World::new(scenario.clone());
    world.trace.all = all_lines;
    let failure = guarded(&mut world, World::run);
    let lines: Vec<String> = world.trace.lines().map(str::to_owned).collect();
    Outcome {
        seed: scenario.seed,
        profile: scenario.profile.name(),
        shape: format!(
            "{} nodes with {} replicas{}",
            scenario.nodes,
            scenario.replicas,
            if scenario.moves { " that move" } else { "" }
        ),
        digest: world.trace.digest(),
        turns: world.trace.steps(),
        virtual_us: world.now_us,
        operations: world.history.outcomes(),
        terms_led: world.judges.replicas.terms_led(),
        faults: world.faults_made(),
        coverage: world.coverage.clone(),
        failure,
        lines: if all_lines { lines } else { Vec::new() },
    }
}

fn told(panic: &(dyn Any + Send)) -> (String, String) {
    if let Some(violation) = panic.downcast_ref::<Violation>() {
        return (violation.judge.to_owned(), violation.what.clone());
    }
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    let from = CAME_FROM.with(|from| from.borrow().clone());
    ("assertion".to_owned(), format!("{text}{from}"))
}

/// Which worlds to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// On how many threads.
    pub jobs: usize,
    /// No world begins later than this after the first.
    pub budget: Option<Duration>,
    /// What is fixed of all of them.
    pub topology: Topology,
    /// Runs each twice and holds the two against each other.
    pub twice: bool,
    /// Stops at the first failure.
    pub stop_at_failure: bool,
}

/// What came of many worlds.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many were run.
    pub worlds: u64,
    /// Virtual time, in microseconds.
    pub virtual_us: u64,
    /// Turns of workers.
    pub turns: u64,
    /// Operations answered.
    pub answered: u64,
    /// Operations surely not executed.
    pub not_executed: u64,
    /// Operations of which nobody knows.
    pub unknown: u64,
    /// Terms in which somebody led.
    pub terms_led: u64,
    /// Operations answered, world by world.
    pub answered_each: Vec<u64>,
    /// Kinds of faults, world by world.
    pub kinds_each: Vec<u64>,
    /// Faults, world by world.
    pub faults_each: Vec<u64>,
    /// Terms in which somebody led, world by world.
    pub terms_each: Vec<u64>,
    /// Seconds of virtual time, world by world.
    pub seconds_each: Vec<u64>,
    /// How many worlds there were of each shape.
    pub shapes: BTreeMap<String, u64>,
    /// How many worlds there were of each profile.
    pub profiles: BTreeMap<&'static str, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What was seen.
    pub coverage: Coverage,
    /// What failed.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
}

impl Summary {
    fn take(&mut self, outcome: Outcome) {
        let (answered, not_executed, unknown) = outcome.operations;
        self.worlds += 1;
        self.virtual_us += outcome.virtual_us;
        self.turns += outcome.turns;
        self.answered += answered as u64;
        self.not_executed += not_executed as u64;
        self.unknown += unknown as u64;
        self.terms_led += outcome.terms_led as u64;
        self.answered_each.push(answered as u64);
        self.kinds_each.push(outcome.faults.len() as u64);
        self.faults_each.push(outcome.faults.values().sum());
        self.terms_each.push(outcome.terms_led as u64);
        self.seconds_each.push(outcome.virtual_us / 1_000_000);
        *self.shapes.entry(outcome.shape).or_default() += 1;
        *self.profiles.entry(outcome.profile).or_default() += 1;
        for (kind, times) in outcome.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        self.coverage.merge(&outcome.coverage);
        self.failures.extend(outcome.failure);
    }
}

/// Runs many worlds. `progress` hears of each. Once `interrupted` is set, none begins.
pub fn many(plan: &Plan, interrupted: &AtomicBool, mut progress: impl FnMut(&Summary)) -> Summary {
    let (began, next, stop) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
    let mut summary = Summary::default();
    let (sender, receiver) = mpsc::sync_channel(plan.jobs * 2);
    thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && !interrupted.load(Ordering::Relaxed)
                    && plan.budget.is_none_or(|budget| began.elapsed() < budget)
                {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= plan.seeds || sender.send(one(plan, plan.from + number)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in receiver {
            let failed = outcome.failure.is_some();
            summary.take(outcome);
            summary.took = began.elapsed();
            progress(&summary);
            if failed && plan.stop_at_failure {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    summary.took = began.elapsed();
    summary
}

fn one(plan: &Plan, seed: u64) -> Outcome {
    let scenario = Scenario::draw(seed, &plan.topology);
    let mut outcome = run(&scenario, false);
    if plan.twice && outcome.failure.is_none() {
        let again = run(&scenario, false);
        if again != outcome {
            let what = format!("two runs differ: {:x} and {:x}", outcome.digest, again.digest);
            outcome.failure = Some(Failure { seed, judge: "determinism".to_owned(), what, last: Vec::new() });
        }
    }
    outcome
}
