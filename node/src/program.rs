//! The program as a function: a node from its configuration to its end. (`kvnode wal …` is none: see `examine/`.)
//!
//! ```text
//!   directory (locked, stamped) → listeners → founding (asks the other nodes) → threads → map → clients are served
//!   … SIGTERM → leaders move away → requests end → streams end → threads end → exit 0
//! ```

use std::ffi::OsString;
use std::process::ExitCode;

use flotilla_daemon::causes::Causes;
use flotilla_daemon::program::{Failure, run};
use tracing::error;

mod node;

pub use node::{Node, NodeError};

use crate::config::Config;
use crate::examine;
use crate::runtime::Fatal;

/// The node stopped itself because going on could lose data (`EX_IOERR`): the log could not be written.
const EXIT_FATAL: i32 = 74;

/// Runs `kvnode` with these arguments, the program's name first, until SIGTERM or Ctrl-C. Made for `main`: it takes the
/// signals and the log of the process.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if examine::is_meant(&args) {
        return examine::main(&args);
    }
    run(args, |config: Config, shutdown| async {
        Node::run(config, exit(), shutdown).await.map_err(|error| match &error {
            NodeError::Listen(wrong) => wrong.into(),
            NodeError::Tls(wrong) => Failure::Usage(wrong.to_string()),
            other => Failure::Failed(Causes(other).to_string()),
        })
    })
}

/// Ends the process at once, with one line. Nothing is tidied up: what the log has not confirmed must not be acted on.
fn exit() -> Fatal {
    Fatal::new(|reason| {
        error!(%reason, "this node stops");
        std::process::exit(EXIT_FATAL);
    })
}
