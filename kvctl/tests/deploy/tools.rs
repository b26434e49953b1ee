//! Other programs that a test needs, and what it does where they are missing.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The variable that lists what may not be missing, with commas between.
const REQUIRED: &str = "FLOTILLA_REQUIRE";

/// Says why something is not tried, past the capture of the test's output.
///
/// # Panics
/// `FLOTILLA_REQUIRE` names what is missing.
pub fn skip(what: &str, reason: &str) {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    assert!(!required.split(',').any(|name| name == what), "{REQUIRED} asks for {what}: {reason}");
    let words = format!("SKIPPED, for want of {what}: {reason}\n");
    std::io::stderr().write_all(words.as_bytes()).unwrap();
}

/// Runs a program to its end; the reason, if there is no such program.
pub fn run(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))
}

/// All that it said.
pub fn words(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
