//! How an operation can fail. A failed comparison and a missing key are results, not errors.

use std::time::Duration;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request is wrong and will always be. Surely not executed.
    #[error("invalid {field}: {message}")]
    Invalid {
        /// What is wrong: a field of the request, or an option. May be empty.
        field: String,
        /// Why.
        message: String,
    },
    /// Refused or unavailable: every attempt was surely not executed, and none ever will be.
    #[error("not executed: {message}")]
    NotExecuted {
        /// Not worth trying again sooner, where someone said so.
        retry_after: Option<Duration>,
        /// What came of the last attempt.
        message: String,
    },
    /// It may have been executed, or may yet be: at least one attempt was lost.
    #[error("unknown whether executed: {message}")]
    Unknown {
        /// What came of the last attempt.
        message: String,
    },
}

impl Error {
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), message: message.into() }
    }

    pub(crate) fn not_executed(message: impl Into<String>) -> Self {
        Self::NotExecuted { retry_after: None, message: message.into() }
    }
}
