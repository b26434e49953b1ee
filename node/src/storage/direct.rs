//! Writing past the page cache (`O_DIRECT`), for files of which only whole pages are written.
//!
//! The log is written once and read only after a crash: a copy of it in the page cache costs a page of memory and a
//! second walk over it (writeback) for every page that is written, and is of use to nobody. Where the file system does not
//! know `O_DIRECT`, or a write is not made of whole pages, the caller writes as usual: both ways may be mixed, the
//! kernel keeps them coherent.
//!
//! What it does not do: sync. Blocks that were written past the page cache may still be in the disk's own cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// No disk in use wants more than this of offsets, lengths and memory.
const PAGE_BYTES: usize = 4096;

/// What one call writes at most, and what is kept of memory for it.
const CHUNK_BYTES: usize = 256 << 10;

/// A file that is written past the page cache, while that works.
#[derive(Debug)]
pub(super) struct Direct {
    /// `None`: it does not work here.
    file: Option<File>,
    /// Holds a page-aligned copy of what is being written.
    room: Vec<u8>,
}

impl Direct {
    /// For a file that is not written.
    pub(super) const fn none() -> Self {
        Self { file: None, room: Vec::new() }
    }

    /// A second descriptor of an existing file.
    pub(super) fn open(path: &Path) -> Self {
        let flag = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let file = OpenOptions::new().write(true).custom_flags(flag).open(path);
        Self { file: file.ok(), room: Vec::new() }
    }

    /// Writes at most the given bytes at an offset, and says how many; `None`: nothing was written, this has to be written as usual.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> Option<io::Result<usize>> {
        let file = self.file.as_ref()?;
        let whole = |length: u64| length.is_multiple_of(PAGE_BYTES as u64);
        if bytes.is_empty() || !whole(bytes.len() as u64) || !whole(offset) {
            return None;
        }
        let count = bytes.len().min(CHUNK_BYTES);
        if self.room.len() < count + PAGE_BYTES {
            self.room.resize(count.next_power_of_two() + PAGE_BYTES, 0);
        }
        // `align_offset` may give up in theory only; then the range below is outside, and the write goes the usual way.
        let start = self.room.as_ptr().align_offset(PAGE_BYTES);
        let room = self.room.get_mut(start..start.checked_add(count)?)?;
        room.copy_from_slice(&bytes[..count]);
        match file.write_at(room, offset) {
            // The file system took the flag and cannot do it, or the disk wants more than pages.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.file = None;
                None
            }
            written => Some(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, [1; 3 * PAGE_BYTES]).unwrap();
        (directory, path)
    }

    #[test]
    fn whole_pages_are_written_wherever_they_lie_in_memory() {
        let (_directory, path) = file();
        let mut direct = Direct::open(&path);
        for shift in [0, 1, 8, 4095] {
            let memory: Vec<u8> = (0..shift + PAGE_BYTES).map(|at| (at % 251) as u8).collect();
            match direct.write_at(&memory[shift..], PAGE_BYTES as u64) {
                Some(written) => assert_eq!(written.unwrap(), PAGE_BYTES),
                // Some file systems have no way past the page cache.
                None => return assert!(direct.file.is_none(), "it may work, and was not tried"),
            }
            let held = std::fs::read(&path).unwrap();
            assert_eq!(&held[PAGE_BYTES..2 * PAGE_BYTES], &memory[shift..], "shift {shift}");
            assert!(held[..PAGE_BYTES].iter().chain(&held[2 * PAGE_BYTES..]).all(|byte| *byte == 1));
        }
    }

    #[test]
    fn more_than_a_chunk_is_written_in_parts_and_a_small_write_after_a_large_one_is_right() {
        let (_directory, path) = file();
        let mut direct = Direct::open(&path);
        let large = vec![7; 2 * CHUNK_BYTES];
        let Some(written) = direct.write_at(&large, 0) else { return };
        assert_eq!(written.unwrap(), CHUNK_BYTES);
        assert_eq!(direct.write_at(&[8; PAGE_BYTES], 0).unwrap().unwrap(), PAGE_BYTES);
        let held = std::fs::read(&path).unwrap();
        assert_eq!(held.len(), CHUNK_BYTES);
        assert!(held[..PAGE_BYTES].iter().all(|byte| *byte == 8));
        assert!(held[PAGE_BYTES..].iter().all(|byte| *byte == 7));
        assert!(direct.room.len() <= CHUNK_BYTES + PAGE_BYTES, "its memory is bounded");
    }

    #[test]
    fn what_is_not_whole_pages_is_left_to_the_usual_way() {
        let (_directory, path) = file();
        let mut direct = Direct::open(&path);
        assert!(direct.write_at(&[9; PAGE_BYTES], 1).is_none());
        assert!(direct.write_at(&[9; PAGE_BYTES - 1], 0).is_none());
        assert!(direct.write_at(&[], 0).is_none());
        assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 1), "nothing was written");
    }
}
