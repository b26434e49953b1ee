//! The flags of `kvbench compare`.

use std::path::PathBuf;

use super::seconds;
use crate::compare::schedule::Times;
use crate::compare::suite::{Scale, Suite};
use crate::compare::{Load, Plan};
use crate::fleet::{Kind, Programs};

/// Flotilla beside etcd and Redis: starts a fleet of each by itself, one after the other, puts the same load on all of them
/// in several rounds, and writes tables and plots of medians and spreads.
///
/// Only one fleet runs at a time, each time on fresh data that is filled before it is measured. Prints one line of JSON per
/// measurement and per median on stdout, progress on stderr. A target whose binary is missing is left out, with the reason.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// What is compared
    #[arg(value_enum, default_value_t = Suite::All)]
    suite: Suite,
    /// Only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "flotilla,etcd,redis")]
    targets: Vec<Kind>,
    /// How often everything is measured [default: 3; with --quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long each measurement is warmed up, in seconds [default: 0.75; with --quick: 0.2]
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<f64>,
    /// How long each measurement lasts, in seconds [default: 3; with --quick: 0.5]
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// How long all of it may take, in seconds: measurements become shorter when they would not fit [default: no limit]
    #[arg(long, value_name = "SECONDS")]
    budget: Option<f64>,
    /// A smoke test: few clients, small fleets, one short round. Its figures say nothing
    #[arg(long)]
    quick: bool,
    /// How many keys each fleet is filled with [default: 10000; with --quick: 500]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// Length of values, in bytes
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many connections the clients share (of the SDK: client instances)
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Where chance begins: equal seeds draw equal operations
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where tables and plots are written [default: docs/performance; with --quick: nowhere]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the servers keep their data; the disk that is measured [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Words that stand at the top of every page, such as "preliminary"
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    programs: Programs,
}

/// What they ask for.
pub(super) fn plan(flags: Flags) -> Result<Plan, String> {
    let quick = flags.quick;
    let or = |given: Option<f64>, usual: f64, short: f64| given.unwrap_or(if quick { short } else { usual });
    let times = Times {
        warm_up: seconds("--warm-up", or(flags.warm_up, 0.75, 0.2))?,
        duration: seconds("--duration", or(flags.duration, 3.0, 0.5))?,
        budget: flags.budget.map(|budget| seconds("--budget", budget)).transpose()?,
        rounds: flags.rounds.unwrap_or(if quick { 1 } else { 3 }),
    };
    if times.duration.is_zero() {
        return Err("--duration 0: nothing can be measured in no time".to_owned());
    }
    flags.programs.check()?;
    let dir = super::folder(flags.dir)?;
    let scale = if quick { Scale::Quick } else { Scale::Full };
    let plan = Plan {
        panels: flags.suite.panels(scale),
        targets: flags.targets,
        times,
        load: Load {
            keys: flags.keys.unwrap_or(if quick { 500 } else { 10_000 }),
            value_bytes: flags.value_bytes,
            connections: flags.connections,
            seed: flags.seed,
        },
        out: flags.out.or_else(|| (!quick).then(|| PathBuf::from("docs/performance"))),
        dir,
        note: flags.note,
        programs: flags.programs,
    };
    plan.check()?;
    Ok(plan)
}
