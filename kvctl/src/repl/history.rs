//! The lines of earlier times. They hold what was typed, values of `put` included, as a shell's history does: the file is
//! readable by its owner alone, a line that begins with a blank is not kept, and all of it can be turned off.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use crate::failure::one_line;
use crate::local::directory;
use crate::repl::assistant::Assistant;

/// How many lines are kept.
pub const LINES_MAX: usize = 1_000;

/// A longer line is not kept: a value that was pasted, not something to be typed again.
const LINE_BYTES_MAX: usize = 16 << 10;

/// The editor of lines, with its memory.
pub type LineEditor = Editor<Assistant, FileHistory>;

/// Where lines are kept, if they are.
#[derive(Debug)]
pub struct History {
    file: Option<PathBuf>,
}

impl History {
    /// Keeps nothing beyond this run.
    #[must_use]
    pub const fn off() -> Self {
        Self { file: None }
    }

    /// Reads the lines of earlier times into the editor.
    ///
    /// # Errors
    /// Why they are not kept, on one line.
    pub fn open(editor: &mut LineEditor) -> Result<Self, String> {
        let folder = directory::state().ok_or("the history is not kept: HOME is not set")?;
        let path = folder.join("kvctl-history");
        let broken = |error: &dyn std::fmt::Display| {
            format!("the history is not kept: {}: {}", path.display(), one_line(&error.to_string()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| broken(&error))?;
        match editor.load_history(&path) {
            Ok(()) => {}
            Err(ReadlineError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(broken(&error)),
        }
        Ok(Self { file: Some(path) })
    }

    /// Takes note of a line, at once: whatever ends this process, the line is there the next time.
    ///
    /// # Errors
    /// Why it was not kept, on one line. It is not tried again.
    pub fn keep(&mut self, editor: &mut LineEditor, line: &str) -> Result<(), String> {
        if line.len() > LINE_BYTES_MAX {
            return Ok(());
        }
        let added = editor.add_history_entry(line).unwrap_or(false);
        let Some(file) = self.file.take_if(|_| added) else { return Ok(()) };
        if let Err(error) = editor.append_history(&file) {
            let error = one_line(&error.to_string());
            return Err(format!("the history is not kept: {}: {error}", file.display()));
        }
        self.file = Some(file);
        Ok(())
    }
}

/// How lines are edited.
#[must_use]
pub fn config() -> Config {
    let builder = Config::builder().max_history_size(LINES_MAX).and_then(|it| it.history_ignore_dups(true));
    // Neither can fail: it only speaks of memory.
    let builder = builder.unwrap_or_default();
    builder.history_ignore_space(true).auto_add_history(false).build()
}
