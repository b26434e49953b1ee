//! What snapshots took of the network, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the process started, and what is under way now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotCounts {
    /// Bytes of chunks that left.
    pub sent_bytes: u64,
    /// Bytes of chunks that arrived.
    pub received_bytes: u64,
    /// Streams that send.
    pub sending: usize,
    /// Streams that wait until another has ended.
    pub waiting: u64,
    /// Streams that are taken in.
    pub receiving: usize,
}

/// The same, as it is counted.
#[derive(Debug, Default)]
pub(in crate::transport) struct Traffic {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    waiting: AtomicU64,
}

/// A stream that waits for its turn, for as long as this lives.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Traffic);

impl Traffic {
    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// With how many streams send and are taken in.
    pub(in crate::transport) fn read(&self, sending: usize, receiving: usize) -> SnapshotCounts {
        SnapshotCounts {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sending,
            waiting: self.waiting.load(Ordering::Relaxed),
            receiving,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
