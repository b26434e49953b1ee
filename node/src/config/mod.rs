//! What a user may turn: flags, the same in the environment (`KVNODE_…`) and in a TOML file (`--config FILE`).
//!
//! A flag beats the environment, the environment beats the file, the file beats the default. Whatever is wrong is said
//! in one line that names the flag. Inside the node every value is valid: text becomes a type here and nowhere else.
//!
//! ```text
//!   flags.rs     every flag: name, unit, default, explanation
//!   layers.rs    arguments, environment and file become one set of flags
//!   checks.rs    what no flag can say alone: limits that depend on each other, what may be bound without TLS
//! ```

mod address;
mod checks;
mod flags;
mod layers;
mod logging;
mod size;

pub use address::{HostPort, HostPortError};
pub use flags::{Addresses, Config, FirstStart, InitNode, Limits, LogFormat, Logging, Memory, Timing};
pub use layers::{Parsed, parse};
pub use logging::start as start_logging;
pub use size::{Bytes, SizeError};

/// A wrong configuration: one line that names the flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
