//! The shelf: empty segment files, made ahead so that a rotation finds one.
//!
//! A spare is a whole file: its blocks were written, as zeros or as frames of an earlier life. Overwriting written
//! blocks syncs about twice as fast as growing a file, because the file system has nothing of its own to write.
//! A spare is made in steps under the name `unfinished-…`; only a complete one is called `spare-…`. What a spare
//! holds is never believed.

use std::io;

use crate::disk::{Disk, File, is_no_space, write_all};
use crate::error::{AppendError, OpenError};
use crate::segment::{Header, Name};

/// How many zeros one step writes and syncs, in bytes. More would hold up the appends that wait behind it.
const FILL_BYTES: u64 = 1 << 20;

/// What one call writes of them.
static ZEROS: [u8; 128 << 10] = [0; 128 << 10];

/// A segment that is not written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub number: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Where its last frame ends.
    pub end: u64,
}

/// Why the disk did not do what it should.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// There is no room, and nothing was changed.
    NoSpace(io::Error),
    Failed {
        name: String,
        action: &'static str,
        source: io::Error,
    },
}

/// Gives an I/O error its place.
pub(crate) fn failed(name: impl ToString, action: &'static str) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError::Failed { name: name.to_string(), action, source }
}

impl From<DiskError> for AppendError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::NoSpace(source) => Self::NoSpace(source),
            DiskError::Failed { name, action, source } => Self::Disk { name, action, source },
        }
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::NoSpace(source) => Self::NoSpace(source),
            DiskError::Failed { name, action, source } => Self::Disk { name, action, source },
        }
    }
}

/// A spare in the making.
#[derive(Debug)]
struct Filling<F> {
    number: u64,
    file: F,
    written: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shelf<F> {
    segment_bytes: u64,
    spares_max: usize,
    spares: Vec<u64>,
    filling: Option<Filling<F>>,
    next_number: u64,
}

impl<F: File> Shelf<F> {
    /// Takes over the spares of a directory. Whatever is no whole spare of the right length is removed.
    pub fn new<D: Disk<File = F>>(
        disk: &D,
        segment_bytes: u64,
        spares_max: usize,
        spares: &[u64],
        unfinished: &[u64],
        next_number: u64,
    ) -> Result<Self, DiskError> {
        for number in unfinished {
            remove(disk, Name::Unfinished(*number))?;
        }
        let mut shelf = Self { segment_bytes, spares_max, spares: Vec::new(), filling: None, next_number };
        for number in spares {
            let name = Name::Spare(*number);
            let file = disk.open(&name.to_string()).map_err(failed(name, "open"))?;
            let bytes = file.len().map_err(failed(name, "measure"))?;
            if bytes == segment_bytes && shelf.spares.len() < spares_max.max(1) {
                shelf.spares.push(*number);
            } else {
                remove(disk, name)?;
            }
        }
        Ok(shelf)
    }

    pub fn spares(&self) -> usize {
        self.spares.len()
    }

    /// A number that no file of this directory ever bore.
    pub fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// One step towards the next spare. Says whether there was anything to do.
    pub fn fill<D: Disk<File = F>>(&mut self, disk: &D) -> Result<bool, DiskError> {
        if !self.spares.is_empty() {
            return Ok(false);
        }
        self.fill_step(disk, self.segment_bytes, FILL_BYTES)?;
        Ok(true)
    }

    /// An open file of `bytes` bytes whose name is on no segment yet, made now if need be.
    pub fn take<D: Disk<File = F>>(&mut self, disk: &D, bytes: u64) -> Result<(F, Name), DiskError> {
        if bytes != self.segment_bytes {
            // A huge frame wants its own length. A spare in the making is no use, and would be in the way.
            self.discard(disk);
        }
        if bytes != self.segment_bytes || self.spares.is_empty() {
            while !self.fill_step(disk, bytes, bytes)? {}
        }
        let number = self.spares.pop();
        let number = number.unwrap_or_else(|| panic!("a spare of {bytes} bytes was made and is not there"));
        let name = Name::Spare(number);
        let file = disk.open(&name.to_string()).map_err(failed(name, "open"))?;
        Ok((file, name))
    }

    /// Writes up to `step` zeros, and says whether a whole spare now lies on top. When there is no room, the
    /// unfinished file is given up, so that others have what little there is.
    fn fill_step<D: Disk<File = F>>(&mut self, disk: &D, bytes: u64, step: u64) -> Result<bool, DiskError> {
        match self.try_fill_step(disk, bytes, step) {
            Err(DiskError::Failed { source, .. }) if is_no_space(&source) => {
                self.discard(disk);
                Err(DiskError::NoSpace(source))
            }
            other => other,
        }
    }

    fn try_fill_step<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        bytes: u64,
        step: u64,
    ) -> Result<bool, DiskError> {
        if self.filling.is_none() {
            let number = self.number();
            let name = Name::Unfinished(number);
            let file = disk.create(&name.to_string()).map_err(failed(name, "create"))?;
            self.filling = Some(Filling { number, file, written: 0 });
        }
        let Some(filling) = &mut self.filling else { unreachable!("a spare was begun above") };
        let name = Name::Unfinished(filling.number);
        let until = bytes.min(filling.written + step);
        while filling.written < until {
            let count = (until - filling.written).min(ZEROS.len() as u64);
            write_all(&mut filling.file, &ZEROS[..count as usize], filling.written)
                .map_err(failed(name, "write"))?;
            filling.written += count;
        }
        filling.file.sync_data().map_err(failed(name, "sync"))?;
        if filling.written < bytes {
            return Ok(false);
        }
        let spare = Name::Spare(filling.number);
        disk.rename(&name.to_string(), &spare.to_string()).map_err(failed(name, "rename"))?;
        self.spares.push(filling.number);
        self.filling = None;
        Ok(true)
    }

    /// Gives up the spare in the making. Should its removal fail, the next start removes it.
    fn discard<D: Disk<File = F>>(&mut self, disk: &D) {
        if let Some(filling) = self.filling.take() {
            drop(disk.remove(&Name::Unfinished(filling.number).to_string()));
        }
    }

    /// Takes the files of dead segments off the log: onto the shelf, or away. Durable on return: only then may a
    /// file be written again. (Otherwise a crash could bring back the old name over the new content.)
    pub fn release<D: Disk<File = F>>(&mut self, disk: &D, dead: &[(u64, u64)]) -> Result<(), DiskError> {
        let mut spares = Vec::new();
        for (number, bytes) in dead {
            let name = Name::Segment(*number);
            if *bytes == self.segment_bytes && self.spares.len() + spares.len() < self.spares_max {
                let spare = Name::Spare(*number).to_string();
                disk.rename(&name.to_string(), &spare).map_err(failed(name, "rename"))?;
                spares.push(*number);
            } else {
                remove(disk, name)?;
            }
        }
        if !dead.is_empty() {
            disk.sync_directory().map_err(failed(".", "sync"))?;
        }
        self.spares.extend(spares);
        Ok(())
    }
}

fn remove<D: Disk>(disk: &D, name: Name) -> Result<(), DiskError> {
    disk.remove(&name.to_string()).map_err(failed(name, "remove"))
}

/// Makes a spare the segment of this header, with `first` as its first frame. Durable on return: content first,
/// then the name, so that no file ever bears the name of a segment without its header.
pub(crate) fn publish<D: Disk>(
    disk: &D,
    file: &mut D::File,
    spare: Name,
    header: &Header,
    first: &[u8],
) -> Result<(), DiskError> {
    let block = header.encode();
    write_all(file, &block, 0).map_err(failed(spare, "write"))?;
    write_all(file, first, block.len() as u64).map_err(failed(spare, "write"))?;
    file.sync_data().map_err(failed(spare, "sync"))?;
    let name = Name::Segment(header.number);
    disk.rename(&spare.to_string(), &name.to_string()).map_err(failed(spare, "rename"))?;
    disk.sync_directory().map_err(failed(".", "sync"))
}
