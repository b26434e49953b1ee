//! A child's side of the bond with its parent: it ends when its stdin ends.
//!
//! Why a pipe and not Linux's parent-death signal: that one fires when the parent's *thread* ends, is lost when the parent
//! dies before the child asked for it, and exists on one system only. The kernel closes a pipe in every case.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// A child that has not ended so long after it was asked to is broken: it must not stay behind alone.
const GRACE: Duration = Duration::from_secs(10);

/// The first argument of a child that is bound to its parent.
pub const FLAG: &str = "--while-stdin-open";

/// Runs a node or a router with these arguments (the first is the program's name). With [`FLAG`] in front, only as long as
/// stdin stays open.
pub fn run(args: &[OsString], main_with: impl FnOnce(Vec<OsString>) -> ExitCode) -> ExitCode {
    let [program, rest @ ..] = args else { return ExitCode::from(2) };
    let bound = rest.first().is_some_and(|first| first == FLAG);
    let rest = if bound { &rest[1..] } else { rest };
    if bound {
        std::thread::spawn(end_with_stdin);
    }
    main_with(std::iter::once(program).chain(rest).cloned().collect())
}

/// Waits until the parent is gone, then asks this process to end as any other would.
fn end_with_stdin() {
    let mut nothing = [0; 64];
    loop {
        match std::io::stdin().read(&mut nothing) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let asked = kill_process(getpid(), Signal::TERM);
    if asked.is_ok() {
        std::thread::sleep(GRACE);
    }
    std::process::exit(1);
}
