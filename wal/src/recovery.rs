//! Opening: from the files of a directory to what every shard had been promised.
//!
//! 1. The headers of all segments are read, and the newest segment is scanned: it states which segment is the oldest
//!    still needed, and it alone may end in a torn frame.
//! 2. The chain of predecessors is followed back to that oldest segment. What is not on it is left over from a crash.
//! 3. The chain is replayed from the oldest to the newest.
//!
//! The last frame of the newest segment deserves care: it is intact in what the file system shows us, yet no later
//! frame says that it was durable. Perhaps its sync had failed, its pages were marked clean, and it will be gone after
//! the next power cut. It is *carried*: written again as the first frame of the new segment, whose header says that
//! the old one ends before it. The new segment appears by one rename, so either the old frame counts or the new one.
//!
//! Rot does not end it: what the damage concerns is taken out of service, if whoever opens consents, and the rest goes on. The
//! records that say so stand in the first frame of the new segment, behind what is carried: they appear with its name, and no
//! segment is released before. As long as the damaged segment is there, the next opening finds the damage again, and that
//! nobody in service depends on it.
//!
//! Recovery writes nothing (`log.rs` does, afterwards): a crash in the middle changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use flotilla_topology::ShardId;

use crate::codec;
use crate::disk::{Disk, File, read_full};
use crate::error::OpenError;
use crate::frame::{FrameKind, Head};
use crate::log::{Rot, TornTail};
use crate::record::RotAt;
use crate::replay::Replay;
use crate::scan::{Damage, Frame, Reader, Scanned, Visitor, scan, shards_of};
use crate::segment::{BLOCK_BYTES, End, FIRST_FRAME, FORMAT_VERSION, Header, Name, NoHeader};
use crate::shelf::Closed;
use crate::spent::Spent;

/// A frame to be written again.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub list: Vec<u8>,
    pub body: Vec<u8>,
}

/// What recovery found, and how writing shall go on.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub replay: Replay,
    /// The chain, oldest first, without segments in which no frame counts.
    pub closed: Vec<Closed>,
    /// Where the chain ends.
    pub previous: End,
    /// The sequence number of the next frame.
    pub sequence: u64,
    pub carried: Option<Carried>,
    pub torn: Option<TornTail>,
    /// Where something is damaged that had been durable, in order.
    pub rot: Vec<RotAt>,
    /// Something is missing too, beside the damage.
    pub missing: Option<OpenError>,
    pub files: Files,
    /// Segments that are not needed once the new one is durable.
    pub leftovers: Vec<u64>,
    /// The number of the new segment.
    pub number: u64,
}

/// The files of the directory, by their names.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub segments: Vec<u64>,
    pub spares: Vec<u64>,
    pub unfinished: Vec<u64>,
}

impl Files {
    fn list<D: Disk>(disk: &D) -> Result<Self, OpenError> {
        let names = disk.list().map_err(|source| failed(".", "list", source))?;
        let mut files = Self::default();
        for name in names {
            match Name::parse(&name) {
                Some(Name::Segment(number)) => files.segments.push(number),
                Some(Name::Spare(number)) => files.spares.push(number),
                Some(Name::Unfinished(number)) => files.unfinished.push(number),
                None => {}
            }
        }
        files.segments.sort_unstable();
        files.spares.sort_unstable();
        Ok(files)
    }

    /// The number after all that any file bears.
    fn next_number(&self) -> Result<u64, OpenError> {
        let segments = self.segments.iter().map(|number| Name::Segment(*number));
        let spares = self.spares.iter().map(|number| Name::Spare(*number));
        let unfinished = self.unfinished.iter().map(|number| Name::Unfinished(*number));
        let last = segments.chain(spares).chain(unfinished).max_by_key(|name| name.number());
        let number = last.map_or(0, Name::number);
        // A log that runs for ever does not come here. Without a look, a file that somebody named like this would make
        // the numbers begin anew, and an old segment pass for a new one.
        match last.filter(|_| number > NUMBER_MAX) {
            Some(name) => Err(OpenError::Numbers { name: name.to_string() }),
            None => Ok(number + 1),
        }
    }
}

/// Beyond this number no file is of our making: a process does not live long enough to use up what is left.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// An opened segment.
struct Segment<F> {
    number: u64,
    file: F,
    bytes: u64,
    /// `None` if it is damaged.
    header: Option<Header>,
}

/// What the newest segment says.
#[derive(Default)]
struct Newest {
    scanned: Scanned,
    last: Option<(u64, Head)>,
    oldest: u64,
    shrunk: bool,
}

impl Visitor for Newest {
    fn frame(&mut self, frame: &Frame<'_>) {
        self.last = Some((frame.offset, frame.head));
        self.oldest = self.oldest.max(frame.head.oldest);
    }

    fn damage(&mut self, _: &Damage) {}
}

impl Newest {
    /// The torn frame, if there is one.
    fn torn(&self) -> Option<u64> {
        self.scanned.damage.last().filter(|it| it.offset >= self.scanned.durable).map(|it| it.offset)
    }

    /// The last frame, if nothing after it states that it was durable.
    fn unconfirmed(&self) -> Option<(u64, Head)> {
        self.last.filter(|(offset, _)| *offset >= self.scanned.durable)
    }
}

/// Reads the directory. See the module.
pub(crate) fn read<D: Disk>(disk: &D, directory: u128) -> Result<Plan, OpenError> {
    let files = Files::list(disk)?;
    let mut plan = Plan { sequence: 1, files, ..Plan::default() };
    let mut segments = BTreeMap::new();
    for number in &plan.files.segments {
        segments.insert(*number, open(disk, *number, directory)?);
    }
    plan.number = plan.files.next_number()?;
    let Some((_, segment)) = segments.last_key_value() else { return Ok(plan) };
    let mut newest = survey(segment, directory)?;
    if segment.header.is_none()
        && let Some((_, before)) = segments.range(..segment.number).next_back()
    {
        // What its header said of old segments is lost. They were stated to be dead before that, or are still there.
        newest.oldest = newest.oldest.max(survey(before, directory)?.oldest);
    }
    let chain = chain(&segments, newest.oldest);
    for (position, number) in chain.iter().enumerate() {
        let segment = &segments[number];
        let successor = chain.get(position + 1).map(|number| &segments[number]);
        match successor {
            Some(successor) => {
                let end = successor.header.map(|header| header.previous);
                let end = end.filter(|end| end.segment == *number);
                replay_closed(&mut plan, segment, end, directory)?;
            }
            None => replay_newest(&mut plan, segment, &newest, directory)?,
        }
    }
    plan.missing = check_chain(&segments, &chain, &newest).err();
    let kept = |number: &u64| plan.closed.iter().any(|closed| closed.number == *number);
    plan.leftovers = segments.keys().filter(|number| !kept(number)).copied().collect();
    Ok(plan)
}

fn open<D: Disk>(disk: &D, number: u64, directory: u128) -> Result<Segment<D::File>, OpenError> {
    let name = Name::Segment(number).to_string();
    let file = disk.open(&name).map_err(|source| failed(&name, "open", source))?;
    let bytes = file.len().map_err(|source| failed(&name, "measure", source))?;
    let mut block = vec![0; BLOCK_BYTES as usize];
    let count = read_full(&file, &mut block, 0).map_err(|source| failed(&name, "read", source))?;
    let header = match Header::parse(&block[..count]) {
        Ok(header) if header.directory != directory => {
            return Err(OpenError::Foreign { segment: number, found: header.directory });
        }
        Ok(header) if header.number != number => {
            return Err(OpenError::Renamed { name, found: header.number });
        }
        Ok(header) => Some(header),
        Err(NoHeader::Version(found)) => {
            return Err(OpenError::Version { segment: number, found, known: FORMAT_VERSION });
        }
        Err(NoHeader::Damaged) => None,
    };
    Ok(Segment { number, file, bytes, header })
}

fn survey<F: File>(segment: &Segment<F>, directory: u128) -> Result<Newest, OpenError> {
    let mut newest = Newest::default();
    if let Some(header) = segment.header {
        newest.oldest = header.oldest;
        newest.shrunk = segment.bytes < header.bytes;
    }
    newest.scanned = walk(segment, u64::MAX, directory, &mut newest)?;
    Ok(newest)
}

/// The numbers from the oldest needed segment to the newest, as far as there are files.
fn chain<F>(segments: &BTreeMap<u64, Segment<F>>, oldest: u64) -> Vec<u64> {
    let mut chain: Vec<u64> = segments.keys().next_back().copied().into_iter().collect();
    while let Some(number) = chain.last().copied().filter(|number| *number > oldest) {
        let previous = match segments[&number].header {
            Some(header) => Some(header.previous.segment).filter(|previous| *previous < number),
            // The next older file is the best guess. Opening fails anyway: this only finds names.
            None => segments.range(..number).next_back().map(|(number, _)| *number),
        };
        match previous.filter(|previous| segments.contains_key(previous)) {
            Some(previous) => chain.push(previous),
            None => break,
        }
    }
    chain.reverse();
    chain
}

/// Whether the chain is complete at both ends.
fn check_chain<F>(
    segments: &BTreeMap<u64, Segment<F>>,
    chain: &[u64],
    newest: &Newest,
) -> Result<(), OpenError> {
    if let Some(segment) = newest.scanned.successor {
        return Err(OpenError::Missing { segment });
    }
    let Some(first) = chain.first().map(|number| &segments[number]) else { return Ok(()) };
    let previous = first.header.map_or(0, |header| header.previous.segment);
    // Numbers only grow: a header that names a later one was not written by a log, and what it says of its predecessor's being
    // needed no longer is not believed either.
    if previous != 0 && (previous >= newest.oldest || previous >= first.number) {
        return Err(OpenError::Missing { segment: previous });
    }
    Ok(())
}

fn replay_closed<F: File>(
    plan: &mut Plan,
    segment: &Segment<F>,
    end: Option<End>,
    directory: u128,
) -> Result<(), OpenError> {
    let number = segment.number;
    lost_header(plan, segment);
    let mut visitor = Replayer::new(&mut plan.replay, number);
    let limit = end.map_or(u64::MAX, |end| end.offset);
    let scanned = walk(segment, limit, directory, &mut visitor)?;
    visitor.done()?;
    plan.rot.extend(scanned.damage.iter().map(|damage| RotAt { segment: number, offset: damage.offset }));
    // Opening writes a seal at the end: not where no file reaches.
    if let Some(end) = end
        && (scanned.end != end.offset
            || end.offset > segment.bytes
            || scanned.checksum.is_some_and(|checksum| checksum != end.checksum))
    {
        lost(plan, RotAt { segment: number, offset: scanned.end.min(end.offset) });
    }
    // The collector looks for frames no further than there are any.
    let offset = end.map_or(scanned.end, |end| scanned.end.min(end.offset)).min(segment.bytes);
    plan.closed.push(Closed { number, bytes: segment.bytes, end: offset });
    // Should the next segment not say it itself.
    plan.previous = End { segment: number, offset, checksum: scanned.checksum.unwrap_or_default() };
    plan.sequence = scanned.sequence.unwrap_or(plan.sequence);
    Ok(())
}

fn replay_newest<F: File>(
    plan: &mut Plan,
    segment: &Segment<F>,
    newest: &Newest,
    directory: u128,
) -> Result<(), OpenError> {
    let number = segment.number;
    lost_header(plan, segment);
    let scanned = &newest.scanned;
    let cut = newest.torn().unwrap_or(scanned.end);
    let unconfirmed = newest.unconfirmed();
    let mut visitor = Replayer::new(&mut plan.replay, number);
    visitor.carry = unconfirmed.map(|(offset, _)| (offset, plan.number));
    walk(segment, cut, directory, &mut visitor)?;
    plan.carried = visitor.done()?;
    let durable = scanned.damage.iter().filter(|it| it.offset < scanned.durable);
    plan.rot.extend(durable.map(|it| RotAt { segment: number, offset: it.offset }));
    if newest.shrunk {
        lost(plan, RotAt { segment: number, offset: segment.bytes });
    }
    let before = (plan.previous, plan.sequence);
    let (previous, first) = segment.header.map_or(before, |header| (header.previous, header.sequence));
    plan.torn = newest.torn().map(|offset| TornTail { segment: number, offset });
    let (offset, checksum, sequence) = match (unconfirmed, newest.last) {
        (Some((offset, head)), _) => (offset, head.previous, head.sequence),
        (None, Some((_, head))) => (cut, head.checksum, head.sequence + 1),
        (None, None) => (FIRST_FRAME, previous.checksum, first),
    };
    plan.sequence = sequence;
    if offset == FIRST_FRAME {
        plan.previous = previous;
    } else {
        plan.previous = End { segment: number, offset, checksum };
        plan.closed.push(Closed { number, bytes: segment.bytes, end: offset });
    }
    Ok(())
}

fn lost_header<F>(plan: &mut Plan, segment: &Segment<F>) {
    if segment.header.is_none() {
        lost(plan, RotAt { segment: segment.number, offset: 0 });
    }
}

/// Something was lost here, and nobody knows whom it concerns.
fn lost(plan: &mut Plan, at: RotAt) {
    plan.rot.push(at);
    plan.replay.lost(None, at);
}

impl Plan {
    /// What the damage concerns, if there is any. `spent`: see [`crate::Log::open_quarantining`].
    pub fn rot(&self, spent: &Spent) -> Option<Rot> {
        let at = *self.rot.first()?;
        Some(Rot { at, shards: self.replay.rotten(spent) })
    }

    /// Takes shards out of service. What is to be written of it goes into the first frame of the new segment.
    pub fn quarantine(&mut self, shards: &BTreeMap<ShardId, RotAt>, spent: &Spent) {
        if shards.is_empty() {
            return;
        }
        let records = self.replay.quarantine(shards, spent, self.number);
        let carried = self.carried.get_or_insert_default();
        let mut names: BTreeSet<ShardId> = shards_of(&carried.list).into_iter().collect();
        names.extend(shards.keys());
        carried.list = names.iter().flat_map(|shard| shard.0.to_le_bytes()).collect();
        records.iter().for_each(|(shard, record)| codec::encode(*shard, false, record, &mut carried.body));
    }
}

fn walk<F: File>(
    segment: &Segment<F>,
    limit: u64,
    directory: u128,
    visitor: &mut impl Visitor,
) -> Result<Scanned, OpenError> {
    let scanned = Reader::new(&segment.file, limit, directory, segment.number).and_then(|mut reader| {
        let header = segment.header.as_ref();
        let checksum = header.map(|header| header.previous.checksum);
        scan(&mut reader, checksum, header.map(|header| header.sequence), visitor)
    });
    scanned.map_err(|source| failed(&Name::Segment(segment.number).to_string(), "read", source))
}

/// Replays the frames of one segment.
struct Replayer<'a> {
    replay: &'a mut Replay,
    segment: u64,
    /// The offset of the frame to carry, and the segment that it goes to.
    carry: Option<(u64, u64)>,
    carried: Option<Carried>,
    malformed: Option<OpenError>,
}

impl<'a> Replayer<'a> {
    const fn new(replay: &'a mut Replay, segment: u64) -> Self {
        Self { replay, segment, carry: None, carried: None, malformed: None }
    }

    fn done(self) -> Result<Option<Carried>, OpenError> {
        self.malformed.map_or(Ok(self.carried), Err)
    }
}

impl Visitor for Replayer<'_> {
    fn frame(&mut self, frame: &Frame<'_>) {
        let mut segment = self.segment;
        // A mark holds nothing to carry.
        if let Some((offset, to)) = self.carry
            && offset == frame.offset
            && frame.head.kind == FrameKind::Records
        {
            segment = to;
            self.carried = Some(Carried { list: frame.list.to_vec(), body: frame.body.to_vec() });
        }
        match codec::decode_all(frame.body) {
            Ok(records) => self.replay.apply(records, segment),
            Err(source) => {
                let malformed = OpenError::Malformed { segment: self.segment, offset: frame.offset, source };
                self.malformed.get_or_insert(malformed);
            }
        }
    }

    fn damage(&mut self, damage: &Damage) {
        self.replay.lost(damage.shards.clone(), RotAt { segment: self.segment, offset: damage.offset });
    }
}

fn failed(name: &str, action: &'static str, source: io::Error) -> OpenError {
    OpenError::Disk { name: name.to_owned(), action, source }
}
