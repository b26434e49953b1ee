//! A segment: one file, its name, and the header in its first block.
//!
//! A file bears the name of a segment only after its header is durable: an unreadable header is therefore never
//! the trace of a crash. The header names the predecessor and says where that one ends; segments form a chain that
//! is read backwards from the newest, and numbers are never used twice.

use crate::frame::{SEQUENCE_MAX, u32_at, u64_at};

/// The unit of everything on the disk: frames begin at its multiples. A page, and the largest sector in use.
pub const BLOCK_BYTES: u64 = 4096;

/// The version of the format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// Where the first frame of a segment begins.
pub(crate) const FIRST_FRAME: u64 = BLOCK_BYTES;
/// Kept free at the end of a segment, for its seal.
pub(crate) const SEAL_BYTES: u64 = BLOCK_BYTES;
const MAGIC: [u8; 8] = *b"flotiWAL";
const HEADER_BYTES: usize = 84;

/// Where a segment ends, as its successor states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// The segment; 0 = there was none.
    pub segment: u64,
    /// The first byte that no longer belongs to it. Everything before it was durable.
    pub offset: u64,
    /// The checksum of its last frame before that.
    pub checksum: u32,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub directory: u128,
    pub number: u64,
    /// Length of the file. It was written in full before the header: a shorter file lost something.
    pub bytes: u64,
    /// The oldest segment still needed.
    pub oldest: u64,
    /// The sequence number of the first frame.
    pub sequence: u64,
    pub previous: End,
}

/// Why a block is not the header of a segment that this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    Damaged,
    Version(u32),
}

impl Header {
    /// The first block of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES as usize];
        block[0..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[12..28].copy_from_slice(&self.directory.to_le_bytes());
        block[28..36].copy_from_slice(&self.number.to_le_bytes());
        block[36..44].copy_from_slice(&self.oldest.to_le_bytes());
        block[44..52].copy_from_slice(&self.sequence.to_le_bytes());
        block[52..60].copy_from_slice(&self.previous.segment.to_le_bytes());
        block[60..68].copy_from_slice(&self.previous.offset.to_le_bytes());
        block[68..72].copy_from_slice(&self.previous.checksum.to_le_bytes());
        block[72..80].copy_from_slice(&self.bytes.to_le_bytes());
        let checksum = crc32fast::hash(&block[..HEADER_BYTES - 4]);
        block[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Reads the header out of the first block.
    pub fn parse(block: &[u8]) -> Result<Self, NoHeader> {
        let bytes = block.get(..HEADER_BYTES).ok_or(NoHeader::Damaged)?;
        let intact = u32_at(bytes, HEADER_BYTES - 4) == crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        if bytes[..8] != MAGIC || !intact || u64_at(bytes, 44) > SEQUENCE_MAX {
            return Err(NoHeader::Damaged);
        }
        match u32_at(bytes, 8) {
            FORMAT_VERSION => {}
            version => return Err(NoHeader::Version(version)),
        }
        Ok(Self {
            directory: u128::from(u64_at(bytes, 12)) | u128::from(u64_at(bytes, 20)) << 64,
            number: u64_at(bytes, 28),
            bytes: u64_at(bytes, 72),
            oldest: u64_at(bytes, 36),
            sequence: u64_at(bytes, 44),
            previous: End {
                segment: u64_at(bytes, 52),
                offset: u64_at(bytes, 60),
                checksum: u32_at(bytes, 68),
            },
        })
    }
}

/// What a file of the directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A segment that may hold live records.
    Segment(u64),
    /// A whole file of zeros or stale records, to be used again.
    Spare(u64),
    /// A spare in the making, worthless after a crash.
    Unfinished(u64),
}

impl Name {
    /// Reads a file name. `None` for files that are none of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once('-')?;
        let digits = rest.strip_suffix(".log")?;
        if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number = digits.parse().ok()?;
        match kind {
            "segment" => Some(Self::Segment(number)),
            "spare" => Some(Self::Spare(number)),
            "unfinished" => Some(Self::Unfinished(number)),
            _ => None,
        }
    }
}

impl Name {
    /// The number in the name.
    pub const fn number(self) -> u64 {
        match self {
            Self::Segment(number) | Self::Spare(number) | Self::Unfinished(number) => number,
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Segment(number) => write!(f, "segment-{number:020}.log"),
            Self::Spare(number) => write!(f, "spare-{number:020}.log"),
            Self::Unfinished(number) => write!(f, "unfinished-{number:020}.log"),
        }
    }
}

/// The next multiple of a block.
pub(crate) const fn round_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/formats/log.md`, field by field: these places are for ever.
    #[test]
    fn a_header_lies_where_the_format_says() {
        let previous = End { segment: 0x61, offset: 0x71, checksum: 0x81 };
        let header =
            Header { directory: 0x1122, number: 0x31, bytes: 0x91, oldest: 0x41, sequence: 0x51, previous };
        let block = header.encode();
        assert_eq!(block.len(), 4096);
        let number = |at: usize, bytes: usize| {
            block[at..at + bytes].iter().rev().fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
        };
        assert_eq!(&block[..8], b"flotiWAL");
        let fields = [(8, 4), (12, 16), (28, 8), (36, 8), (44, 8), (52, 8), (60, 8), (68, 4), (72, 8)];
        let found = fields.map(|(at, bytes)| number(at, bytes));
        assert_eq!(found, [1, 0x1122, 0x31, 0x41, 0x51, 0x61, 0x71, 0x81, 0x91]);
        assert_eq!(number(80, 4), u128::from(crc32fast::hash(&block[..80])));
        assert!(block[84..].iter().all(|byte| *byte == 0));
    }
}
