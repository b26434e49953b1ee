//! The flags of `kvbench moving`.

use std::path::PathBuf;

use super::seconds;
use crate::fleet::Programs;
use crate::moving::Plan;

/// What clients notice while a fleet of 3 nodes grows to 5, every shard moves, nodes are killed, drained and replaced.
///
/// Prints one line of JSON per stage and per move on stdout.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// How many shards there are
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=1000))]
    shards: u32,
    /// How many clients ask at the same time; half of what they do are writes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// How many keys there are
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Length of values, in bytes
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How long the stages before and after are, in seconds
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// Where the page is written
    #[arg(long, value_name = "DIR", default_value = "docs/performance")]
    out: PathBuf,
    /// Only print, write no page
    #[arg(long)]
    no_page: bool,
    /// Where the servers keep their data [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Words that stand at the top of the page, such as "preliminary"
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    programs: Programs,
}

/// What they ask for.
pub(super) fn plan(flags: Flags) -> Result<Plan, String> {
    flags.programs.check()?;
    Ok(Plan {
        shards: flags.shards,
        clients: flags.clients as usize,
        keys: flags.keys,
        value_bytes: flags.value_bytes,
        quiet: seconds("--duration", flags.duration)?,
        out: (!flags.no_page).then_some(flags.out),
        dir: super::folder(flags.dir)?,
        note: flags.note,
        programs: flags.programs,
    })
}
