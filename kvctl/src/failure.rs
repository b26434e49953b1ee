//! How a command ends when it does not end well, and the exit code that says so to scripts.

use std::io;

use flotilla_proto::status::definite;

/// Everything but success. The text is one line for stderr: what failed, where, and what may help.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A proper answer, and it is no: there is no such key, or a comparison failed.
    #[error("{0}")]
    Negative(String),
    /// The command line, the environment, the settings file or an argument is wrong.
    #[error("{0}")]
    Usage(String),
    /// Refused or unavailable: surely not executed.
    #[error("{0}")]
    Refused(String),
    /// It may have been executed.
    #[error("{0}")]
    Unknown(String),
    /// The tool, the machine, or the fleet is broken.
    #[error("{0}")]
    Internal(String),
    /// Ctrl-C, or a signal to end.
    #[error("interrupted")]
    Interrupted,
    /// The reader of stdout has had enough (`scan | head`). Not worth a word.
    #[error("stdout was closed")]
    ClosedPipe,
}

/// What a request does to the fleet. It decides what a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: a lost answer leaves nothing behind.
    Read,
    /// Something: a lost answer leaves it open whether it happened.
    Write,
}

impl Failure {
    /// The exit code, as the table in `docs/getting-started.md` has it.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Negative(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Unknown(_) => 4,
            Self::Internal(_) => 5,
            Self::Interrupted => 130,
        }
    }

    /// Whether it deserves a line on stderr.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        matches!(self, Self::ClosedPipe | Self::Interrupted)
    }

    /// A request whose outcome is open: that matters only if it does something.
    #[must_use]
    pub fn open(effect: Effect, text: String) -> Self {
        match effect {
            Effect::Read => Self::Refused(text),
            Effect::Write => Self::Unknown(text),
        }
    }

    /// What a node's or router's status means. `endpoint` is who answered.
    #[must_use]
    pub fn of_status(endpoint: &str, effect: Effect, status: &tonic::Status) -> Self {
        let said = match status.message() {
            "" => status.code().description().to_string(),
            message => one_line(message),
        };
        let text = format!("{endpoint}: {said}");
        match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::NotFound => Self::Usage(text),
            tonic::Code::Internal | tonic::Code::DataLoss => Self::Internal(text),
            _ if definite(status) => Self::Refused(text),
            _ if effect == Effect::Read => Self::Refused(text),
            _ => Self::Unknown(format!("{text} (unknown whether executed)")),
        }
    }

    /// A failed write to stdout.
    #[must_use]
    pub fn of_stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Internal(format!("cannot write to stdout: {error}")),
        }
    }
}

/// A text without line breaks: what a peer says must not break "one line on stderr".
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_the_exit_code_of_the_contract() {
        let codes = [
            (Failure::ClosedPipe, 0),
            (Failure::Negative(String::new()), 1),
            (Failure::Usage(String::new()), 2),
            (Failure::Refused(String::new()), 3),
            (Failure::Unknown(String::new()), 4),
            (Failure::Internal(String::new()), 5),
            (Failure::Interrupted, 130),
        ];
        for (failure, code) in codes {
            assert_eq!(failure.code(), code, "{failure:?}");
        }
    }

    #[test]
    fn a_lost_answer_is_open_for_a_write_and_harmless_for_a_read() {
        let status = tonic::Status::unavailable("connection reset");
        assert_eq!(Failure::of_status("a:1", Effect::Write, &status).code(), 4);
        assert_eq!(Failure::of_status("a:1", Effect::Read, &status).code(), 3);
    }

    #[test]
    fn a_wrong_argument_is_the_users() {
        let status = tonic::Status::invalid_argument("key: longer than 4096 bytes");
        let failure = Failure::of_status("a:1", Effect::Write, &status);
        assert_eq!(failure, Failure::Usage("a:1: key: longer than 4096 bytes".to_string()));
    }

    #[test]
    fn what_a_peer_says_stays_on_one_line() {
        assert_eq!(one_line("a\n  b\tc"), "a b c");
    }
}
