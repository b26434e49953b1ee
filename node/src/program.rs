//! The program as a function: a node from its configuration to its end.
//!
//! ```text
//!   directory (locked, stamped) → listeners → founding (asks the other nodes) → threads → map → clients are served
//!   … SIGTERM → leaders move away → requests end → streams end → threads end → exit 0
//! ```

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

mod node;

pub use node::{Node, NodeError};

use crate::config::{Parsed, parse, start_logging};
use crate::runtime::Fatal;

/// A wrong flag.
const EXIT_USAGE: u8 = 2;
/// The node could not start, or could not go on serving.
const EXIT_FAILED: u8 = 1;
/// The node stopped itself because going on could lose data (`EX_IOERR`): the log could not be written.
const EXIT_FATAL: i32 = 74;
/// How long tasks may take to end after everything else has.
const TASKS_PATIENCE: Duration = Duration::from_millis(500);

/// Runs `kvnode` with these arguments, the program's name first, until SIGTERM or Ctrl-C. Made for `main`: it takes the
/// signals and the log of the process.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let config = match parse(args) {
        Ok(Parsed::Run(config)) => config,
        Ok(Parsed::Print(text)) => return print(&text),
        Err(wrong) => return complain(&wrong.to_string(), EXIT_USAGE),
    };
    start_logging(&config.logging);
    let runtime = match Builder::new_multi_thread().enable_all().thread_name("edge").build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start threads: {error}"), EXIT_FAILED),
    };
    let ended = runtime.block_on(async {
        let shutdown = termination()?;
        Box::pin(Node::run(*config, exit(), shutdown)).await
    });
    runtime.shutdown_timeout(TASKS_PATIENCE);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong @ (NodeError::Insecure { .. } | NodeError::Resolve { .. })) => {
            complain(&wrong.to_string(), EXIT_USAGE)
        }
        Err(failure) => complain(&failure.to_string(), EXIT_FAILED),
    }
}

/// Ends the process at once, with one line. Nothing is tidied up: what the log has not confirmed must not be acted on.
fn exit() -> Fatal {
    Fatal::new(|reason| {
        error!(%reason, "this node stops");
        std::process::exit(EXIT_FATAL);
    })
}

/// Ends with the first SIGTERM or SIGINT.
fn termination() -> Result<impl Future<Output = ()> + Send, NodeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let asked = Instant::now();
        tokio::select! {
            _ = terminate.recv() => info!(uptime = ?asked.elapsed(), "SIGTERM: shutting down"),
            _ = interrupt.recv() => info!(uptime = ?asked.elapsed(), "interrupt: shutting down"),
        }
    })
}

fn print(text: &str) -> ExitCode {
    // A closed pipe (`kvnode --help | head -1`) is no failure.
    drop(std::io::stdout().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

fn complain(line: &str, code: u8) -> ExitCode {
    drop(writeln!(std::io::stderr(), "kvnode: {line}"));
    ExitCode::from(code)
}
