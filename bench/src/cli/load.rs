//! The flags of a single load.

use super::seconds;
use crate::load::Plan;
use crate::target::{Name, Place};
use crate::workload::{Distribution, Mix, Workload};

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
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

/// What they ask for.
pub(super) fn plan(flags: Flags) -> Result<Plan, String> {
    if flags.target == Name::Redis && flags.mix.scans() {
        return Err(format!("--mix {}: Redis has no ordered scan", flags.mix));
    }
    let default = if flags.mix.latest {
        Distribution::Latest
    } else if flags.mix.to_string().starts_with("ycsb") {
        Distribution::Zipfian
    } else {
        Distribution::Uniform
    };
    Ok(Plan {
        place: Place {
            name: flags.target,
            endpoints: flags.endpoint,
            through_routers: flags.through_routers,
            servers: None,
        },
        warm_up: seconds("--warm-up", flags.warm_up)?,
        duration: seconds("--duration", flags.duration)?,
        workload: Workload {
            mix: flags.mix,
            distribution: flags.distribution.unwrap_or(default),
            keys: flags.keys,
            value_bytes: flags.value_bytes,
        },
        clients: flags.clients as usize,
        connections: flags.connections as usize,
        seed: flags.seed,
        fill: !flags.no_fill,
    })
}
