//! What can be asked for on the command line.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::load::{self, Plan};
use crate::report::Report;
use crate::target::{Name, Place};
use crate::workload::{Distribution, Mix, Workload};

/// Closed-loop load: each client asks, waits for the answer, and asks again. Prints a table on stderr and one line of JSON
/// on stdout.
#[derive(Debug, Parser)]
#[command(name = "kvbench", version, about, long_about = None)]
struct Cli {
    /// What is measured
    #[arg(long, value_enum, default_value_t = Name::Flotilla)]
    target: Name,
    /// Where it is, host:port; repeatable or separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [String::from("127.0.0.1:7501"), String::from("127.0.0.1:7502"), String::from("127.0.0.1:7503")])]
    endpoint: Vec<String>,
    /// Flotilla: the endpoints are routers, everything goes through them
    #[arg(long)]
    through_routers: bool,
    /// What is done: put, get, READS/WRITES in percent (80/20), or ycsb-a to ycsb-f
    #[arg(long, default_value = "put")]
    mix: Mix,
    /// How keys are drawn [default: uniform; zipfian for YCSB, latest for ycsb-d]
    #[arg(long, value_enum)]
    distribution: Option<Distribution>,
    /// How many keys there are before the load begins
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Length of values, in bytes
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many clients ask at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// How many connections they share (of the SDK: client instances, each with its own connections)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How long the load runs before it is measured, in seconds
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// How long it is measured, in seconds
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// Where chance begins: equal seeds draw equal operations
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The keys are there already: do not write them first
    #[arg(long)]
    no_fill: bool,
}

/// The whole program: the first argument is its name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let plan = match plan(cli) {
        Ok(plan) => plan,
        Err(reason) => return complain(&reason, 2),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.to_string(), 5),
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = load::run(&plan) => Some(outcome),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    runtime.shutdown_background();
    match outcome {
        Some(Ok(outcome)) => tell(&Report::of(&plan, &outcome)),
        Some(Err(reason)) => complain(&reason, 3),
        None => ExitCode::from(130),
    }
}

fn plan(cli: Cli) -> Result<Plan, String> {
    if cli.target == Name::Redis && cli.mix.scans() {
        return Err(format!("--mix {}: Redis has no ordered scan", cli.mix));
    }
    let seconds = |flag: &str, seconds: f64| {
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("{flag} {seconds}: not a time in seconds"))
    };
    let default = if cli.mix.latest {
        Distribution::Latest
    } else if cli.mix.to_string().starts_with("ycsb") {
        Distribution::Zipfian
    } else {
        Distribution::Uniform
    };
    Ok(Plan {
        place: Place { name: cli.target, endpoints: cli.endpoint, through_routers: cli.through_routers },
        warm_up: seconds("--warm-up", cli.warm_up)?,
        duration: seconds("--duration", cli.duration)?,
        workload: Workload {
            mix: cli.mix,
            distribution: cli.distribution.unwrap_or(default),
            keys: cli.keys,
            value_bytes: cli.value_bytes,
        },
        clients: cli.clients as usize,
        connections: cli.connections as usize,
        seed: cli.seed,
        fill: !cli.no_fill,
    })
}

fn tell(report: &Report) -> ExitCode {
    let line = serde_json::to_string(report).unwrap_or_default();
    let told = writeln!(std::io::stderr(), "{}", report.table())
        .and_then(|()| writeln!(std::io::stdout(), "{line}"));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(5) }
}

fn complain(reason: &str, code: u8) -> ExitCode {
    // Nobody reads: then nobody misses it.
    drop(writeln!(std::io::stderr(), "kvbench: {reason}"));
    ExitCode::from(code)
}
