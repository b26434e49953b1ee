//! The door to the file system: what the log asks of a directory and of a file in it.
//!
//! Two implementors: the real one of the node (`std::fs`) and [`crate::simulated`]. The log itself never names a
//! path; a name is a plain file name inside the one directory that the log owns.
//!
//! What the log relies on, and nothing more: bytes are durable once a later `sync_data` of the same file returned;
//! a directory entry (creation, renaming, removal) is durable once a later `sync_directory` returned; a rename is
//! atomic. Whatever was not synced may be there or not after a crash, sector by sector.

use std::io;

/// One directory, owned by one log.
pub trait Disk {
    /// An open file of this directory.
    type File: File;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Creates an empty file and opens it for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one; whatever the file system reports.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Renames a file, replacing what bore the new name. Open files stay open.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renamings and removals so far durable.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file. Offsets and lengths are in bytes.
pub trait File {
    /// Reads at most `buffer.len()` bytes at `offset`; 0 means the end of the file.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at most `bytes.len()` bytes at `offset`, growing the file as needed, and says how many.
    ///
    /// # Errors
    /// `StorageFull` when there is no room; whatever the file system reports.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes everything written to this file so far durable (`fdatasync`).
    ///
    /// # Errors
    /// Whatever the file system reports. After an error nothing is known about what was not yet synced, whatever
    /// a later call says.
    fn sync_data(&mut self) -> io::Result<()>;

    /// The length of the file.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Writes all bytes, however short the single writes are.
pub(crate) fn write_all<F: File>(file: &mut F, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                assert!(count <= bytes.len(), "wrote {count} of {} bytes", bytes.len());
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends, and says how many bytes there were.
pub(crate) fn read_full<F: File>(file: &F, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether an error says that there is no room on the disk.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
