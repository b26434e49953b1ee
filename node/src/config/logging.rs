//! Where the node's own words go: stderr, with colours only on a terminal.

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{LogFormat, Logging};

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
