//! The flags of `kvbench failover`.

use std::path::PathBuf;

use crate::failover::{Blow, Plan};
use crate::fleet::{Kind, Programs};

/// How long writes stop when the leader dies: 3 nodes of Flotilla, then 3 of etcd, under the same writes and retries.
///
/// SIGKILL of the node that leads most, again and again; or another signal. Prints one line of JSON each time and per target on
/// stdout, every gap on stderr.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// By which signal the leader is struck, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kill")]
    blows: Vec<Blow>,
    /// How often, of each target and by each signal
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
    /// Only these (redis has no failover), separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "flotilla,etcd")]
    targets: Vec<Kind>,
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
    if flags.targets.contains(&Kind::Redis) {
        return Err("--targets redis: one server has nobody to fail over to".to_owned());
    }
    flags.programs.check()?;
    Ok(Plan {
        targets: flags.targets,
        kills: flags.kills,
        blows: flags.blows,
        out: (!flags.no_page).then_some(flags.out),
        dir: super::folder(flags.dir)?,
        note: flags.note,
        programs: flags.programs,
    })
}
