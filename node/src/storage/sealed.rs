//! Small files that are replaced in one step and checked when read.
//!
//! ```text
//!   magic [u8; 8] | format u32 | length u64 | payload [u8; length] | CRC32 of all before it u32      (big-endian)
//! ```
//!
//! Written under a temporary name, synced, renamed over the old one, and the directory synced: after a crash the file
//! is the old one or the new one, never a mixture.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error::DirectoryError;

const HEADER_BYTES: usize = 8 + 4 + 8;
const CRC_BYTES: usize = 4;

/// One kind of sealed file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Its name in the directory.
    pub(super) name: &'static str,
    /// Its first bytes.
    pub(super) magic: [u8; 8],
    /// The format that this version writes and reads.
    pub(super) format: u32,
}

impl Kind {
    /// Replaces the file. When this returns, the new content survives a crash.
    ///
    /// # Errors
    /// The file system failed: the file is the old one or the new one.
    pub(super) fn write(self, directory: &Path, payload: &[u8]) -> Result<(), DirectoryError> {
        let path = directory.join(self.name);
        let staged = directory.join(format!("{}.new", self.name));
        let put = || -> Result<(), (&'static str, PathBuf, io::Error)> {
            let mut file = File::create(&staged).map_err(|error| ("create", staged.clone(), error))?;
            file.write_all(&self.seal(payload)).map_err(|error| ("write", staged.clone(), error))?;
            file.sync_all().map_err(|error| ("sync", staged.clone(), error))?;
            fs::rename(&staged, &path).map_err(|error| ("rename", staged.clone(), error))?;
            sync_directory(directory).map_err(|error| ("sync", directory.to_owned(), error))
        };
        put().map_err(|(action, path, source)| DirectoryError::Io { action, path, source })
    }

    /// The content of the file; `None` if there is none.
    ///
    /// # Errors
    /// The file system failed, or the file is damaged or of another format.
    pub(super) fn read(self, directory: &Path) -> Result<Option<Bytes>, DirectoryError> {
        let path = directory.join(self.name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DirectoryError::Io { action: "read", path, source }),
        };
        self.open(bytes, &path).map(Some)
    }

    fn seal(self, payload: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + payload.len() + CRC_BYTES);
        out.put_slice(&self.magic);
        out.put_u32(self.format);
        out.put_u64(payload.len() as u64);
        out.put_slice(payload);
        let crc = crc32fast::hash(&out);
        out.put_u32(crc);
        out.freeze()
    }

    fn open(self, mut bytes: Bytes, path: &Path) -> Result<Bytes, DirectoryError> {
        let damaged = |what| DirectoryError::Damaged { path: path.to_owned(), what };
        if bytes.len() < HEADER_BYTES + CRC_BYTES {
            return Err(damaged("it is too short"));
        }
        if bytes[..8] != self.magic {
            return Err(damaged("it does not begin as such a file does"));
        }
        let mut crc = bytes.slice(bytes.len() - CRC_BYTES..);
        let crc_is_right = crc32fast::hash(&bytes[..bytes.len() - CRC_BYTES]) == crc.get_u32();
        let format = bytes.slice(8..12).get_u32();
        if crc_is_right && format != self.format {
            return Err(DirectoryError::Format { path: path.to_owned(), found: format, known: self.format });
        }
        if !crc_is_right {
            return Err(damaged("its checksum is wrong"));
        }
        bytes.advance(12);
        let length = bytes.get_u64();
        bytes.truncate(bytes.len() - CRC_BYTES);
        if length != bytes.len() as u64 {
            return Err(damaged("its length is wrong"));
        }
        Ok(bytes)
    }
}

/// Makes creations, renamings and removals in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { name: "THING", magic: *b"FLOTTEST", format: 3 };

    #[test]
    fn a_file_is_replaced_whole_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        assert!(KIND.read(directory.path()).unwrap().is_none());
        KIND.write(directory.path(), b"first").unwrap();
        KIND.write(directory.path(), b"").unwrap();
        assert_eq!(KIND.read(directory.path()).unwrap().unwrap(), Bytes::new());
        KIND.write(directory.path(), b"third").unwrap();
        assert_eq!(KIND.read(directory.path()).unwrap().unwrap(), Bytes::from_static(b"third"));
    }

    #[test]
    fn what_a_crash_left_of_a_new_file_is_ignored_and_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        KIND.write(directory.path(), b"old").unwrap();
        fs::write(directory.path().join("THING.new"), b"torn").unwrap();
        assert_eq!(KIND.read(directory.path()).unwrap().unwrap(), Bytes::from_static(b"old"));
        KIND.write(directory.path(), b"new").unwrap();
        assert_eq!(KIND.read(directory.path()).unwrap().unwrap(), Bytes::from_static(b"new"));
    }

    #[test]
    fn every_flipped_bit_and_every_shortening_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("THING");
        KIND.write(directory.path(), b"some bytes").unwrap();
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            let error = KIND.read(directory.path()).unwrap_err();
            assert!(matches!(error, DirectoryError::Damaged { .. }), "bit {bit}: {error}");
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            assert!(KIND.read(directory.path()).is_err(), "{length} bytes were accepted");
        }
    }

    #[test]
    fn another_format_is_named() {
        let directory = tempfile::tempdir().unwrap();
        Kind { format: 4, ..KIND }.write(directory.path(), b"later").unwrap();
        let error = KIND.read(directory.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::Format { found: 4, known: 3, .. }), "{error}");
    }
}
