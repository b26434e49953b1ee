//! What can be asked for on the command line.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::runs::{Failure, Plan, Summary, many, run};
use crate::scenario::{Scenario, Topology};
use crate::shrink::shrink;
use crate::{interrupt, page, summary};

/// How often the line of progress is drawn anew in a terminal …
const BAR_INTERVAL: Duration = Duration::from_millis(200);
/// … and written where there is none.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Whole fleets under one seed and virtual time, with faults and judges. Exit code 0: every promise was kept; 1: one was
/// broken; 2: wrong usage; 130: interrupted, and all promises were kept until then.
#[derive(Debug, Parser)]
#[command(name = "kvsim", version, about, long_about = None)]
struct Cli {
    /// Replays the world of this seed
    #[arg(long, conflicts_with_all = ["seeds", "from", "twice"])]
    seed: Option<u64>,
    /// With --seed: prints every line of its story, not only the last ones of a failure
    #[arg(long, requires = "seed")]
    trace: bool,
    /// How many worlds to run
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// On how many threads [default: as many as there are processors]
    #[arg(long)]
    jobs: Option<usize>,
    /// No world begins later than this after the first: 600s, 10m [default: no limit]
    #[arg(long, value_parser = duration)]
    budget: Option<Duration>,
    /// A TOML file that fixes some of: nodes, shards, replicas, clients, crowds, seconds, profile, faults
    #[arg(long)]
    topology: Option<PathBuf>,
    /// Runs each world twice: the two must be equal, step by step
    #[arg(long)]
    twice: bool,
    /// Goes on after a failure
    #[arg(long)]
    keep_going: bool,
    /// Reports a failure as it was found, without looking for a smaller one
    #[arg(long)]
    no_shrink: bool,
    /// Writes the figures into this page, between its <!-- worlds --> and <!-- /worlds -->
    #[arg(long, conflicts_with = "seed")]
    page: Option<PathBuf>,
    /// Prints the summary as one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// The whole program: the first argument is its name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let topology = match topology(&cli) {
        Ok(topology) => topology,
        Err(reason) => {
            say(&format!("kvsim: {reason}"));
            return ExitCode::from(2);
        }
    };
    match cli.seed {
        Some(seed) => replay(&cli, seed, &topology),
        None => run_many(&cli, topology),
    }
}

fn replay(cli: &Cli, seed: u64, topology: &Topology) -> ExitCode {
    let scenario = Scenario::draw(seed, topology);
    say(&scenario.describe());
    let outcome = run(&scenario, cli.trace);
    outcome.lines.iter().for_each(|line| print(line));
    let (answered, not_executed, unknown) = outcome.operations;
    print(&format!(
        "digest {:016x}, {} turns, {:.1} s, {answered} answered, {not_executed} not executed, {unknown} unknown, {} terms led",
        outcome.digest,
        outcome.turns,
        outcome.virtual_us as f64 / 1e6,
        outcome.terms_led,
    ));
    match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            report(cli, scenario, failure);
            ExitCode::from(1)
        }
    }
}

fn run_many(cli: &Cli, topology: Topology) -> ExitCode {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let plan = Plan {
        from: cli.from,
        seeds: cli.seeds,
        jobs: cli.jobs.unwrap_or(processors),
        budget: cli.budget,
        topology,
        twice: cli.twice,
        stop_at_failure: !cli.keep_going,
    };
    let interrupted = match interrupt::listen() {
        Ok(interrupted) => interrupted,
        Err(error) => {
            say(&format!("kvsim: cannot listen to signals: {error}"));
            return ExitCode::from(2);
        }
    };
    let is_terminal = std::io::stderr().is_terminal();
    let (lead, interval) = if is_terminal { ("\r\x1b[K", BAR_INTERVAL) } else { ("", LINE_INTERVAL) };
    say(&format!("{} worlds from seed {} on {} threads; Ctrl-C ends it", plan.seeds, plan.from, plan.jobs));
    let mut told = Instant::now();
    let summary = many(&plan, &interrupted, |summary| {
        if told.elapsed() > interval {
            told = Instant::now();
            // The bar is gone with its terminal.
            let end = if is_terminal { "" } else { "\n" };
            let _ = write!(std::io::stderr(), "{lead}{}{end}", summary::line(summary, plan.seeds));
        }
    });
    if is_terminal {
        say("");
    }
    conclude(cli, &plan, &summary, interrupted.load(Ordering::Relaxed))
}

fn conclude(cli: &Cli, plan: &Plan, summary: &Summary, interrupted: bool) -> ExitCode {
    if cli.json {
        print(&summary::json(summary).to_string());
        say(&summary::text(summary));
    } else {
        print(&summary::text(summary));
    }
    if let Some(path) = cli.page.as_ref().filter(|_| !interrupted)
        && let Err(error) = page::write(path, summary, plan.jobs)
    {
        say(&format!("kvsim: --page {}: {error}", path.display()));
        return ExitCode::from(2);
    }
    for failure in &summary.failures {
        say(&format!("seed {}: {}: {}", failure.seed, failure.judge, failure.what));
    }
    match summary.failures.first() {
        None if interrupted => {
            say("interrupted");
            ExitCode::from(130)
        }
        None => ExitCode::SUCCESS,
        Some(first) => {
            report(cli, Scenario::draw(first.seed, &plan.topology), first.clone());
            ExitCode::from(1)
        }
    }
}

/// Tells a failure, as small as it can be made.
fn report(cli: &Cli, scenario: Scenario, failure: Failure) {
    say(&format!("FAILED  {}", scenario.describe()));
    say(&format!("judge   {}", failure.judge));
    let (scenario, failure) = if cli.no_shrink {
        (scenario, failure)
    } else {
        say("looking for a smaller world that fails in the same way …");
        shrink(scenario, failure, |candidate, fails| {
            if fails {
                say(&format!("  still fails: {}", candidate.describe()));
            }
        })
    };
    failure.last.iter().for_each(|line| say(line));
    say(&format!("{}: {}", failure.judge, failure.what));
    say(&format!("replay it: kvsim --seed {} --trace", scenario.seed));
}

fn topology(cli: &Cli) -> Result<Topology, String> {
    let Some(path) = &cli.topology else { return Ok(Topology::default()) };
    let wrong = |reason: String| format!("--topology {}: {}", path.display(), reason.trim_end());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let topology: Topology = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    topology.check().map_err(wrong)?;
    Ok(topology)
}

/// `600s`, `10m`, `90`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no time: 600s or 10m"))?;
    Ok(Duration::from_secs(number * unit))
}

fn say(line: &str) {
    // Nobody reads: then nobody misses it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn print(line: &str) {
    // A closed pipe ends the reading, not the run.
    let _ = writeln!(std::io::stdout(), "{line}");
}
