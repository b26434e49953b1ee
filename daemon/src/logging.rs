//! Where a process' own words go: stderr, with colours only on a terminal.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What the process says of itself, on stderr.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct Logging {
    /// error, warn, info, debug or trace; also by module: info,flotilla_daemon=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: tracing_subscriber::filter::Targets,
    /// Lines for people, or one JSON object per line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Starts the log of the process. A process that has one already keeps it.
pub fn start(logging: &Logging) {
    let filter = logging.log_level.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let installed = match logging.log_format {
        LogFormat::Text => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal());
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
        }
    };
    // Several nodes in one process (tests) share the first one's log.
    drop(installed);
}
