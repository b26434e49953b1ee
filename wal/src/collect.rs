//! Garbage collection: one bounded step at a time.
//!
//! Segments leave the log at the old end only. Every frame names the oldest segment needed once it is durable itself: so
//! the frame that takes a segment's last live record states that the segment is dead, and only then is it released. A
//! crash in between leaves a file that the next start knows to be left over.
//!
//! What pins the oldest segment is written again at the head when that is cheap: small state out of the book, entries
//! out of the old file, verified. Restated entries have their own kind and truncate nothing.
//!
//! Rewriting lives on credit that appends earn, so it writes at most twice as much as they do, and comes to rest.

use flotilla_raft::Entry;
use flotilla_topology::ShardId;

use crate::codec;
use crate::disk::Disk;
use crate::error::CollectError;
use crate::frame::FrameKind;
use crate::log::Log;
use crate::record::{Record, RotAt, Stored};
use crate::scan::{Found, Reader};
use crate::segment::{BLOCK_BYTES, FIRST_FRAME, Name};
use crate::shelf::{Closed, DiskError};

/// How much one step reads or rewrites at most, in bytes, beyond the last frame that it touches.
const REWRITE_BYTES: u64 = 1 << 20;
/// So many closed segments are left alone unless what lives in the oldest is next to nothing: most die by themselves.
const SEGMENTS_LEFT_ALONE: usize = 2;
/// Next to nothing: this share of a segment.
const NEXT_TO_NOTHING_SHARE: u64 = 64;
/// What a byte appended earns, in bytes that may be rewritten.
pub(crate) const CREDIT_PER_BYTE: u64 = 2;
/// Credit never grows beyond so many segments.
const CREDIT_SEGMENTS: u64 = 4;

/// What one step of [`Log::collect`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing to do.
    Idle,
    /// Wrote zeros into the next spare file.
    Filled,
    /// Rewrote at the head some of what pins the oldest segment, or looked for it.
    Rewrote {
        /// What the frame took, in bytes; 0 if this step found nothing to rewrite yet.
        bytes: u64,
    },
    /// Took the oldest segment out of the log: its file is a spare now, or removed.
    Released {
        /// The number of the segment.
        segment: u64,
    },
}

impl<D: Disk> Log<D> {
    /// One bounded step of housekeeping: see [`Step`]. Call it between appends, again while it does something.
    ///
    /// # Errors
    /// See [`CollectError`].
    pub fn collect(&mut self) -> Result<Step, CollectError> {
        self.check()?;
        let oldest = self.oldest();
        if let Some(front) = self.closed.front().copied() {
            if front.number < oldest {
                // The frame that made it dead said so, and is durable.
                let stated = self.stated_oldest;
                assert!(front.number < stated, "segment {} is dead, but {stated} is stated", front.number);
                self.release(front)?;
                return Ok(Step::Released { segment: front.number });
            }
            if self.is_worth_rewriting(front) {
                let bytes = self.rewrite(front)?;
                return Ok(Step::Rewrote { bytes });
            }
        }
        // Early enough for the next rotation, and not for a log that will not need it for days.
        let half_full = self.active.offset >= self.active.bytes / 2;
        if half_full && self.fill()? {
            return Ok(Step::Filled);
        }
        Ok(Step::Idle)
    }

    pub(crate) const fn credit_bytes_max(&self) -> u64 {
        CREDIT_SEGMENTS * self.options.segment_bytes
    }

    fn release(&mut self, front: Closed) -> Result<(), CollectError> {
        if let Err(error) = self.shelf.release(&self.disk, &[(front.number, front.bytes)]) {
            self.poison();
            return Err(CollectError::Append(error.into()));
        }
        self.closed.pop_front();
        Ok(())
    }

    fn fill(&mut self) -> Result<bool, CollectError> {
        match self.shelf.fill(&self.disk) {
            Ok(filled) => Ok(filled),
            Err(error) => {
                if !matches!(error, DiskError::NoSpace(_)) {
                    self.poison();
                }
                Err(CollectError::Append(error.into()))
            }
        }
    }

    fn is_worth_rewriting(&self, front: Closed) -> bool {
        let live = self.book.live_bytes(front.number);
        if self.credit_bytes == 0 {
            return false;
        }
        let segments = self.closed.len() + 1;
        let crowded = segments > self.options.segments_max && {
            let bytes = self.closed.iter().map(|closed| closed.bytes).sum::<u64>();
            self.book.live_bytes_total() < bytes / 2
        };
        let share = u64::from(self.options.rewrite_live_percent);
        let mostly_dead = self.closed.len() > SEGMENTS_LEFT_ALONE && live <= front.bytes / 100 * share;
        crowded || mostly_dead || live <= self.options.segment_bytes / NEXT_TO_NOTHING_SHARE
    }

    fn rewrite(&mut self, front: Closed) -> Result<u64, CollectError> {
        let mut records = self.book.pinned_in(front.number, REWRITE_BYTES);
        let mut cursor = self.cursor;
        let pinned: u64 = records.iter().map(|(_, record)| codec::record_bytes(record)).sum();
        if pinned < REWRITE_BYTES && self.book.live_bytes(front.number) > 0 {
            let (entries, read_to) = self.live_entries(front)?;
            records.extend(entries);
            cursor = Some((front.number, read_to));
        }
        let bytes = if records.is_empty() { 0 } else { self.restate(&records, front.number)? };
        self.credit_bytes = self.credit_bytes.saturating_sub(bytes);
        // Only now: had there been no room, the same entries must be found again.
        self.cursor = cursor;
        Ok(bytes)
    }

    /// The next live entries of a segment, in the order of their frames, and how far it was read for them.
    fn live_entries(&self, front: Closed) -> Result<(Vec<(ShardId, Record)>, u64), CollectError> {
        let segment = front.number;
        let from = self.cursor.filter(|(number, _)| *number == segment).map_or(FIRST_FRAME, |(_, at)| at);
        assert!(from < front.end, "segment {segment} was read to its end, and something still lives in it");
        let name = Name::Segment(segment).to_string();
        let failed = |source| CollectError::Read { name: name.clone(), source };
        let file = self.disk.open(&name).map_err(failed)?;
        let mut reader = Reader::new(&file, front.end, self.directory, segment).map_err(failed)?;
        let mut records = Vec::new();
        let (mut at, mut found) = (from, 0);
        let rot =
            |offset| CollectError::Rot { segment, offset, shards: self.book.shards_with_entries(segment) };
        while at < front.end && at - from < REWRITE_BYTES && found < REWRITE_BYTES {
            let known = self.rot.contains(&RotAt { segment, offset: at });
            let frame = match reader.at(at).map_err(failed)? {
                Found::Frame(frame) => frame,
                // Nobody in service depends on it. On to where the scan at the start went on.
                Found::Broken(head, _) if known => {
                    at += head.padded().unwrap_or(u64::MAX - at);
                    continue;
                }
                Found::Nothing if known => {
                    at = reader.next_head(at + BLOCK_BYTES).map_err(failed)?.unwrap_or(front.end);
                    continue;
                }
                Found::Broken(..) | Found::Nothing => return Err(rot(at)),
            };
            if frame.head.kind == FrameKind::Records {
                // Intact but unreadable cannot be: this program wrote or replayed it.
                let stored = codec::decode_all(frame.body).map_err(|_| rot(at))?;
                for record in stored {
                    for run in self.live_runs(record, segment) {
                        found += codec::record_bytes(&run.1);
                        records.push(run);
                    }
                }
            }
            at += frame.head.padded().unwrap_or(u64::MAX - at);
        }
        Ok((records, at))
    }

    /// What of a record is live entries, in runs without a gap.
    fn live_runs(&self, stored: Stored, segment: u64) -> Vec<(ShardId, Record)> {
        let Record::Entries(entries) = stored.record else { return Vec::new() };
        let shard = stored.shard;
        let live = entries.into_iter().filter(|entry| self.book.is_live(shard, entry.id, segment));
        let mut runs: Vec<Vec<Entry>> = Vec::new();
        for entry in live {
            match runs.last_mut() {
                Some(run) if run[run.len() - 1].index().next() == entry.index() => run.push(entry),
                _ => runs.push(vec![entry]),
            }
        }
        runs.into_iter().map(|run| (shard, Record::Entries(run))).collect()
    }
}
