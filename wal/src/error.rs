//! What can go wrong, and where.

use std::io;

use flotilla_topology::ShardId;
use thiserror::Error;

use crate::log::Rot;
use crate::options::OptionsError;
use crate::record::RotAt;

/// Why a log could not be opened. Nothing was cut: the directory may be opened again once the cause is gone.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The options cannot work.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Something that had been durable is damaged. The shards are those that the damaged frame names, or, when
    /// its header is unreadable too, every shard not wholly restated later.
    #[error("segment {segment}: rot at byte {offset}; it concerns {}", name(.shards))]
    Rot {
        /// The number of the segment.
        segment: u64,
        /// Where the first damaged frame begins (0: the segment's header).
        offset: u64,
        /// The shards that all damage together concerns.
        shards: Vec<ShardId>,
    },
    /// There is no segment at all, where [`Options::must_exist`](crate::Options::must_exist) says that there were some.
    #[error("no segment is left: the log was lost, and votes with it")]
    Lost,
    /// A segment that is needed is not there.
    #[error("segment {segment} is missing")]
    Missing {
        /// The number of the segment.
        segment: u64,
    },
    /// A file bears the name of another segment than its header says (renamed, or a copy).
    #[error("{name} holds segment {found}: renamed or a copy")]
    Renamed {
        /// The name of the file.
        name: String,
        /// The number in its header.
        found: u64,
    },
    /// A file bears a number so great that hardly any are left for new segments: no log made it.
    #[error("{name}: no numbers are left after it; it is none of our files")]
    Numbers {
        /// The name of the file.
        name: String,
    },
    /// A segment of another directory.
    #[error("segment {segment} belongs to directory {found:032x}")]
    Foreign {
        /// The number of the segment.
        segment: u64,
        /// The directory id in its header.
        found: u128,
    },
    /// A segment of a format that this program does not know.
    #[error("segment {segment} has format version {found}; this program knows {known}")]
    Version {
        /// The number of the segment.
        segment: u64,
        /// The version in its header.
        found: u32,
        /// The version that this program writes.
        known: u32,
    },
    /// An intact frame holds what this program cannot read: a newer program wrote it, or there is a bug.
    #[error("segment {segment}: the frame at byte {offset} is intact but holds {source}")]
    Malformed {
        /// The number of the segment.
        segment: u64,
        /// Where the frame begins.
        offset: u64,
        /// What it holds.
        source: DecodeError,
    },
    /// All frames are intact, yet together they make no whole shard: a bug, or segments of different backups.
    #[error("shard {shard}: {what}")]
    Inconsistent {
        /// The shard.
        shard: ShardId,
        /// What does not fit.
        what: String,
    },
    /// The disk has no room for the segment that writing continues in.
    #[error("no room for a new segment")]
    NoSpace(#[source] io::Error),
    /// The file system failed.
    #[error("{name}: cannot {action}")]
    Disk {
        /// The name of the file, or `.` for the directory.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
}

impl OpenError {
    /// The refusal to open a log with this damage.
    pub(crate) fn rot(rot: &Rot) -> Self {
        let RotAt { segment, offset } = rot.at;
        Self::Rot { segment, offset, shards: rot.shards.keys().copied().collect() }
    }
}

/// Why something was not written.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The disk has no room for the next segment. Nothing was written; the same call may be repeated later.
    #[error("no room for a new segment")]
    NoSpace(#[source] io::Error),
    /// A write, a sync or a renaming failed. Nobody knows what is on the disk: the log takes nothing more, and the
    /// process must stop. (A repeated sync may report success for bytes that the first one lost.)
    #[error("{name}: cannot {action}")]
    Disk {
        /// The name of the file, or `.` for the directory.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
    /// An earlier call failed for good.
    #[error("the log is poisoned by an earlier failure")]
    Poisoned,
}

/// Why a step of garbage collection was not made.
#[derive(Debug, Error)]
pub enum CollectError {
    /// Writing failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A segment that was to be rewritten is damaged. The entries in it are still in memory of the running
    /// replicas, but the next start would miss them.
    #[error("segment {segment}: rot at byte {offset}; it concerns {}", name(.shards))]
    Rot {
        /// The number of the segment.
        segment: u64,
        /// Where the damaged frame begins.
        offset: u64,
        /// The shards with live entries in that segment.
        shards: Vec<ShardId>,
    },
    /// A segment could not be read.
    #[error("{name}: cannot read")]
    Read {
        /// The name of the file.
        name: String,
        /// What the file system said.
        source: io::Error,
    },
}

/// Why bytes are not a record.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("a record that ends too early")]
    Short,
    /// Bytes are left over after the record.
    #[error("a record with {0} bytes left over")]
    Long(usize),
    /// A kind of record that this program does not know.
    #[error("a record of unknown kind {0}")]
    Kind(u8),
    /// A kind of payload that this program does not know.
    #[error("an entry with a payload of unknown kind {0}")]
    Payload(u8),
    /// A flag that is neither 0 nor 1.
    #[error("a flag of value {0}")]
    Flag(u8),
}

/// Prints shards as a list.
fn name(shards: &[ShardId]) -> String {
    if shards.is_empty() {
        return "no shard known".to_owned();
    }
    shards.iter().map(ShardId::to_string).collect::<Vec<_>>().join(", ")
}
