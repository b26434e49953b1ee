//! What a user may turn: flags, the same in the environment and in a TOML file (`--config FILE`).
//!
//! A flag beats the environment, the environment beats the file, the file beats the default. Whatever is wrong is said
//! in one line that names the flag. A program derives its flags with clap and implements [`Settings`]; everything else
//! is here. The environment's names are made from the flags' (`--data-dir` of `kvnode`: `KVNODE_DATA_DIR`), so a flag
//! cannot be forgotten.

mod layers;
mod size;

use crate::logging::Logging;

pub use layers::{Parsed, parse, refusal};
pub use size::{Bytes, SizeError};

/// All flags of one program. It has a `--config` of its own, an `Option<PathBuf>` under the name `config`.
pub trait Settings: clap::Parser {
    /// What the names of its environment variables begin with, `_` included.
    const ENVIRONMENT: &'static str;

    /// What it says of itself, and how.
    fn logging(&self) -> &Logging;

    /// How many threads serve its sockets; `None`: as many as there are cores.
    fn threads(&self) -> Option<usize>;

    /// Checks the flags against each other.
    ///
    /// # Errors
    /// One line that names the flag which is wrong.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// A wrong configuration: one line that names the flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
