//! Where results and messages go. stdout carries only the result; messages go to stderr. The reader of stdout may leave
//! at any time (`scan | head`): that ends the command quietly.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

use crate::failure::Failure;

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For eyes: aligned tables and short lines.
    #[default]
    Table,
    /// For programs: one JSON document, or one per line for streams.
    Json,
}

/// The two outputs of a command.
pub struct Console {
    format: Format,
    terminal: bool,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
}

impl Console {
    /// The process's own stdout and stderr.
    #[must_use]
    pub fn standard(format: Format) -> Self {
        let out = io::BufWriter::with_capacity(64 * 1024, io::stdout());
        Self::new(format, io::stdout().is_terminal(), Box::new(out), Box::new(io::stderr()))
    }

    /// Any two writers; `terminal` says whether `out` is one.
    #[must_use]
    pub fn new(
        format: Format,
        terminal: bool,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        Self { format, terminal, out, err }
    }

    /// Whether the result shall be JSON.
    #[must_use]
    pub fn json_wanted(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a person reads stdout.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes a part of the result as it is.
    ///
    /// # Errors
    /// [`Failure::ClosedPipe`] when nobody reads any more; [`Failure::Internal`] when writing fails otherwise.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|error| Failure::of_stdout(&error))
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// As [`Console::bytes`].
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes one line.
    ///
    /// # Errors
    /// As [`Console::bytes`].
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.text(line)?;
        self.text("\n")
    }

    /// Writes one JSON document on a line of its own.
    ///
    /// # Errors
    /// As [`Console::bytes`].
    pub fn json(&mut self, document: &serde_json::Value) -> Result<(), Failure> {
        self.line(&document.to_string())
    }

    /// Makes what was written visible.
    ///
    /// # Errors
    /// As [`Console::bytes`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::of_stdout(&error))
    }

    /// A message for a person, on stderr.
    pub fn note(&mut self, message: &str) {
        // A stderr that cannot be written to must not change how the command ends.
        let _ = writeln!(self.err, "{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_ends_a_command_with_code_0_and_no_word() {
        let mut console = Console::new(Format::Table, false, Box::new(Closed), Box::new(io::sink()));
        let failure = console.line("x").unwrap_err();
        assert_eq!((failure.code(), failure.is_silent()), (0, true));
    }
}
