//! Reading one segment from front to back, and finding out what is damaged.
//!
//! Damage is not yet judged here: a scan says where frames are broken, and up to where later frames state that
//! everything had been durable. Whether that makes it a torn tail or rot, `recovery.rs` decides.

use std::io;

use flotilla_topology::ShardId;

use crate::disk::{File, read_full};
use crate::frame::{FrameKind, HEAD_BYTES, Head, Salt};
use crate::segment::{BLOCK_BYTES, FIRST_FRAME};

/// How much is read at once, in bytes.
const WINDOW_BYTES: usize = 256 << 10;

/// An intact frame.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub offset: u64,
    pub head: Head,
    pub list: &'a [u8],
    pub body: &'a [u8],
}

pub(crate) fn shards_of(list: &[u8]) -> Vec<ShardId> {
    list.chunks_exact(8).map(|bytes| ShardId(crate::frame::u64_at(bytes, 0))).collect()
}

/// A place where a frame should be and no intact one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub offset: u64,
    /// The shards that the frame names; `None` if that is unreadable too.
    pub shards: Option<Vec<ShardId>>,
    /// The head is intact: the place was written, and the next frame is known.
    pub begun: bool,
}

/// What lies at one place.
pub(crate) enum Found<'a> {
    Frame(Frame<'a>),
    /// The head is intact, the rest is not.
    Broken(Head, Option<Vec<ShardId>>),
    Nothing,
}

/// Reads frames of one segment through a window.
pub(crate) struct Reader<'f, F: File> {
    file: &'f F,
    /// Nothing at or beyond this offset is looked at.
    limit: u64,
    directory: u128,
    segment: u64,
    window: Vec<u8>,
    window_from: u64,
}

impl<'f, F: File> Reader<'f, F> {
    pub fn new(file: &'f F, limit: u64, directory: u128, segment: u64) -> io::Result<Self> {
        let limit = limit.min(file.len()?);
        Ok(Self { file, limit, directory, segment, window: Vec::new(), window_from: 0 })
    }

    const fn salt(&self, offset: u64) -> Salt {
        Salt { directory: self.directory, segment: self.segment, offset }
    }

    /// Makes sure that the window holds these bytes. They lie below the limit, so that no damaged length makes the
    /// window larger than the file.
    fn load(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        assert!(offset + length as u64 <= self.limit, "read {length} at {offset}, limit {}", self.limit);
        let inside = |from: u64, held: usize| offset >= from && offset + length as u64 <= from + held as u64;
        if !inside(self.window_from, self.window.len()) {
            let room = (self.limit - offset).min(WINDOW_BYTES.max(length) as u64) as usize;
            self.window.clear();
            self.window.resize(room, 0);
            self.window_from = offset;
            let count = read_full(self.file, &mut self.window, offset)?;
            if count < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.window.truncate(count);
        }
        let at = (offset - self.window_from) as usize;
        Ok(&self.window[at..at + length])
    }

    /// The head at a place, if an intact one is there.
    fn head(&mut self, offset: u64) -> io::Result<Option<Head>> {
        let salt = self.salt(offset);
        if offset + HEAD_BYTES as u64 > self.limit {
            return Ok(None);
        }
        Ok(Head::parse(self.load(offset, HEAD_BYTES)?, salt))
    }

    /// What lies at a place.
    pub fn at(&mut self, offset: u64) -> io::Result<Found<'_>> {
        let Some(head) = self.head(offset)? else { return Ok(Found::Nothing) };
        let salt = self.salt(offset);
        let room = self.limit - offset;
        let list_end = HEAD_BYTES as u64 + u64::from(head.shards) * 8;
        if head.length().is_none_or(|length| length > room) {
            let shards = if list_end <= room { self.list(offset, &head)? } else { None };
            return Ok(Found::Broken(head, shards));
        }
        let length = (list_end + head.body) as usize;
        self.load(offset, length)?;
        let from = (offset - self.window_from) as usize;
        let bytes = &self.window[from..from + length];
        let (list, body) = bytes[HEAD_BYTES..].split_at(list_end as usize - HEAD_BYTES);
        let named = head.list_fits(list).then(|| shards_of(list));
        if named.is_none() || !head.body_fits(body, salt) {
            return Ok(Found::Broken(head, named));
        }
        Ok(Found::Frame(Frame { offset, head, list, body }))
    }

    fn list(&mut self, offset: u64, head: &Head) -> io::Result<Option<Vec<ShardId>>> {
        let list = self.load(offset + HEAD_BYTES as u64, head.shards as usize * 8)?;
        Ok(head.list_fits(list).then(|| shards_of(list)))
    }

    /// The next place at or after `offset` with an intact head.
    pub fn next_head(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        while offset + HEAD_BYTES as u64 <= self.limit {
            if self.head(offset)?.is_some() {
                return Ok(Some(offset));
            }
            offset += BLOCK_BYTES;
        }
        Ok(None)
    }
}

/// How a scan ended.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Where the first byte lies that belongs to no frame.
    pub end: u64,
    /// Checksum of the last frame; `None` if that is unknown.
    pub checksum: Option<u32>,
    /// The sequence number that the next frame would have; `None` if that is unknown.
    pub sequence: Option<u64>,
    /// Everything before this had been durable, as intact heads state.
    pub durable: u64,
    /// Broken places in order.
    pub damage: Vec<Damage>,
    /// The successor that a seal names.
    pub successor: Option<u64>,
}

/// What a scan does with what it finds, in order.
pub(crate) trait Visitor {
    /// An intact frame, and whether it follows on an intact one.
    fn frame(&mut self, frame: &Frame<'_>);
    /// A frame that had been durable, or the torn one at the end.
    fn damage(&mut self, damage: &Damage);
}

/// Scans a segment from its first frame. `checksum` and `sequence` are what its header states, if it is readable.
pub(crate) fn scan<F: File>(
    reader: &mut Reader<'_, F>,
    checksum: Option<u32>,
    sequence: Option<u64>,
    visitor: &mut impl Visitor,
) -> io::Result<Scanned> {
    let mut done = Scanned { end: FIRST_FRAME, checksum, sequence, ..Scanned::default() };
    while done.end < reader.limit {
        let offset = done.end;
        let (head, broken) = match reader.at(offset)? {
            Found::Frame(frame) => {
                done.durable = done.durable.max(frame.head.durable);
                let fits = done.checksum.is_none_or(|checksum| checksum == frame.head.previous)
                    && done.sequence.is_none_or(|sequence| sequence == frame.head.sequence);
                if !fits {
                    // What stands before this frame is not what it was written after.
                    note(&mut done, visitor, Damage { offset, shards: None, begun: true });
                    done.durable = done.durable.max(offset + 1);
                }
                if frame.head.kind == FrameKind::Seal {
                    done.successor = Some(frame.head.oldest);
                    break;
                }
                visitor.frame(&frame);
                (frame.head, None)
            }
            Found::Broken(head, shards) => (head, Some(Damage { offset, shards, begun: true })),
            Found::Nothing => {
                let Some(next) = reader.next_head(offset + BLOCK_BYTES)? else { break };
                note(&mut done, visitor, Damage { offset, shards: None, begun: false });
                (done.end, done.checksum, done.sequence) = (next, None, None);
                continue;
            }
        };
        if let Some(damage) = broken {
            done.durable = done.durable.max(head.durable);
            note(&mut done, visitor, damage);
        }
        done.checksum = Some(head.checksum);
        done.sequence = Some(head.sequence.saturating_add(1));
        done.end = offset.saturating_add(head.padded().unwrap_or(u64::MAX));
    }
    Ok(done)
}

fn note(done: &mut Scanned, visitor: &mut impl Visitor, damage: Damage) {
    visitor.damage(&damage);
    done.damage.push(damage);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::simulated::SimulatedDisk;

    /// A head may state any length and still fit its checksum: no length makes a reader allocate more than the file has.
    #[test]
    fn huge_lengths_are_broken_frames_and_allocate_nothing() {
        let salt = Salt { directory: 7, segment: 1, offset: FIRST_FRAME };
        for (shards, body) in
            [(u32::MAX, 0), (0, u64::MAX / 2), (3, u64::MAX), (u32::MAX, u64::MAX), (0, 1 << 40)]
        {
            let head = Head {
                kind: FrameKind::Records,
                shards,
                body,
                sequence: 1,
                durable: FIRST_FRAME,
                oldest: 1,
                previous: 0,
                list_checksum: 0,
                checksum: 0,
            };
            let mut content = vec![0; 4 * BLOCK_BYTES as usize];
            head.write(&mut content[FIRST_FRAME as usize..FIRST_FRAME as usize + HEAD_BYTES], salt);
            let disk = SimulatedDisk::new(1);
            disk.put("segment", content);
            let file = disk.open("segment").unwrap();
            let mut reader = Reader::new(&file, u64::MAX, 7, 1).unwrap();
            assert!(!matches!(reader.at(FIRST_FRAME).unwrap(), Found::Frame(_)));
            assert!(reader.window.capacity() <= 4 * BLOCK_BYTES as usize, "{shards} shards, {body} bytes");
        }
    }
}
