//! `kvnode wal inspect|verify DIR`: a look at the shared log of a node that does not run, without changing anything.
//!
//! What: `inspect` shows what is there (segments, frames, and what each shard was promised), `verify` says whether it is whole.
//! Both take the directory of the node (`--data-dir`).
//!
//! Why a node that runs is refused: segments are recycled while one reads, and a write under way looks like a torn one. The
//! answer would be about a state that never was. While it is looked at, a node does not start on the directory.
//!
//! What it does not do: it repairs nothing and cuts nothing, and it asks the log only. A node that starts also knows from its
//! cluster map of shards of which the log has no trace any more.

mod json;
mod look;
mod table;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use flotilla_daemon::config::refusal;
use look::{Look, Verdict};

/// Rot was found.
const EXIT_ROT: u8 = 1;
/// Wrong usage, or there is nothing that could be judged: no such directory, one that is in use, a file system that fails.
const EXIT_USAGE: u8 = 2;

/// Look at the shared log of a node that does not run. Nothing is changed.
#[derive(Clone, Debug, Parser)]
#[command(name = "kvnode wal", version = crate::VERSION_LINE, max_term_width = 110, arg_required_else_help = false)]
struct Wal {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Show what is there: segments, frames, shards, and where it is damaged
    Inspect {
        /// The directory of the node, as its --data-dir
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Show every frame
        #[arg(long)]
        frames: bool,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Say whether it is whole: exit code 0 if it is (a torn tail is no damage), 1 if something rotted, 2 for wrong usage
    Verify {
        /// The directory of the node, as its --data-dir
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs: one object
    Json,
}

/// Whether these arguments of `kvnode`, its name first, are for this.
pub(crate) fn is_meant(args: &[OsString]) -> bool {
    args.get(1).is_some_and(|arg| arg == "wal")
}

/// Does what the arguments say: its name and `wal` first.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let wal = match Wal::try_parse_from(&args[1..]) {
        Ok(wal) => wal,
        Err(wrong) => {
            if wrong.use_stderr() {
                return refuse(&refusal(&wrong));
            }
            drop(std::io::stdout().write_all(wrong.render().to_string().as_bytes()));
            return ExitCode::SUCCESS;
        }
    };
    let (directory, output) = match &wal.what {
        What::Inspect { directory, output, .. } | What::Verify { directory, output } => (directory, *output),
    };
    let look = match Look::at(directory) {
        Ok(look) => look,
        Err(failure) => return refuse(&failure),
    };
    let text = match (&wal.what, output) {
        (What::Inspect { frames, .. }, Output::Table) => table::inspected(&look, *frames),
        (What::Inspect { frames, .. }, Output::Json) => json::inspected(&look, *frames),
        (What::Verify { .. }, Output::Table) => table::verified(&look),
        (What::Verify { .. }, Output::Json) => json::verified(&look),
    };
    // A closed pipe is no failure.
    drop(std::io::stdout().write_all(text.as_bytes()));
    match (&wal.what, &look.verdict) {
        (What::Verify { .. }, Verdict::Rotten(_) | Verdict::Refused(_)) => ExitCode::from(EXIT_ROT),
        _ => ExitCode::SUCCESS,
    }
}

/// One line that says why there is no answer.
fn refuse(why: &dyn std::fmt::Display) -> ExitCode {
    drop(writeln!(std::io::stderr(), "kvnode wal: {why}"));
    ExitCode::from(EXIT_USAGE)
}
