//! What a user may turn: flags, the same in the environment (`KVROUTER_…`) and in a TOML file (`--config FILE`).
//!
//! A flag beats the environment, the environment beats the file, the file beats the default (`flotilla_daemon::config` sees
//! to that). `flags.rs` has every flag.

mod flags;

use std::ffi::OsString;

use flotilla_daemon::config::{ConfigError, Settings};
use flotilla_daemon::logging::Logging;
use flotilla_proto::limits::{BATCH_BYTES_MAX, MESSAGE_BYTES_MAX};

pub use flags::Config;

/// What the arguments asked for.
pub type Parsed = flotilla_daemon::config::Parsed<Config>;

/// Reads arguments (the program's name first), environment and file.
///
/// # Errors
///
/// One line that names what is wrong.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, ConfigError> {
    flotilla_daemon::config::parse(args)
}

impl Settings for Config {
    const ENVIRONMENT: &'static str = "KVROUTER_";

    fn logging(&self) -> &Logging {
        &self.logging
    }

    fn threads(&self) -> Option<usize> {
        self.threads.map(usize::from)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.tls.files()?;
        let (bytes_max, least) = (self.inflight_bytes_max.0, 2 * MESSAGE_BYTES_MAX as u64);
        if bytes_max < least {
            let text = format!("--inflight-bytes-max: {bytes_max} bytes are less than two messages, {least}");
            return Err(ConfigError(text));
        }
        let (value_max, most) = (self.value_bytes_max.0, BATCH_BYTES_MAX as u64);
        if value_max > most {
            let text = format!("--value-bytes-max: {value_max} bytes are more than a message holds, {most}");
            return Err(ConfigError(text));
        }
        Ok(())
    }
}
