//! The base: the ordered store under all overlays of a node, behind a trait.
//!
//! Two implementors: [`crate::disk`] (fjall) and [`crate::memory`] (for the simulator). The base journals
//! nothing that matters: the Raft log is the journal, and a checkpoint that is lost in a crash is replayed
//! from it. What the base owes is that a batch is atomic, that batches survive in order (never a later one
//! without an earlier one), and that [`Base::sync`] makes everything committed before it survive.
//!
//! One writer (the flusher thread), many readers (the reader pool), each through a [`View`].

use std::io;

use bytes::Bytes;

/// An ordered map of bytes on stable storage. Clones are handles of the same store.
pub trait Base: Clone + Send + 'static {
    /// What [`Base::view`] returns.
    type View: View;

    /// The state now, which no later commit changes. Cheap and without I/O: a worker takes it.
    fn view(&self) -> Self::View;

    /// Writes all of the batch or, after a crash, nothing of it. Visible to views taken afterwards. May
    /// block.
    ///
    /// # Errors
    ///
    /// The batch may or may not have taken place; the caller reopens the store and looks.
    fn commit(&self, batch: WriteBatch) -> Result<(), BaseError>;

    /// Returns when everything committed before is on stable storage. May block.
    ///
    /// # Errors
    ///
    /// [`BaseError::Unsynced`]: give up. A full disk is reported as by [`Base::commit`], and is not final.
    fn sync(&self) -> Result<(), BaseError>;

    /// Opens the store again after a failed write. What was committed and not synced may still be there. May block.
    ///
    /// # Errors
    ///
    /// It still fails, or old views are alive ([`BaseError::Locked`]): try again.
    fn reopen(&self) -> Result<(), BaseError>;
}

/// The state of a base at one moment. Reading may block on I/O, so it is the reader pool's business.
pub trait View: Clone + Send + 'static {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// What the store reports.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, BaseError>;

    /// The keys from `from` (included) to `to` (excluded) with their values, in rising order or, when
    /// `reverse`, in falling order. Lazy.
    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), BaseError>>;
}

/// Changes that take place together. Applied in order: the last change of a key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    changes: Vec<(Bytes, Option<Bytes>)>,
    bytes: usize,
}

impl WriteBatch {
    /// A batch without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a value.
    pub fn put(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.changes.push((key, Some(value)));
    }

    /// Removes a key; it need not exist.
    pub fn delete(&mut self, key: Bytes) {
        self.bytes += key.len();
        self.changes.push((key, None));
    }

    /// The changes in order: key, and value or `None` for a removal.
    #[must_use]
    pub fn into_changes(self) -> Vec<(Bytes, Option<Bytes>)> {
        self.changes
    }

    /// Keys and values together, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many changes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// What a base reports.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The file system failed. A full disk arrives here as [`io::ErrorKind::StorageFull`].
    #[error("base: {0}")]
    Io(#[from] io::Error),
    /// A sync failed: the kernel may have dropped what it could not write, and says so only once. A retry that succeeds
    /// proves nothing, so the process has to end and start from the log.
    #[error("base: a sync failed, what was written before it may be lost: {0}")]
    Unsynced(#[source] io::Error),
    /// An earlier write failed; the store takes no more until it is reopened.
    #[error("base: poisoned by an earlier failed write; reopen it")]
    Poisoned,
    /// Another process holds the directory, or views of the old store are still alive at a reopening.
    #[error("base: locked")]
    Locked,
    /// The store itself is damaged.
    #[error("base: {message}")]
    Damaged {
        /// What it says.
        message: String,
    },
}
