//! A base on disk: fjall, an LSM tree. The only place of this crate that touches the file system.
//!
//! One keyspace for all shards of the node (a thousand keyspaces take seconds to create). A batch goes to
//! fjall's journal and its memtable, [`Base::sync`] makes the journal durable. Known of fjall 3.1 and heeded
//! here: one worker thread can deadlock, so there are at least two; a commit may sleep up to 100 ms while its
//! flushing lags, which only the flusher thread feels; a failed write poisons the database until it is opened
//! again, see [`Disk::reopen`].
//!
//! Views are fjall snapshots: a sequence number and two handles, no I/O. They keep the directory locked, so a
//! reopening waits until they are gone.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use crate::base::{Base, BaseError, View, WriteBatch};

const KEYSPACE: &str = "shards";

/// How the store uses memory, threads and disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Cache for blocks read from disk, in bytes.
    pub cache_bytes: u64,
    /// The memtable: at this size it is written out as a table, in bytes.
    pub memtable_bytes: u64,
    /// All journal files together, in bytes; at least 64 MiB. Beyond it memtables are written out to free the
    /// oldest.
    pub journal_bytes_max: u64,
    /// Threads for flushing and compaction; at least 2, since a single one can wait for itself.
    pub worker_threads: usize,
    /// Open table files; at least 10.
    pub cached_files_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            journal_bytes_max: 256 << 20,
            worker_threads: 2,
            cached_files_max: 256,
        }
    }
}

/// The room of the file system that holds the base, in bytes, without what is kept for the superuser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What may still be filled.
    pub free: u64,
    /// That, and what is filled.
    pub total: u64,
}

impl Room {
    /// What must stay free of it: a twentieth. Logs grow, tables are written anew before the old ones go.
    #[must_use]
    pub const fn reserve(&self) -> u64 {
        self.total / 20
    }
}

/// The base. Clones are handles of the same one.
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    options: Options,
    /// `None` while it is being opened again.
    open: RwLock<Option<Handles>>,
}

#[derive(Clone)]
struct Handles {
    database: Database,
    keyspace: Keyspace,
}

/// The state at one moment.
#[derive(Clone)]
pub struct DiskView {
    /// `None`: taken while the base was closed.
    open: Option<(Snapshot, Keyspace)>,
}

impl Disk {
    /// Opens the store in a directory of its own; creates it when there is none.
    ///
    /// # Errors
    ///
    /// The directory cannot be used, or another process has it.
    ///
    /// # Panics
    ///
    /// Options below their documented minimum.
    pub fn open(path: &Path, options: Options) -> Result<Self, BaseError> {
        assert!(options.worker_threads >= 2, "a single worker thread can deadlock: {options:?}");
        let open = Handles::open(path, &options)?;
        let shared = Shared { path: path.to_owned(), options, open: RwLock::new(Some(open)) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Files on disk, in bytes.
    ///
    /// # Errors
    ///
    /// The store is closed, or the file system fails.
    pub fn disk_bytes(&self) -> Result<u64, BaseError> {
        let open = self.current().ok_or(BaseError::Poisoned)?;
        open.database.disk_space().map_err(failure)
    }

    /// The room of its file system. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// The file system fails.
    pub fn room(&self) -> io::Result<Room> {
        let found = rustix::fs::statvfs(&self.shared.path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let filled = found.f_blocks.saturating_sub(found.f_bfree);
        match filled.saturating_add(found.f_bavail) {
            0 => Err(io::Error::new(io::ErrorKind::Unsupported, "the file system does not know its size")),
            total => Ok(Room { free: bytes(found.f_bavail), total: bytes(total) }),
        }
    }

    fn write_lock(&self) -> std::sync::RwLockWriteGuard<'_, Option<Handles>> {
        self.shared.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Handles> {
        self.shared.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Handles {
    fn open(path: &Path, options: &Options) -> Result<Self, BaseError> {
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .worker_threads(options.worker_threads)
            .max_journaling_size(options.journal_bytes_max)
            .max_cached_files(Some(options.cached_files_max))
            .manual_journal_persist(true)
            .open()
            .map_err(failure)?;
        let memtable_bytes = options.memtable_bytes;
        let keyspace = database
            .keyspace(KEYSPACE, || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(memtable_bytes)
                    .manual_journal_persist(true)
            })
            .map_err(failure)?;
        Ok(Self { database, keyspace })
    }
}

impl Base for Disk {
    type View = DiskView;

    fn view(&self) -> DiskView {
        DiskView { open: self.current().map(|open| (open.database.snapshot(), open.keyspace)) }
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), BaseError> {
        let open = self.current().ok_or(BaseError::Poisoned)?;
        let mut writes = fjall::OwnedWriteBatch::with_capacity(open.database, batch.len());
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => writes.insert(&open.keyspace, key, value),
                None => writes.remove(&open.keyspace, key),
            }
        }
        writes.commit().map_err(failure)
    }

    fn sync(&self) -> Result<(), BaseError> {
        let open = self.current().ok_or(BaseError::Poisoned)?;
        // Written first, synced then: a full disk that shows in the writing is to be waited out, because nothing was handed to the
        // kernel that it could have dropped. One that shows in the sync is not: a file system that finds room only then (thin
        // volumes, NFS) has dropped what was written, and a second sync would report success without it.
        open.database.persist(PersistMode::Buffer).map_err(|error| match failure(error) {
            BaseError::Io(error) if error.kind() != io::ErrorKind::StorageFull => BaseError::Unsynced(error),
            other => other,
        })?;
        // fdatasync also makes a grown file's size durable; new files are synced by fjall when it creates
        // them.
        open.database.persist(PersistMode::SyncData).map_err(|error| match failure(error) {
            BaseError::Io(error) => BaseError::Unsynced(error),
            other => other,
        })
    }

    /// All handles see the new store; reads fail meanwhile, and for as long as it stays closed because opening failed.
    fn reopen(&self) -> Result<(), BaseError> {
        // Taken out of the lock before it is dropped and opened: a worker that takes a view must not wait for
        // that.
        let old = self.write_lock().take();
        drop(old);
        let new = Handles::open(&self.shared.path, &self.shared.options)?;
        *self.write_lock() = Some(new);
        Ok(())
    }
}

impl View for DiskView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, BaseError> {
        let Some((snapshot, keyspace)) = &self.open else { return Err(BaseError::Poisoned) };
        let value = snapshot.get(keyspace, key).map_err(failure)?;
        Ok(value.map(Bytes::from))
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), BaseError>> {
        Range { closed: self.open.is_none(), reverse, entries: self.entries(from, to) }
    }
}

impl DiskView {
    fn entries(&self, from: &[u8], to: &[u8]) -> Option<fjall::Iter> {
        let (snapshot, keyspace) = self.open.as_ref()?;
        (from < to).then(|| snapshot.range(keyspace, from..to))
    }
}

/// Walks a range of a view.
struct Range {
    closed: bool,
    reverse: bool,
    entries: Option<fjall::Iter>,
}

impl Iterator for Range {
    type Item = Result<(Bytes, Bytes), BaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.closed) {
            return Some(Err(BaseError::Poisoned));
        }
        let entries = self.entries.as_mut()?;
        let entry = if self.reverse { entries.next_back() } else { entries.next() };
        entry.map(|entry| match entry.into_inner() {
            Ok((key, value)) => Ok((Bytes::from(key), Bytes::from(value))),
            Err(error) => Err(failure(error)),
        })
    }
}

/// What fjall reports, in our words. The kind of an I/O error survives: a full disk is handled apart.
fn failure(error: fjall::Error) -> BaseError {
    match error {
        fjall::Error::Io(error) => BaseError::Io(error),
        fjall::Error::Poisoned => BaseError::Poisoned,
        fjall::Error::Locked => BaseError::Locked,
        error => {
            let message = error.to_string();
            let mut source = error.source();
            while let Some(inner) = source {
                if let Some(io) = inner.downcast_ref::<io::Error>() {
                    return BaseError::Io(io::Error::new(io.kind(), message));
                }
                source = inner.source();
            }
            BaseError::Damaged { message }
        }
    }
}
