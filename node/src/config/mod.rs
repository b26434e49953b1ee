//! What a user may turn: flags, the same in the environment (`KVNODE_…`) and in a TOML file (`--config FILE`).
//!
//! A flag beats the environment, the environment beats the file, the file beats the default. Whatever is wrong is said
//! in one line that names the flag (`flotilla_daemon::config` sees to that). Inside the node every value is valid: text becomes a type here and nowhere else.
//!
//! ```text
//!   flags.rs     every flag: name, unit, default, explanation
//!   checks.rs    what no flag can say alone: limits that depend on each other
//! ```

mod checks;
mod flags;

use std::ffi::OsString;

use flotilla_daemon::config::Settings;
use flotilla_daemon::logging::Logging;

pub use flags::{Addresses, Config, FirstStart, InitNode, Limits, Memory, Timing};
pub use flotilla_daemon::address::HostPort;
pub use flotilla_daemon::config::{Bytes, ConfigError};

/// What the arguments asked for.
pub type Parsed = flotilla_daemon::config::Parsed<Config>;

/// Reads arguments (the program's name first), environment and file.
///
/// # Errors
/// One line that names what is wrong.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, ConfigError> {
    flotilla_daemon::config::parse(args)
}

impl Settings for Config {
    const ENVIRONMENT: &'static str = "KVNODE_";

    fn logging(&self) -> &Logging {
        &self.logging
    }

    fn threads(&self) -> Option<usize> {
        self.memory.threads.map(usize::from)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.check_limits()?;
        self.check_timing()?;
        self.addresses.tls.files()?;
        self.check_first_start()
    }
}
