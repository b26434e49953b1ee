//! The directory of a node that does not run, to be looked at.
//!
//! Nothing is written. The lock is shared with others who look, and kept from a node that starts: what is looked at stays as it is.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{LOCK, WAL, locked, read_stamp};
use super::error::DirectoryError;
use super::real_disk::RealDisk;
use super::stamp::Stamp;

/// See the module.
#[derive(Debug)]
pub struct Resting {
    path: PathBuf,
    stamp: Stamp,
    /// Held for its lock.
    _lock: File,
}

impl Resting {
    /// Enters a directory.
    ///
    /// # Errors
    /// A node runs on it, it is none of a node, it is damaged, or the file system failed.
    pub fn enter(path: &Path) -> Result<Self, DirectoryError> {
        let (at, none) =
            (path.join(LOCK), |missing| DirectoryError::NoNode { path: path.to_owned(), missing });
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| DirectoryError::Io { action, path, source }
        };
        // A path that is none is told from a directory of something else.
        std::fs::read_dir(path).map_err(failed("open", path))?;
        let mut lock = match File::open(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(none("LOCK")),
            opened => opened.map_err(failed("open", &at))?,
        };
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(path, &mut lock)),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &at)(source)),
        }
        let stamp = read_stamp(path)?.ok_or_else(|| none("STAMP"))?;
        Ok(Self { path: path.to_owned(), stamp, _lock: lock })
    }

    /// What the directory says of its node.
    #[must_use]
    pub const fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The shared log's directory.
    ///
    /// # Errors
    /// There is none.
    pub fn wal(&self) -> Result<RealDisk, DirectoryError> {
        let path = self.path.join(WAL);
        if path.is_dir() { Ok(RealDisk::read_only(&path)) } else { Err(DirectoryError::LogLost { path }) }
    }
}
