//! The door to a data directory: locked, stamped, counted.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flotilla_topology::NodeId;

use super::chance::Chance;
use super::codec::{self, CodecError};
use super::error::DirectoryError;
use super::real_disk::{RealDisk, make_directory};
use super::sealed::Kind;
use super::stamp::{BootId, DirectoryId, Membership, Stamp};

const STAMP: Kind = Kind { name: "STAMP", magic: *b"FLOTSTMP", format: 1 };
const BOOT: Kind = Kind { name: "BOOT", magic: *b"FLOTBOOT", format: 1 };
const GENESIS: Kind = Kind { name: "GENESIS", magic: *b"FLOTGENE", format: 1 };
const MAP: Kind = Kind { name: "MAP", magic: *b"FLOTCMAP", format: 1 };
const SUPPORT: Kind = Kind { name: "SUPPORT", magic: *b"FLOTSUPP", format: 1 };
pub(super) const LOCK: &str = "LOCK";
pub(super) const WAL: &str = "wal";
const BASE: &str = "base";

/// One run of the process on a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// How often the directory was opened, this time included.
    pub number: u64,
    /// Random, of this run only.
    pub id: BootId,
}

/// A data directory that this process has locked. Shared by reference: all methods take `&self`.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Held for its lock, which ends with the process however that ends.
    _lock: File,
    stamp: Mutex<Stamp>,
    boot: Boot,
    /// Whether the shared log was opened before this start.
    wal_made: bool,
}

impl DataDirectory {
    /// Opens the directory of `node`, and makes it if there is none or it is empty. Counts the start.
    ///
    /// # Errors
    /// Another process has it; it belongs to another node, and a fleet knows it; it is damaged, of another format, or without a stamp though
    /// it holds data; the file system failed.
    pub fn open(path: &Path, node: NodeId, chance: &mut dyn Chance) -> Result<Self, DirectoryError> {
        make_directory(path)?;
        let lock = lock(path)?;
        let stamp = match read_stamp(path)? {
            // It has promised nothing: a start that failed left it, perhaps with a wrong id.
            Some(stamp) if stamp.node != node && stamp.membership == Membership::Blank => {
                stamped(path, node, chance)?
            }
            Some(stamp) if stamp.node != node => {
                let path = path.to_owned();
                return Err(DirectoryError::OtherNode { path, found: stamp.node, wanted: node });
            }
            Some(stamp) => stamp,
            None => new_stamp(path, node, chance)?,
        };
        let (boot, wal_made) = count_boot(path, chance)?;
        Ok(Self { path: path.to_owned(), _lock: lock, stamp: Mutex::new(stamp), boot, wal_made })
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the directory says of its node.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This run of the process.
    #[must_use]
    pub const fn boot(&self) -> Boot {
        self.boot
    }

    /// Makes a later membership durable. Blocks on the disk.
    ///
    /// # Errors
    /// The directory belongs to another cluster, or the file system failed: after a crash it is the old stamp or the new.
    ///
    /// # Panics
    /// The membership would go back: a directory that is founded would no longer be.
    pub fn become_member(&self, membership: Membership) -> Result<(), DirectoryError> {
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(found), Some(wanted)) = (stamp.membership.cluster(), membership.cluster())
            && found != wanted
        {
            return Err(DirectoryError::OtherCluster { path: self.path.clone(), found, wanted });
        }
        assert!(
            rank(&membership) >= rank(&stamp.membership),
            "{:?} after {:?}",
            membership,
            stamp.membership
        );
        let next = Stamp { membership, ..stamp.clone() };
        STAMP.write(&self.path, &next.encode())?;
        *stamp = next;
        Ok(())
    }

    /// The longest support that this node may have promised to others.
    ///
    /// # Errors
    /// The file is damaged, or the file system failed.
    pub fn longest_promise(&self) -> Result<Duration, DirectoryError> {
        let malformed = |source| DirectoryError::Malformed { path: self.path.join(SUPPORT.name), source };
        let Some(mut bytes) = SUPPORT.read(&self.path)? else { return Ok(Duration::ZERO) };
        let micros = codec::get_u64(&mut bytes).map_err(malformed)?;
        codec::end(&bytes).map_err(malformed)?;
        Ok(Duration::from_micros(micros))
    }

    /// Makes it durable that no promise of this node, standing or to come, is longer. When that is true, [`crate::host::Restart`] says.
    ///
    /// # Errors
    /// The file system failed: it is what it was, or this.
    pub fn remember_promise(&self, longest: Duration) -> Result<(), DirectoryError> {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        SUPPORT.write(&self.path, &micros.to_be_bytes())
    }

    /// The shared log's directory, made the first time.
    ///
    /// # Errors
    /// It held a log and is gone, and the votes with it; or the file system failed.
    pub fn wal(&self) -> Result<RealDisk, DirectoryError> {
        let path = self.path.join(WAL);
        if self.wal_made && !path.exists() {
            return Err(DirectoryError::LogLost { path });
        }
        RealDisk::open(&path)
    }

    /// Whether the shared log was opened before this start: then to find nothing of it means that it was lost.
    #[must_use]
    pub const fn held_log(&self) -> bool {
        self.wal_made
    }

    /// Remembers that the shared log has been opened. After that, or a crash in between would look like a loss.
    ///
    /// # Errors
    /// The file system failed.
    pub fn log_opened(&self) -> Result<(), DirectoryError> {
        if !self.wal_made {
            write_boot(&self.path, self.boot.number, true)?;
        }
        Ok(())
    }

    /// Where the base lives. Not made: the base does that.
    #[must_use]
    pub fn base_path(&self) -> PathBuf {
        self.path.join(BASE)
    }

    /// The cluster map with which the fleet was founded; `None` before that.
    ///
    /// # Errors
    /// The file is damaged, or the file system failed.
    pub fn genesis(&self) -> Result<Option<Bytes>, DirectoryError> {
        GENESIS.read(&self.path)
    }

    /// Makes the cluster map durable with which the fleet is founded.
    ///
    /// # Errors
    /// The file system failed.
    pub fn write_genesis(&self, map: &[u8]) -> Result<(), DirectoryError> {
        GENESIS.write(&self.path, map)
    }

    /// The newest cluster map that was cached; `None` if none was.
    ///
    /// # Errors
    /// The file is damaged, or the file system failed. The map is a cache: a caller may go on with the genesis.
    pub fn cached_map(&self) -> Result<Option<Bytes>, DirectoryError> {
        MAP.read(&self.path)
    }

    /// Replaces the cached cluster map.
    ///
    /// # Errors
    /// The file system failed: after a crash it is the old map or the new.
    pub fn cache_map(&self, map: &[u8]) -> Result<(), DirectoryError> {
        MAP.write(&self.path, map)
    }
}

fn rank(membership: &Membership) -> u8 {
    match membership {
        Membership::Blank => 0,
        Membership::Promised { .. } => 1,
        Membership::Founded { .. } => 2,
    }
}

/// Somebody else has it, and left its pid.
pub(super) fn locked(directory: &Path, file: &mut File) -> DirectoryError {
    let mut text = String::new();
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
    DirectoryError::Locked { path: directory.to_owned(), pid }
}

/// Locks the directory for the life of this process and leaves the pid for whoever comes second.
fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let failed = |action| {
        let path = path.clone();
        move |source| DirectoryError::Io { action, path, source }
    };
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(&path).map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(locked(directory, &mut file));
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
    }
    // Only a courtesy to whoever comes second: it need not survive anything.
    file.set_len(0).map_err(failed("write"))?;
    file.rewind().map_err(failed("write"))?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed("write"))?;
    Ok(file)
}

pub(super) fn read_stamp(directory: &Path) -> Result<Option<Stamp>, DirectoryError> {
    let Some(bytes) = STAMP.read(directory)? else { return Ok(None) };
    let malformed = |source| DirectoryError::Malformed { path: directory.join(STAMP.name), source };
    Stamp::decode(bytes).map(Some).map_err(malformed)
}

/// Stamps a directory that has no stamp, provided that it holds no data either: a lost stamp must not make a node
/// forget that it has voted.
fn new_stamp(directory: &Path, node: NodeId, chance: &mut dyn Chance) -> Result<Stamp, DirectoryError> {
    for what in [WAL, BASE, GENESIS.name, MAP.name, BOOT.name, SUPPORT.name] {
        let at = directory.join(what);
        if at.exists() && fs::read_dir(&at).map_or(true, |mut entries| entries.next().is_some()) {
            return Err(DirectoryError::Unstamped { path: directory.to_owned(), what });
        }
    }
    stamped(directory, node, chance)
}

fn stamped(directory: &Path, node: NodeId, chance: &mut dyn Chance) -> Result<Stamp, DirectoryError> {
    let id = DirectoryId(chance.draw().map_err(DirectoryError::Chance)?);
    let stamp = Stamp { node, directory: id, membership: Membership::Blank };
    STAMP.write(directory, &stamp.encode())?;
    Ok(stamp)
}

/// Counts a start. Also says whether the shared log's directory was made by an earlier one.
fn count_boot(directory: &Path, chance: &mut dyn Chance) -> Result<(Boot, bool), DirectoryError> {
    let (before, wal_made) = match BOOT.read(directory)? {
        None => (0, false),
        Some(bytes) => read_boot(bytes)
            .map_err(|source| DirectoryError::Malformed { path: directory.join(BOOT.name), source })?,
    };
    let number = before + 1;
    write_boot(directory, number, wal_made)?;
    let id = BootId(chance.draw().map_err(DirectoryError::Chance)?);
    Ok((Boot { number, id }, wal_made))
}

fn read_boot(mut bytes: Bytes) -> Result<(u64, bool), CodecError> {
    let number = codec::get_u64(&mut bytes)?;
    let wal_made = match codec::get_u8(&mut bytes)? {
        0 => false,
        1 => true,
        tag => return Err(CodecError::Tag { what: "whether the log was made", tag }),
    };
    codec::end(&bytes)?;
    Ok((number, wal_made))
}

fn write_boot(directory: &Path, number: u64, wal_made: bool) -> Result<(), DirectoryError> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.push(u8::from(wal_made));
    BOOT.write(directory, &payload)
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
