//! The frame: what one write puts into a segment.
//!
//! A frame begins at a block boundary: a head of fixed length with its own checksum, the list of the shards it
//! names, the body, and zeros up to the next boundary. Blocks are whole pages, so that no write touches a block
//! that was already durable (a torn write could otherwise damage its predecessor), and none has to read a page
//! that left the cache first.
//!
//! Three checksums. The head's is verified before any length in it is believed. The list's is its own, so that
//! a damaged body still leaves the names, and a damaged list still leaves the way to the next frame. The body's
//! begins with the predecessor's checksum and the salt. The salt (directory id, segment, offset) keeps stale
//! frames of a recycled file, and frames that a client stored as a value, from ever verifying.

use crc32fast::Hasher;
use flotilla_topology::ShardId;

use crate::segment::{BLOCK_BYTES, round_up};

/// Length of the fixed head in bytes.
pub(crate) const HEAD_BYTES: usize = 72;
const MAGIC: u32 = u32::from_le_bytes(*b"flFR");
/// No directory has had so many frames: counted on from there, the numbers would end.
pub(crate) const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Records of shards.
    Records,
    /// No records: states that everything before it is durable, and which segments are still needed.
    Mark,
    /// No records: stands after the end of a segment and says that a successor exists.
    Seal,
}

/// The fixed head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub kind: FrameKind,
    /// How many shards the list names.
    pub shards: u32,
    /// Length of the body in bytes.
    pub body: u64,
    /// Counts the frames of a directory.
    pub sequence: u64,
    /// Everything in this segment before this offset was durable when the frame was written. (Everything in
    /// earlier segments always was.)
    pub durable: u64,
    /// The oldest segment still needed; in a seal, the number of the successor.
    pub oldest: u64,
    /// Checksum of the predecessor.
    pub previous: u32,
    /// Checksum of the list.
    pub list_checksum: u32,
    /// Checksum of the body: what the successor is chained on.
    pub checksum: u32,
}

/// What binds a frame to its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Salt {
    pub directory: u128,
    pub segment: u64,
    pub offset: u64,
}

impl Salt {
    fn hasher(self) -> Hasher {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.directory.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..].copy_from_slice(&self.offset.to_le_bytes());
        let mut hasher = Hasher::new();
        hasher.update(&bytes);
        hasher
    }
}

impl FrameKind {
    const fn code(self) -> u32 {
        match self {
            Self::Records => 0,
            Self::Mark => 1,
            Self::Seal => 2,
        }
    }

    const fn of(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Records),
            1 => Some(Self::Mark),
            2 => Some(Self::Seal),
            _ => None,
        }
    }
}

impl Head {
    /// Length of head, list and body. `None` if no file could hold it.
    pub fn length(&self) -> Option<u64> {
        (HEAD_BYTES as u64 + u64::from(self.shards) * 8).checked_add(self.body)
    }

    /// Length on the disk, the zeros up to the next boundary included.
    pub fn padded(&self) -> Option<u64> {
        self.length()?.checked_next_multiple_of(BLOCK_BYTES)
    }

    /// Reads a head. `None` if these bytes are no head of a frame at this place.
    pub fn parse(bytes: &[u8], salt: Salt) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.get(..HEAD_BYTES)?.try_into().ok()?;
        if u32_at(bytes, 0) != MAGIC || u32_at(bytes, 4) != head_checksum(&bytes[8..], salt) {
            return None;
        }
        let head = Self {
            kind: FrameKind::of(u32_at(bytes, 8))?,
            shards: u32_at(bytes, 12),
            body: u64_at(bytes, 16),
            sequence: u64_at(bytes, 24),
            durable: u64_at(bytes, 32),
            oldest: u64_at(bytes, 40),
            previous: u32_at(bytes, 48),
            list_checksum: u32_at(bytes, 52),
            checksum: u32_at(bytes, 56),
        };
        // Marks and seals have no records: nobody would look for them there.
        let fits = head.kind == FrameKind::Records || (head.shards, head.body) == (0, 0);
        // One write at a time: no log writes a frame before all that precedes it is durable. A head that says less would make of
        // rot before it a torn tail, and be taken for the last frame.
        let follows = head.durable == salt.offset;
        head.padded().filter(|_| fits && follows && head.sequence <= SEQUENCE_MAX).map(|_| head)
    }

    pub fn write(&self, out: &mut [u8], salt: Salt) {
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&self.kind.code().to_le_bytes());
        out[12..16].copy_from_slice(&self.shards.to_le_bytes());
        out[16..24].copy_from_slice(&self.body.to_le_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.durable.to_le_bytes());
        out[40..48].copy_from_slice(&self.oldest.to_le_bytes());
        out[48..52].copy_from_slice(&self.previous.to_le_bytes());
        out[52..56].copy_from_slice(&self.list_checksum.to_le_bytes());
        out[56..60].copy_from_slice(&self.checksum.to_le_bytes());
        out[60..HEAD_BYTES].fill(0);
        let checksum = head_checksum(&out[8..HEAD_BYTES], salt);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Whether `list` is the list of this head.
    pub fn list_fits(&self, list: &[u8]) -> bool {
        crc32fast::hash(list) == self.list_checksum
    }

    /// Whether `body` is the body of this head.
    pub fn body_fits(&self, body: &[u8], salt: Salt) -> bool {
        body_checksum(self, body, salt) == self.checksum
    }
}

/// What a frame says besides its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    pub kind: FrameKind,
    pub sequence: u64,
    pub durable: u64,
    pub oldest: u64,
    pub previous: u32,
}

/// The bytes of a frame, built in a buffer that is used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    body_from: usize,
}

/// A buffer that a huge frame grew beyond this is given back afterwards.
const BUFFER_KEPT_BYTES_MAX: usize = 8 << 20;

impl FrameBuffer {
    /// Begins a frame that names these shards; the body is appended to what is returned.
    pub fn begin(&mut self, shards: &[ShardId]) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.shrink_to(BUFFER_KEPT_BYTES_MAX);
        self.bytes.resize(HEAD_BYTES, 0);
        for shard in shards {
            self.bytes.extend_from_slice(&shard.0.to_le_bytes());
        }
        self.body_from = self.bytes.len();
        &mut self.bytes
    }

    /// Puts a finished body at another place.
    pub fn begin_with(&mut self, list: &[u8], body: &[u8]) {
        self.begin(&[]).extend_from_slice(list);
        self.body_from = self.bytes.len();
        self.bytes.extend_from_slice(body);
    }

    /// Ends the frame: returns its checksum and its bytes, padded to whole blocks.
    pub fn finish(&mut self, says: Statement, salt: Salt) -> (u32, &[u8]) {
        let list = (self.body_from - HEAD_BYTES) / 8;
        let mut head = Head {
            kind: says.kind,
            shards: u32::try_from(list).unwrap_or_else(|_| panic!("a frame names {list} shards")),
            body: (self.bytes.len() - self.body_from) as u64,
            sequence: says.sequence,
            durable: says.durable,
            oldest: says.oldest,
            previous: says.previous,
            list_checksum: crc32fast::hash(&self.bytes[HEAD_BYTES..self.body_from]),
            checksum: 0,
        };
        head.checksum = body_checksum(&head, &self.bytes[self.body_from..], salt);
        head.write(&mut self.bytes[..HEAD_BYTES], salt);
        self.bytes.resize(round_up(self.bytes.len() as u64) as usize, 0);
        (head.checksum, &self.bytes)
    }
}

fn head_checksum(bytes: &[u8], salt: Salt) -> u32 {
    let mut hasher = salt.hasher();
    hasher.update(bytes);
    hasher.finalize()
}

fn body_checksum(head: &Head, body: &[u8], salt: Salt) -> u32 {
    let mut hasher = salt.hasher();
    let mut chain = [0; 12];
    chain[..8].copy_from_slice(&head.sequence.to_le_bytes());
    chain[8..].copy_from_slice(&head.previous.to_le_bytes());
    hasher.update(&chain);
    hasher.update(body);
    hasher.finalize()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/formats/log.md`, field by field: these places, and what each checksum is of, are for ever.
    #[test]
    fn a_frame_lies_where_the_format_says() {
        let salt = Salt { directory: 0x1122, segment: 3, offset: 4096 };
        let mut buffer = FrameBuffer::default();
        buffer.begin(&[ShardId(5), ShardId(9)]).extend_from_slice(b"body");
        let says =
            Statement { kind: FrameKind::Mark, sequence: 0x21, durable: 0x31, oldest: 0x41, previous: 0x51 };
        let (checksum, bytes) = buffer.finish(says, salt);
        assert_eq!(bytes.len(), 4096);
        assert_eq!(&bytes[..4], b"flFR");
        assert_eq!([8, 12].map(|at| u32_at(bytes, at)), [1, 2], "kind, shards");
        assert_eq!([16, 24, 32, 40].map(|at| u64_at(bytes, at)), [4, 0x21, 0x31, 0x41]);
        assert_eq!([48, 56].map(|at| u32_at(bytes, at)), [0x51, checksum]);
        assert_eq!([72, 80].map(|at| u64_at(bytes, at)), [5, 9]);
        assert_eq!((&bytes[60..72], &bytes[88..92]), (&[0; 12][..], &b"body"[..]));
        assert!(bytes[92..].iter().all(|byte| *byte == 0));

        let salt = [&0x1122_u128.to_le_bytes()[..], &3_u64.to_le_bytes(), &4096_u64.to_le_bytes()].concat();
        let chain = [&salt[..], &0x21_u64.to_le_bytes(), &0x51_u32.to_le_bytes(), b"body"].concat();
        assert_eq!(u32_at(bytes, 4), crc32fast::hash(&[&salt[..], &bytes[8..72]].concat()));
        assert_eq!(u32_at(bytes, 52), crc32fast::hash(&bytes[72..88]));
        assert_eq!(checksum, crc32fast::hash(&chain));
    }
}
