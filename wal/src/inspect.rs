//! A look into a directory without opening it: for the operator who has to understand what a node found.
//!
//! Nothing is written. [`segment`] reports a place as it is; whether damage is rot or a torn tail, [`judge`] says, as
//! [`crate::Log::open`] would.

use std::io;

use flotilla_topology::ShardId;

use crate::codec;
use crate::disk::{Disk, File, read_full};
use crate::error::OpenError;
use crate::frame::FrameKind;
use crate::log::Recovered;
use crate::record::RotAt;
use crate::recovery;
use crate::scan::{Found, Reader};
use crate::segment::{BLOCK_BYTES, FIRST_FRAME, Header, Name};
use crate::spent::Spent;

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number, by its name.
    pub number: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// What its header says; `None` if that is unreadable (then no frame can be read either).
    pub header: Option<Stated>,
    /// The frames and broken places, front to back.
    pub places: Vec<Place>,
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The id of the directory that it belongs to.
    pub directory: u128,
    /// Its number.
    pub number: u64,
    /// The oldest segment that was still needed.
    pub oldest: u64,
    /// The previous segment; 0 if there was none.
    pub previous: u64,
    /// Where the previous segment ends: what lies there or beyond does not count.
    pub previous_end: u64,
}

/// What stands at one place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An intact frame.
    Frame {
        /// Where it begins.
        offset: u64,
        /// Its length without padding, in bytes.
        bytes: u64,
        /// What it is for.
        kind: FrameKind,
        /// Its place among all frames of the directory.
        sequence: u64,
        /// The shards that it names.
        shards: Vec<ShardId>,
        /// How many records it holds; `None` if this program cannot read them.
        records: Option<usize>,
    },
    /// The head of a frame is intact, the rest is not.
    Broken {
        /// Where it begins.
        offset: u64,
        /// The shards that it names, if they are readable.
        shards: Option<Vec<ShardId>>,
    },
    /// There is no frame here, but there are more further on.
    Gap {
        /// Where it begins.
        offset: u64,
    },
}

/// What opening would find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What every shard would be given back, with the consent to take out of service whom rot concerns.
    pub recovered: Recovered,
    /// Every place at which something is damaged that had been durable, in order. Perhaps nobody in service depends on it.
    pub rot: Vec<RotAt>,
    /// The segments that are part of the log, ascending. The others are left over from a crash.
    pub segments: Vec<u64>,
}

/// What [`crate::Log::open_quarantining`] would find, of whom the log alone knows. `directory`: the random id of the directory.
///
/// # Errors
/// Why the log could not be opened, other than rot.
pub fn judge<D: Disk>(disk: &D, directory: u128) -> Result<Judgement, OpenError> {
    let mut plan = recovery::read(disk, directory)?;
    let (rot, nobody) = (plan.rot.clone(), Spent::default());
    let hurt = plan.rot(&nobody);
    if let Some(hurt) = &hurt {
        plan.quarantine(&hurt.shards, &nobody);
    }
    if let Some(missing) = plan.missing.take() {
        return Err(missing);
    }
    let (torn, mut segments) = (plan.torn, plan.files.segments);
    // The newest is part of it even if none of its frames counts.
    let newest = segments.last().copied();
    segments.retain(|number| !plan.leftovers.contains(number) || Some(*number) == newest);
    let replayed = std::mem::take(&mut plan.replay).finish();
    let replayed = replayed.map_err(|(shard, what)| OpenError::Inconsistent { shard, what })?;
    Ok(Judgement { recovered: Recovered::of(replayed.shards, &replayed.ended, hurt, torn), rot, segments })
}

/// The numbers of all segment files, ascending.
///
/// # Errors
/// Whatever the file system reports.
pub fn segments<D: Disk>(disk: &D) -> io::Result<Vec<u64>> {
    let number = |name: &String| match Name::parse(name) {
        Some(Name::Segment(number)) => Some(number),
        _ => None,
    };
    let mut numbers: Vec<u64> = disk.list()?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads one segment from front to back.
///
/// # Errors
/// Whatever the file system reports.
pub fn segment<D: Disk>(disk: &D, number: u64) -> io::Result<Segment> {
    let file = disk.open(&Name::Segment(number).to_string())?;
    let mut block = vec![0; BLOCK_BYTES as usize];
    let count = read_full(&file, &mut block, 0)?;
    let header = Header::parse(&block[..count]).ok();
    let mut found = Segment { number, bytes: file.len()?, header: header.map(stated), places: Vec::new() };
    let Some(header) = header else { return Ok(found) };
    let mut reader = Reader::new(&file, u64::MAX, header.directory, header.number)?;
    let mut offset = FIRST_FRAME;
    while offset < found.bytes {
        let next = match reader.at(offset)? {
            Found::Frame(frame) => {
                let head = frame.head;
                found.places.push(Place::Frame {
                    offset,
                    bytes: head.length().unwrap_or(0),
                    kind: head.kind,
                    sequence: head.sequence,
                    shards: crate::scan::shards_of(frame.list),
                    records: codec::decode_all(frame.body).ok().map(|records| records.len()),
                });
                head.padded()
            }
            Found::Broken(head, shards) => {
                found.places.push(Place::Broken { offset, shards });
                head.padded()
            }
            Found::Nothing => {
                let Some(next) = reader.next_head(offset + BLOCK_BYTES)? else { break };
                found.places.push(Place::Gap { offset });
                Some(next - offset)
            }
        };
        offset = offset.saturating_add(next.unwrap_or(u64::MAX));
    }
    Ok(found)
}

const fn stated(header: Header) -> Stated {
    Stated {
        directory: header.directory,
        number: header.number,
        oldest: header.oldest,
        previous: header.previous.segment,
        previous_end: header.previous.offset,
    }
}
