//! What a user may turn: flags, the same in the environment (`KVROUTER_…`) and in a TOML file (`--config FILE`).
//!
//! A flag beats the environment, the environment beats the file, the file beats the default. Whatever is wrong is said in
//! one line that names the flag. `flags.rs` has every flag, `layers.rs` makes one set of them, `address.rs` decides what may
//! be bound.

mod address;
mod flags;
mod layers;

pub use address::HostPort;
pub use flags::{Config, LogFormat};
pub use layers::{Parsed, parse};

/// A wrong configuration: one line that names the flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
