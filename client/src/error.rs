//! How an operation can fail. A failed comparison and a missing key are results, not errors.

use std::time::Duration;

/// Why there is no result. Every operation was tried until its deadline where trying could help, so a caller needs no loop of its
/// own around it; what is left to decide is whether it may have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request is wrong and will always be. Surely not executed.
    ///
    /// What to do: mend the request; the same one will fail again.
    #[error("invalid {field}: {message}")]
    Invalid {
        /// What is wrong: a field of the request, or an option. May be empty.
        field: String,
        /// Why.
        message: String,
    },
    /// Refused or unavailable: every attempt was surely not executed, and none ever will be.
    ///
    /// What to do: nothing happened, so the same call may be made again, not sooner than `retry_after`. If it keeps coming, the
    /// fleet is down or overloaded, or nobody leads the shard.
    #[error("not executed: {message}")]
    NotExecuted {
        /// Not worth trying again sooner, where someone said so.
        retry_after: Option<Duration>,
        /// What came of the last attempt.
        message: String,
    },
    /// It may have been executed, or may yet be: at least one attempt was lost. Only writes end so.
    ///
    /// What to do: a second call is a second write, with an id of its own. Where that does no harm (a put of the same value, with
    /// nobody else writing), make it; else read first and decide, or write by `compare_and_swap` or `txn` from the start, whose
    /// comparison fails if the first one was executed after all.
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
