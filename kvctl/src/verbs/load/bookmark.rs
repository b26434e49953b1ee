//! How far the load of a file has come, in a small file beside it, so that the same command goes on after an interruption of
//! any kind, SIGKILL and power cuts included.
//!
//! It is written before the first record is sent, once a second, and at an interruption; it is removed when everything is loaded.
//! It holds a line before which everything is settled; lines after it may be loaded too, and writing them again in order comes to the same.
//!
//! It says what it belongs to: this file (length and time of its last change) and this fleet. For any other it is refused, not guessed.
//!
//! And it says until when writes of an earlier run may still be executed, if that run could not see them all answered. A
//! run that goes on waits until then: an old write that arrives late would undo a later line of its key.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::verbs::load::window::Position;

/// Stands behind the input's name.
const SUFFIX: &str = ".kvctl-load";

/// What is written today.
const FORMAT: u32 = 1;

/// A bookmark is shorter.
const BYTES_MAX: u64 = 4 << 10;

/// Where the bookmark of an input lies, and what it must say to belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    input: Identity,
}

/// What a bookmark belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The fleet's id.
    pub cluster: String,
    /// The input's length.
    pub bytes: u64,
    /// When it was changed last, in ns since the Unix epoch.
    pub modified_ns: u64,
}

/// What it says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    format: u32,
    #[serde(flatten)]
    input: Identity,
    line: u64,
    offset: u64,
    open_until_ms: u64,
}

/// How far an earlier run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything before it is loaded.
    pub at: Position,
    /// Until then writes of that run may be executed, in ms since the Unix epoch; 0: none will be.
    pub open_until_ms: u64,
}

/// Why a bookmark cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not readable as one.
    #[error("{path} cannot be read ({why})")]
    Unreadable { path: String, why: String },
    /// It belongs to another input.
    #[error("{path} says that its load stopped before line {line}, and the file was changed since")]
    Changed { path: String, line: u64 },
    /// It belongs to another fleet.
    #[error("{path} says that its load into another fleet stopped before line {line}")]
    OtherFleet { path: String, line: u64 },
}

impl Identity {
    /// Of a file that is loaded into a fleet.
    #[must_use]
    pub fn of(metadata: &Metadata, cluster: String) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        Self { cluster, bytes: metadata.len(), modified_ns }
    }
}

impl Place {
    /// Beside the input.
    #[must_use]
    pub fn beside(input: &Path, identity: Identity) -> Self {
        let mut name = OsString::from(input);
        name.push(SUFFIX);
        Self { path: PathBuf::from(name), input: identity }
    }

    /// How far an earlier run came, if one was interrupted.
    ///
    /// # Errors
    /// There is a bookmark, but not of this input and fleet, or nobody can read it.
    pub fn find(&self) -> Result<Option<Mark>, Refusal> {
        let path = self.path.display().to_string();
        let unreadable = |why: String| Refusal::Unreadable { path: path.clone(), why };
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => {
                file.take(BYTES_MAX).read_to_string(&mut text).map_err(|e| unreadable(e.to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let written: Written = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let line = written.line;
        if written.format != FORMAT {
            return Err(unreadable(format!("it has format {}, not {FORMAT}", written.format)));
        }
        if (written.input.bytes, written.input.modified_ns) != (self.input.bytes, self.input.modified_ns) {
            return Err(Refusal::Changed { path, line });
        }
        if written.input.cluster != self.input.cluster {
            return Err(Refusal::OtherFleet { path, line });
        }
        let at = Position { line, offset: written.offset };
        Ok(Some(Mark { at, open_until_ms: written.open_until_ms }))
    }

    /// Says how far this run has come. Whole or not at all: a reader never sees a half.
    ///
    /// # Errors
    /// The directory or the disk refuses.
    pub fn write(&self, mark: Mark) -> io::Result<()> {
        let Position { line, offset } = mark.at;
        let input = self.input.clone();
        let written = Written { format: FORMAT, input, line, offset, open_until_ms: mark.open_until_ms };
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(name);
        let kept = std::fs::write(&draft, serde_json::to_vec(&written)?)
            .and_then(|()| std::fs::rename(&draft, &self.path));
        if kept.is_err() {
            // Perhaps it was never made.
            let _ = std::fs::remove_file(&draft);
        }
        kept
    }

    /// Forgets it, if it is there.
    ///
    /// # Errors
    /// It stays.
    pub fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Goes to a marked line.
///
/// # Errors
/// No line begins there, or the file cannot be read.
pub fn seek(file: &mut File, at: Position) -> io::Result<()> {
    if let Some(before) = at.offset.checked_sub(1) {
        let mut byte = [0];
        file.seek(SeekFrom::Start(before))?;
        file.read_exact(&mut byte)?;
        if byte != [b'\n'] && at.offset != file.metadata()?.len() {
            return Err(io::Error::other(format!("no line begins at byte {}", at.offset)));
        }
    }
    Ok(())
}

/// The wall clock, in ms since the Unix epoch.
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { cluster: "c1".to_string(), bytes: 100, modified_ns: 7 }
    }

    #[test]
    fn what_was_marked_is_found_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::beside(&folder.path().join("in"), identity());
        assert_eq!(place.find(), Ok(None));
        let mark = Mark { at: Position { line: 12, offset: 90 }, open_until_ms: 5 };
        place.write(Mark { at: Position::START, open_until_ms: 9 }).unwrap();
        place.write(mark).unwrap();
        assert_eq!(place.find(), Ok(Some(mark)));
        let names: Vec<_> =
            folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["in.kvctl-load"], "no draft is left");
        place.remove().unwrap();
        assert_eq!(place.find(), Ok(None));
        place.remove().unwrap();
    }

    #[test]
    fn a_bookmark_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = |identity| Place::beside(&folder.path().join("in"), identity);
        let mark = Mark { at: Position { line: 12, offset: 90 }, open_until_ms: 0 };
        place(identity()).write(mark).unwrap();
        let path = folder.path().join("in.kvctl-load").display().to_string();
        let changed = || Err(Refusal::Changed { path: path.clone(), line: 12 });
        assert_eq!(place(Identity { bytes: 101, ..identity() }).find(), changed());
        assert_eq!(place(Identity { modified_ns: 8, ..identity() }).find(), changed());
        let other = Refusal::OtherFleet { path: path.clone(), line: 12 };
        assert_eq!(place(Identity { cluster: "c2".to_string(), ..identity() }).find(), Err(other));
        std::fs::write(folder.path().join("in.kvctl-load"), "{").unwrap();
        assert!(matches!(place(identity()).find(), Err(Refusal::Unreadable { .. })));
    }

    #[test]
    fn reading_goes_on_only_where_a_line_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, "a\t1\nb\t2").unwrap();
        let mut file = File::open(&path).unwrap();
        let mut rest = |offset| {
            seek(&mut file, Position { line: 2, offset }).map(|()| {
                let mut rest = String::new();
                file.read_to_string(&mut rest).unwrap();
                rest
            })
        };
        assert_eq!(rest(4).unwrap(), "b\t2");
        assert_eq!(rest(7).unwrap(), "");
        assert!(rest(5).is_err() && rest(9).is_err());
    }
}
