//! The shared log's directory on a real file system. Whole pages are written past the page cache (`direct.rs`).
//!
//! What this does not do: buffer, retry a failed sync (the pages may have been marked clean: a second sync would report
//! success for data that is gone), or preallocate by `fallocate` (the log writes zeros, so that a later `fdatasync` has
//! no metadata to write).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use metrics::Histogram;

use super::direct::Direct;
use super::error::DirectoryError;
use super::sealed;

/// A directory of plain files.
#[derive(Clone, Debug)]
pub struct RealDisk {
    path: PathBuf,
    syncs: Histogram,
    /// Nobody writes: files are opened so that they need not be writable.
    is_read_only: bool,
}

/// An open file in a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile {
    file: fs::File,
    direct: Direct,
    path: PathBuf,
    syncs: Histogram,
}

impl RealDisk {
    /// The disk at `path`; the directory is made, durably, if it does not exist.
    ///
    /// # Errors
    /// The file system failed.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        make_directory(path)?;
        Ok(Self { path: path.to_owned(), syncs: Histogram::noop(), is_read_only: false })
    }

    /// The disk at `path`, to be looked at only: a write fails.
    #[must_use]
    pub fn read_only(path: &Path) -> Self {
        Self { path: path.to_owned(), syncs: Histogram::noop(), is_read_only: true }
    }

    /// The same disk, which tells how many seconds each sync of a file took.
    #[must_use]
    pub fn measured(self, syncs: Histogram) -> Self {
        Self { syncs, ..self }
    }

    fn at(&self, name: &str) -> PathBuf {
        assert!(
            !name.is_empty() && name != "." && name != ".." && !name.contains('/'),
            "{name:?} is no plain file name"
        );
        self.path.join(name)
    }
}

/// Makes a directory and its parents, and their entries durable.
pub(super) fn make_directory(path: &Path) -> Result<(), DirectoryError> {
    let failed = |action, at: &Path| {
        let path = at.to_owned();
        move |source| DirectoryError::Io { action, path, source }
    };
    let missing: Vec<&Path> =
        path.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.exists()).collect();
    fs::create_dir_all(path).map_err(failed("create directory", path))?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sealed::sync_directory(parent).map_err(failed("sync", parent))?;
    }
    Ok(())
}

impl flotilla_wal::Disk for RealDisk {
    type File = RealFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|error| located(error, "list", &self.path))? {
            let entry = entry.map_err(|error| located(error, "list", &self.path))?;
            let name = entry.file_name().into_string();
            let named = |name| io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} is not UTF-8"));
            names.push(name.map_err(named)?);
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let path = self.at(name);
        let file = OpenOptions::new().read(true).write(!self.is_read_only).open(&path);
        Ok(RealFile {
            file: file.map_err(|error| located(error, "open", &path))?,
            direct: if self.is_read_only { Direct::none() } else { Direct::open(&path) },
            path,
            syncs: self.syncs.clone(),
        })
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let path = self.at(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        Ok(RealFile {
            file: file.map_err(|error| located(error, "create", &path))?,
            direct: Direct::open(&path),
            path,
            syncs: self.syncs.clone(),
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let path = self.at(from);
        fs::rename(&path, self.at(to)).map_err(|error| located(error, "rename", &path))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.at(name);
        fs::remove_file(&path).map_err(|error| located(error, "remove", &path))
    }

    fn sync_directory(&self) -> io::Result<()> {
        sealed::sync_directory(&self.path).map_err(|error| located(error, "sync", &self.path))
    }
}

impl flotilla_wal::File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        uninterrupted(|| self.file.read_at(buffer, offset))
            .map_err(|error| located(error, "read", &self.path))
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (file, direct) = (&self.file, &mut self.direct);
        uninterrupted(|| direct.write_at(bytes, offset).unwrap_or_else(|| file.write_at(bytes, offset)))
            .map_err(|error| located(error, "write", &self.path))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        // Not repeated when it fails, not even for EINTR: see the module's words.
        let started = Instant::now();
        let synced = self.file.sync_data();
        self.syncs.record(started.elapsed());
        synced.map_err(|error| located(error, "sync", &self.path))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(|error| located(error, "ask", &self.path))?.len())
    }
}

/// Repeats a call that a signal interrupted before it did anything.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The same kind of error, saying what was tried on what: the log decides by the kind, people read the text.
fn located(error: io::Error, action: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {action} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use flotilla_wal::{Disk, File};

    use super::*;

    #[test]
    fn files_are_made_written_read_renamed_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(&directory.path().join("deep/wal")).unwrap();
        let mut file = disk.create("a").unwrap();
        assert_eq!(file.write_at(b"hello", 3).unwrap(), 5);
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 8);
        let mut buffer = [9; 16];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 8);
        assert_eq!(&buffer[..9], b"\0\0\0hello\x09");
        assert_eq!(file.read_at(&mut buffer, 8).unwrap(), 0, "the end of the file");
        disk.rename("a", "b").unwrap();
        disk.sync_directory().unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        assert_eq!(disk.open("b").unwrap().len().unwrap(), 8);
        disk.remove("b").unwrap();
        assert!(disk.list().unwrap().is_empty());
    }

    #[test]
    fn an_error_keeps_its_kind_and_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        disk.create("a").unwrap();
        let error = disk.create("a").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().contains(&directory.path().join("a").display().to_string()), "{error}");
        assert_eq!(disk.open("none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    #[should_panic(expected = "no plain file name")]
    fn a_name_that_leads_out_of_the_directory_is_a_bug() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        drop(disk.open("../a"));
    }

    #[test]
    fn a_call_that_was_interrupted_is_made_again() {
        let mut calls = 0;
        let done = uninterrupted(|| {
            calls += 1;
            if calls < 3 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(7) }
        });
        assert_eq!((done.unwrap(), calls), (7, 3));
    }
}
