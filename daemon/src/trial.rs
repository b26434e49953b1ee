//! How a program's flags are tested from outside: it is run as a user runs it, in an environment of nothing.
//!
//! For tests only, and public because they stand in other packages. What it does not do: it knows no program's flags.

use std::path::Path;
use std::process::{Command, Output};

/// This program, to be run in this directory without any environment.
#[must_use]
pub fn bare(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(directory);
    command
}

/// Runs it to its end.
///
/// # Panics
/// It cannot be run.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"))
}

/// Runs it and expects exit code 2, nothing on stdout, and one line on stderr that holds all of these words.
///
/// # Panics
/// It is not refused so.
#[track_caller]
pub fn refused(command: &mut Command, words: &[&str]) {
    let output = run(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    assert!(output.stdout.is_empty(), "stdout is for results");
    for word in words {
        assert!(stderr.contains(word), "{stderr:?} does not say {word:?}");
    }
}

/// What it prints on stdout when it is run with one argument, which it must accept.
///
/// # Panics
/// It fails.
#[track_caller]
pub fn printed(mut command: Command, argument: &str) -> String {
    let output = run(command.arg(argument));
    assert!(output.status.success(), "{argument}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
