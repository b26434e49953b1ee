//! The flags of `kvbench limits`.

use std::path::PathBuf;

use super::seconds;
use crate::limits::Plan;

/// What this machine can do at most: tonic calls and streams that only echo, fdatasync of recycled blocks, the Raft core in one
/// thread.
///
/// Starts no servers. Prints one line of JSON per figure on stdout, a table on stderr.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// How long each is measured, in seconds
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    duration: f64,
    /// Where the page is written
    #[arg(long, value_name = "DIR", default_value = "docs/performance")]
    out: PathBuf,
    /// Only print, write no page
    #[arg(long)]
    no_page: bool,
    /// The disk that is synced [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Words that stand at the top of the page, such as "preliminary"
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// What they ask for.
pub(super) fn plan(flags: Flags) -> Result<Plan, String> {
    let duration = seconds("--duration", flags.duration)?;
    if duration.is_zero() {
        return Err("--duration 0: nothing can be measured in no time".to_owned());
    }
    Ok(Plan {
        duration,
        out: (!flags.no_page).then_some(flags.out),
        dir: super::folder(flags.dir)?,
        note: flags.note,
    })
}
