//! The log itself: open, append, mark.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use flotilla_raft::{Entry, HardState, LogId, ReplicaId};
use flotilla_topology::ShardId;

use crate::book::{Book, Ended};
use crate::codec;
use crate::collect::CREDIT_PER_BYTE;
use crate::disk::{Disk, File, write_all};
use crate::error::{AppendError, OpenError};
use crate::frame::{FrameBuffer, FrameKind, HEAD_BYTES, Salt, Statement};
use crate::options::Options;
use crate::record::{Batch, RotAt};
use crate::recovery::{self, Carried, Plan};
use crate::segment::{End, FIRST_FRAME, Header, Name, SEAL_BYTES, round_up};
use crate::shelf::{Closed, DiskError, Shelf, failed, publish};
use crate::spent::Spent;

/// What a shard had been promised when the log was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardState {
    /// The replica of this shard here.
    pub replica: ReplicaId,
    /// What the shard began as.
    pub genesis: Bytes,
    /// The newest hard state; all zero if none was ever written.
    pub hard_state: HardState,
    /// The compaction mark, or where the log was reset to; `0@0` if neither happened.
    pub compacted: LogId,
    /// The entries after it, without a gap.
    pub entries: Vec<Entry>,
    /// A snapshot that was about to become current.
    pub intent: Option<LogId>,
}

/// Where a torn tail was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub segment: u64,
    /// Its first byte that does not count any more.
    pub offset: u64,
}

/// Damage to what had been durable, and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    /// The first damaged place.
    pub at: RotAt,
    /// The shards that cannot go on, each with the damage that concerns it. Empty: whatever is damaged, nobody depends on it.
    pub shards: BTreeMap<ShardId, RotAt>,
}

/// Who is out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The greatest replica id that may ever have lived here: all up to it are spent.
    pub replica: ReplicaId,
    /// Where the damage was found.
    pub at: RotAt,
}

/// What was found in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The shards that have a replica here.
    pub shards: BTreeMap<ShardId, ShardState>,
    /// The greatest replica id that a shard ever had here and that ended.
    pub tombstones: BTreeMap<ShardId, ReplicaId>,
    /// The shards that are out of service, those of [`Recovered::rot`] among them. They are in `tombstones` too.
    pub quarantined: BTreeMap<ShardId, Quarantined>,
    /// Damage was found, and what it concerns was taken out of service now.
    pub rot: Option<Rot>,
    /// An unfinished write was found and cut off. (One whose first block never reached the disk cannot be told from
    /// the stale bytes of a recycled file, and goes unnoticed.)
    pub torn: Option<TornTail>,
}

impl Recovered {
    pub(crate) fn of(
        shards: BTreeMap<ShardId, ShardState>,
        ended: &BTreeMap<ShardId, Ended>,
        rot: Option<Rot>,
        torn: Option<TornTail>,
    ) -> Self {
        let quarantined = ended.iter().filter_map(|(shard, it)| {
            it.quarantine.map(|at| (*shard, Quarantined { replica: it.replica, at }))
        });
        let quarantined = quarantined.collect();
        let tombstones = ended.iter().map(|(shard, it)| (*shard, it.replica)).collect();
        Self { shards, tombstones, quarantined, rot, torn }
    }
}

/// Numbers for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments of the log, the one being written included.
    pub segments: usize,
    /// Empty segment files kept for reuse.
    pub spares: usize,
    /// Length of the segments, in bytes.
    pub bytes: u64,
    /// What of it the live entries take, in bytes. (Of a range cut in the middle, by its share.)
    pub live_bytes: u64,
    /// Frames written since the log was opened.
    pub frames: u64,
    /// Bytes written in frames since the log was opened, padding included.
    pub written_bytes: u64,
    /// How many shards the appended frames named, each counted in each frame.
    pub named_shards: u64,
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Active<F> {
    pub file: F,
    pub number: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Where the next frame begins. Everything before it is durable.
    pub offset: u64,
    /// Checksum of the last frame.
    pub checksum: u32,
}

/// The one log of a node. Not shared: one thread owns it.
#[derive(Debug)]
pub struct Log<D: Disk> {
    pub(crate) disk: D,
    pub(crate) options: Options,
    pub(crate) directory: u128,
    pub(crate) active: Active<D::File>,
    /// Oldest first.
    pub(crate) closed: VecDeque<Closed>,
    pub(crate) shelf: Shelf<D::File>,
    pub(crate) book: Book,
    /// The sequence number of the next frame.
    sequence: u64,
    /// The oldest segment needed, as a durable frame states it.
    pub(crate) stated_oldest: u64,
    /// The last frame is covered by no later statement yet.
    uncovered: bool,
    poisoned: bool,
    buffer: FrameBuffer,
    frames: u64,
    pub(crate) written_bytes: u64,
    named_shards: u64,
    /// What garbage collection may still write, and how far it has read: see `collect.rs`.
    pub(crate) credit_bytes: u64,
    pub(crate) cursor: Option<(u64, u64)>,
    /// Damaged places that opening knew of: nothing live is there.
    pub(crate) rot: BTreeSet<RotAt>,
}

impl<D: Disk> Log<D> {
    /// Opens the log in a directory whose random id is `directory`, and says what it holds.
    ///
    /// A torn tail is cut; writing goes on in a new segment. Opening again after a crash in the middle gives the same.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing is ever cut that had been durable: rot is refused.
    pub fn open(disk: D, options: Options, directory: u128) -> Result<(Self, Recovered), OpenError> {
        Self::open_quarantining(disk, options, directory, &Spent::default(), |_| false)
    }

    /// The same, but where rot is found and `consent` says so, the shards that it concerns are taken out of service, durably, and
    /// the others go on.
    ///
    /// `spent`: what else remembers of the ids that may ever have lived here.
    ///
    /// # Errors
    /// See [`OpenError`]. Without consent nothing was written.
    pub fn open_quarantining(
        disk: D,
        options: Options,
        directory: u128,
        spent: &Spent,
        consent: impl FnOnce(&Rot) -> bool,
    ) -> Result<(Self, Recovered), OpenError> {
        options.validate()?;
        let mut plan = recovery::read(&disk, directory)?;
        let rot = plan.rot(spent);
        if let Some(rot) = &rot {
            if !consent(rot) {
                return Err(OpenError::rot(rot));
            }
            plan.quarantine(&rot.shards, spent);
        }
        if let Some(missing) = plan.missing.take() {
            return Err(missing);
        }
        // Before anything is made: the next attempt would find a segment, and an empty log in good order.
        if options.must_exist && plan.files.segments.is_empty() {
            return Err(OpenError::Lost);
        }
        let replayed = std::mem::take(&mut plan.replay)
            .finish()
            .map_err(|(shard, what)| OpenError::Inconsistent { shard, what })?;
        let recovered = Recovered::of(replayed.shards, &replayed.ended, rot, plan.torn);
        let log = Self::go_on(disk, options, directory, plan, replayed.book)?;
        Ok((log, recovered))
    }

    /// Begins a new segment after what was found.
    fn go_on(disk: D, options: Options, directory: u128, plan: Plan, book: Book) -> Result<Self, DiskError> {
        let files = &plan.files;
        let bytes = options.segment_bytes;
        // The plan already counts on its number.
        let next = plan.number + 1;
        let mut shelf = Shelf::new(&disk, bytes, options.spares_max, &files.spares, &files.unfinished, next)?;
        let mut buffer = FrameBuffer::default();
        let oldest = book.oldest().unwrap_or(plan.number);
        let salt = Salt { directory, segment: plan.number, offset: FIRST_FRAME };
        let (mut checksum, mut first) = (plan.previous.checksum, &[][..]);
        if let Some(Carried { list, body }) = &plan.carried {
            buffer.begin_with(list, body);
            let says = Statement {
                kind: FrameKind::Records,
                sequence: plan.sequence,
                durable: FIRST_FRAME,
                oldest,
                previous: checksum,
            };
            (checksum, first) = buffer.finish(says, salt);
        }
        let frames = u64::from(plan.carried.is_some());
        let bytes = bytes.max(FIRST_FRAME + first.len() as u64 + SEAL_BYTES);
        let offset = FIRST_FRAME + first.len() as u64;
        let (mut file, spare) = shelf.take(&disk, bytes)?;
        let (number, previous) = (plan.number, plan.previous);
        let header = Header { directory, number, bytes, oldest, sequence: plan.sequence, previous };
        publish(&disk, &mut file, spare, &header, first)?;
        let leftovers = leftovers(&disk, &plan)?;
        let mut log = Self {
            options,
            directory,
            active: Active { file, number, bytes, offset, checksum },
            closed: plan.closed.into(),
            shelf,
            book,
            sequence: plan.sequence + frames,
            stated_oldest: oldest,
            uncovered: frames > 0,
            poisoned: false,
            buffer,
            frames: 0,
            written_bytes: 0,
            named_shards: 0,
            credit_bytes: 0,
            cursor: None,
            rot: plan.rot.iter().copied().collect(),
            disk,
        };
        log.credit_bytes = log.credit_bytes_max();
        // Only what counts is sealed. Where the newest segment held nothing but the frame that is carried, that frame may have made
        // everything before it dead: then its predecessor was collected, and there is nothing left to seal.
        let ends_in = |closed: &Closed| closed.number == previous.segment && previous.offset <= closed.bytes;
        if log.closed.back().is_some_and(ends_in) {
            let name = Name::Segment(previous.segment);
            let mut old = log.disk.open(&name.to_string()).map_err(failed(name, "open"))?;
            log.seal(&mut old, previous)?;
        }
        log.shelf.release(&log.disk, &leftovers)?;
        Ok(log)
    }

    /// Writes all batches as one frame, with one write and one sync. When it returns, they are durable.
    ///
    /// # Errors
    /// [`AppendError::NoSpace`] before anything was written; after every other error the log is poisoned.
    ///
    /// # Panics
    /// When a record contradicts what its shard wrote before (see [`crate::Record`]).
    pub fn append(&mut self, batches: &[Batch]) -> Result<(), AppendError> {
        self.check()?;
        let names = names(batches);
        if names.is_empty() {
            return Ok(());
        }
        let bytes = batches.iter().map(Batch::bytes).sum();
        self.make_room(names.len(), bytes)?;
        // What panics below leaves a book that speaks of a frame that was never written.
        self.poisoned = true;
        let out = self.buffer.begin(&names);
        let before = out.len();
        for (shard, record) in batches.iter().flat_map(Batch::records) {
            self.book.apply(*shard, record, self.active.number);
            codec::encode(*shard, false, record, out);
        }
        let written = (out.len() - before) as u64;
        assert!(written == bytes, "the batches said {bytes} bytes and took {written}");
        let written = self.flush(FrameKind::Records)?;
        self.named_shards += names.len() as u64;
        let earned = written.saturating_mul(CREDIT_PER_BYTE);
        self.credit_bytes = self.credit_bytes.saturating_add(earned).min(self.credit_bytes_max());
        Ok(())
    }

    /// Call when there is nothing to append: states durably that everything written is durable, so that later damage
    /// to the last frame is known as rot. Says whether there was anything to state.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn idle(&mut self) -> Result<bool, AppendError> {
        self.check()?;
        if !self.uncovered {
            return Ok(false);
        }
        self.mark()?;
        Ok(true)
    }

    /// Writes a frame without records.
    pub(crate) fn mark(&mut self) -> Result<(), AppendError> {
        self.make_room(0, 0)?;
        self.poisoned = true;
        self.buffer.begin(&[]);
        self.flush(FrameKind::Mark)?;
        Ok(())
    }

    /// Writes records that already hold once more. They were live in segment `from`.
    pub(crate) fn restate(
        &mut self,
        records: &[(ShardId, crate::record::Record)],
        from: u64,
    ) -> Result<u64, AppendError> {
        let mut names: Vec<ShardId> = records.iter().map(|(shard, _)| *shard).collect();
        names.sort_unstable();
        names.dedup();
        self.make_room(names.len(), records.iter().map(|(_, record)| codec::record_bytes(record)).sum())?;
        self.poisoned = true;
        let out = self.buffer.begin(&names);
        for (shard, record) in records {
            self.book.restate(*shard, record, from, self.active.number);
            codec::encode(*shard, true, record, out);
        }
        self.flush(FrameKind::Records)
    }

    /// Writes and syncs the frame that the buffer holds, and takes the poison away again.
    fn flush(&mut self, kind: FrameKind) -> Result<u64, AppendError> {
        let oldest = self.oldest();
        let active = &mut self.active;
        let name = Name::Segment(active.number);
        let says = Statement {
            kind,
            sequence: self.sequence,
            durable: active.offset,
            oldest,
            previous: active.checksum,
        };
        let salt = Salt { directory: self.directory, segment: active.number, offset: active.offset };
        let (checksum, bytes) = self.buffer.finish(says, salt);
        let written = bytes.len() as u64;
        assert!(
            active.offset + written + SEAL_BYTES <= active.bytes,
            "{name} has no room for {written} bytes"
        );
        write_all(&mut active.file, bytes, active.offset).map_err(failed(name, "write"))?;
        // Sync before answering: an acknowledged entry lost in a crash could be missing from its quorum.
        active.file.sync_data().map_err(failed(name, "sync"))?;
        active.offset += written;
        active.checksum = checksum;
        self.sequence += 1;
        self.stated_oldest = oldest;
        self.uncovered = kind != FrameKind::Mark;
        self.frames += 1;
        self.written_bytes += written;
        self.poisoned = false;
        Ok(written)
    }

    /// Makes sure that the frame fits into the active segment, and begins a new one if it does not.
    fn make_room(&mut self, shards: usize, body_bytes: u64) -> Result<(), AppendError> {
        let frame = round_up(HEAD_BYTES as u64 + shards as u64 * 8 + body_bytes);
        if self.active.offset + frame + SEAL_BYTES <= self.active.bytes {
            return Ok(());
        }
        // A frame larger than a segment gets a segment of its own.
        let bytes = self.options.segment_bytes.max(FIRST_FRAME + frame + SEAL_BYTES);
        let (file, spare) = match self.shelf.take(&self.disk, bytes) {
            Ok(taken) => taken,
            Err(error) => {
                self.poisoned = !matches!(error, DiskError::NoSpace(_));
                return Err(error.into());
            }
        };
        self.poisoned = true;
        self.rotate(file, spare, bytes)?;
        self.poisoned = false;
        Ok(())
    }

    /// Goes on in a new segment. Every frame of the old one was synced when it was written: the header may state its end.
    fn rotate(&mut self, mut file: D::File, spare: Name, bytes: u64) -> Result<(), DiskError> {
        let old = &self.active;
        let previous = End { segment: old.number, offset: old.offset, checksum: old.checksum };
        let (number, oldest) = (self.shelf.number(), self.oldest());
        let directory = self.directory;
        let header = Header { directory, number, bytes, oldest, sequence: self.sequence, previous };
        publish(&self.disk, &mut file, spare, &header, &[])?;
        let checksum = previous.checksum;
        let new = Active { file, number, bytes, offset: FIRST_FRAME, checksum };
        let mut old = std::mem::replace(&mut self.active, new);
        self.seal(&mut old.file, previous)?;
        self.closed.push_back(Closed { number: old.number, bytes: old.bytes, end: old.offset });
        self.uncovered = false;
        Ok(())
    }

    /// Says in the old segment that a successor exists: should the newest segment ever be missing, that is noticed. The
    /// seal stands after the end that the successor states, so it changes nothing, and no frame enters the
    /// successor before the seal is durable.
    fn seal(&self, old: &mut D::File, end: End) -> Result<(), DiskError> {
        let says = Statement {
            kind: FrameKind::Seal,
            sequence: self.sequence,
            durable: end.offset,
            oldest: self.active.number,
            previous: end.checksum,
        };
        let salt = Salt { directory: self.directory, segment: end.segment, offset: end.offset };
        let mut buffer = FrameBuffer::default();
        buffer.begin(&[]);
        let name = Name::Segment(end.segment);
        write_all(old, buffer.finish(says, salt).1, end.offset).map_err(failed(name, "write"))?;
        old.sync_data().map_err(failed(name, "sync"))
    }

    /// The oldest segment that is still needed.
    pub(crate) fn oldest(&self) -> u64 {
        self.book.oldest().unwrap_or(self.active.number)
    }

    pub(crate) fn check(&self) -> Result<(), AppendError> {
        if self.poisoned { Err(AppendError::Poisoned) } else { Ok(()) }
    }

    pub(crate) const fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Numbers for the metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            segments: self.closed.len() + 1,
            spares: self.shelf.spares(),
            bytes: self.closed.iter().map(|closed| closed.bytes).sum::<u64>() + self.active.bytes,
            live_bytes: self.book.live_bytes_total(),
            frames: self.frames,
            written_bytes: self.written_bytes,
            named_shards: self.named_shards,
        }
    }
}

/// The shards that the batches name, each once.
fn names(batches: &[Batch]) -> Vec<ShardId> {
    let mut names: Vec<ShardId> = batches.iter().flat_map(Batch::records).map(|(shard, _)| *shard).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Number and length of the segments that are not needed.
fn leftovers<D: Disk>(disk: &D, plan: &Plan) -> Result<Vec<(u64, u64)>, DiskError> {
    let length = |number: &u64| {
        let name = Name::Segment(*number);
        let file = disk.open(&name.to_string()).map_err(failed(name, "open"))?;
        Ok((*number, file.len().map_err(failed(name, "measure"))?))
    };
    plan.leftovers.iter().map(length).collect()
}
