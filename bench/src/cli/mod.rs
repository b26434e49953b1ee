//! What can be asked for on the command line.

mod compare;
mod failover;
mod interrupt;
mod limits;
mod load;
mod moving;

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::report::Report;

/// Closed-loop load: each client asks, waits for the answer, and asks again. Prints a table on stderr and one line of JSON
/// on stdout.
///
/// The verbs start fleets by themselves: see `kvbench compare --help`.
#[derive(Debug, Parser)]
#[command(name = "kvbench", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    load: load::Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Compare(compare::Flags),
    Failover(failover::Flags),
    Limits(limits::Flags),
    Moving(moving::Flags),
}

/// The whole program: the first argument is its name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            error.exit()
        }
        Err(error) => return complain(&one_line(&error), 2),
    };
    match cli.verb {
        None => match load::plan(cli.load) {
            Ok(plan) => {
                drive(async { print(&crate::load::run(&plan).await.map(|it| Report::of(&plan, &it))?) })
            }
            Err(reason) => complain(&reason, 2),
        },
        Some(Verb::Compare(flags)) => begin(compare::plan(flags), crate::compare::run),
        Some(Verb::Failover(flags)) => begin(failover::plan(flags), crate::failover::run),
        Some(Verb::Limits(flags)) => begin(limits::plan(flags), crate::limits::run),
        Some(Verb::Moving(flags)) => begin(moving::plan(flags), crate::moving::run),
    }
}

/// Refuses what cannot be done, does what can.
fn begin<P, F: Future<Output = Result<(), String>>>(plan: Result<P, String>, run: fn(P) -> F) -> ExitCode {
    match plan {
        Ok(plan) => drive(run(plan)),
        Err(reason) => complain(&reason, 2),
    }
}

/// Runs one of the verbs, until its end or until it is interrupted; then what it holds is dropped, its servers included.
fn drive(verb: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.to_string(), 5),
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = verb => Some(done),
            () = interrupt::wait() => None,
        }
    });
    runtime.shutdown_background();
    match done {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(reason)) => complain(&reason, 3),
        None => ExitCode::from(130),
    }
}

fn print(report: &Report) -> Result<(), String> {
    let line = serde_json::to_string(report).map_err(|error| error.to_string())?;
    let told = writeln!(std::io::stderr(), "{}", report.table())
        .and_then(|()| writeln!(std::io::stdout(), "{line}"));
    told.map_err(|error| error.to_string())
}

fn complain(reason: &str, code: u8) -> ExitCode {
    // Nobody reads: then nobody misses it.
    drop(writeln!(std::io::stderr(), "kvbench: {reason}"));
    ExitCode::from(code)
}

/// What clap says up to its first empty line, which begins the general advice.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let words = text.lines().take_while(|line| !line.trim().is_empty()).flat_map(str::split_whitespace);
    let line = words.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// A time that a flag gives in seconds.
fn seconds(flag: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{flag} {seconds}: not a time in seconds"))
}

/// Where data is kept: what `--dir` names, or the directory for temporary files.
fn folder(given: Option<PathBuf>) -> Result<PathBuf, String> {
    let folder = given.unwrap_or_else(std::env::temp_dir);
    if folder.is_dir() { Ok(folder) } else { Err(format!("--dir {}: no such directory", folder.display())) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_value_is_told_in_one_line_that_names_the_flag() {
        let told = |words: &[&str]| {
            let error = Cli::try_parse_from([&["kvbench"], words].concat()).unwrap_err();
            one_line(&error)
        };
        for (words, flag) in [
            (&["--clients", "0"][..], "--clients"),
            (&["--mix", "80/30"], "--mix"),
            (&["--target", "oracle"], "--target"),
            (&["compare", "puts", "--rounds", "0"], "--rounds"),
            (&["compare", "puts", "--targets", "oracle"], "--targets"),
            (&["compare", "--connections", "x"], "--connections"),
            (&["failover", "--kills", "0"], "--kills"),
            (&["limits", "--duration", "x"], "--duration"),
        ] {
            let line = told(words);
            assert!(line.contains(flag) && !line.contains('\n'), "{words:?}: {line}");
        }
    }

    #[test]
    fn what_the_parser_cannot_see_is_refused_with_the_flag() {
        let refused = |words: &[&str]| {
            let cli = Cli::try_parse_from([&["kvbench"], words].concat()).unwrap();
            match cli.verb {
                None => load::plan(cli.load).unwrap_err(),
                Some(Verb::Compare(flags)) => compare::plan(flags).err().unwrap(),
                Some(Verb::Failover(flags)) => failover::plan(flags).err().unwrap(),
                Some(Verb::Limits(flags)) => limits::plan(flags).err().unwrap(),
                Some(Verb::Moving(flags)) => moving::plan(flags).err().unwrap(),
            }
        };
        for (words, beginning) in [
            (&["--warm-up=-1"][..], "--warm-up -1: "),
            (&["--target", "redis", "--mix", "ycsb-e"], "--mix ycsb-e: "),
            (&["compare", "--duration", "0"], "--duration 0: "),
            (&["compare", "--budget", "1"], "--budget 1: "),
            (&["compare", "--kvctl", "/nowhere/kvctl"], "--kvctl /nowhere/kvctl: "),
            (&["compare", "--dir", "/nowhere/dir"], "--dir /nowhere/dir: "),
            (&["failover", "--targets", "redis"], "--targets redis: "),
            (&["limits", "--duration", "0"], "--duration 0: "),
            (&["moving", "--kvctl", "/nowhere/kvctl"], "--kvctl /nowhere/kvctl: "),
        ] {
            let line = refused(words);
            assert!(line.starts_with(beginning) && !line.contains('\n'), "{words:?}: {line}");
        }
    }
}
