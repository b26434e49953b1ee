//! The frame of `main`: arguments become a configuration, the process serves until it is told to end, and its exit code
//! says how that went.
//!
//! What it does not do: the order in which a process starts and ends its parts is its own.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::info;

use crate::address::ListenError;
use crate::config::{Parsed, Settings, parse};
use crate::logging;

/// A wrong flag.
const EXIT_USAGE: u8 = 2;
/// The process could not start, or could not go on serving.
const EXIT_FAILED: u8 = 1;
/// How long tasks may take to end after everything else has.
const TASKS_PATIENCE: Duration = Duration::from_millis(500);

/// Ends when the process shall.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a process ends with another code than 0: one line for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A flag is wrong.
    #[error("{0}")]
    Usage(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<&ListenError> for Failure {
    fn from(error: &ListenError) -> Self {
        match error {
            ListenError::Insecure { .. } | ListenError::Resolve { .. } => Self::Usage(error.to_string()),
            ListenError::Bind { .. } => Self::Failed(error.to_string()),
        }
    }
}

/// How many processors this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a program with these arguments, its name first, until SIGTERM or Ctrl-C. Made for `main`: it takes the signals
/// and the log of the process.
pub fn run<S: Settings, F: Future<Output = Result<(), Failure>>>(
    args: impl IntoIterator<Item = OsString>,
    serve: impl FnOnce(S, Shutdown) -> F,
) -> ExitCode {
    let name = S::command().get_name().to_owned();
    let settings: S = match parse(args) {
        Ok(Parsed::Run(settings)) => *settings,
        Ok(Parsed::Print(text)) => {
            // A closed pipe (`kvnode --help | head -1`) is no failure.
            drop(std::io::stdout().write_all(text.as_bytes()));
            return ExitCode::SUCCESS;
        }
        Err(wrong) => return complain(&name, &Failure::Usage(wrong.to_string())),
    };
    logging::start(settings.logging());
    let failed = |error: std::io::Error| complain(&name, &Failure::Failed(error.to_string()));
    let threads = settings.threads().unwrap_or_else(cores);
    let mut builder = Builder::new_multi_thread();
    let runtime = match builder.worker_threads(threads).enable_all().thread_name("edge").build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(error),
    };
    let ended = runtime.block_on(async {
        let shutdown = termination().map_err(|error| Failure::Failed(error.to_string()))?;
        Box::pin(serve(settings, shutdown)).await
    });
    runtime.shutdown_timeout(TASKS_PATIENCE);
    ended.map_or_else(|failure| complain(&name, &failure), |()| ExitCode::SUCCESS)
}

/// Ends with the first SIGTERM or SIGINT.
fn termination() -> std::io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let started = Instant::now();
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => info!(uptime = ?started.elapsed(), "SIGTERM: shutting down"),
            _ = interrupt.recv() => info!(uptime = ?started.elapsed(), "interrupt: shutting down"),
        }
    }))
}

fn complain(name: &str, failure: &Failure) -> ExitCode {
    drop(writeln!(std::io::stderr(), "{name}: {failure}"));
    match failure {
        Failure::Usage(_) => ExitCode::from(EXIT_USAGE),
        Failure::Failed(_) => ExitCode::from(EXIT_FAILED),
    }
}
