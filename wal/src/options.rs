//! What may be turned, each with its unit and default.

use thiserror::Error;

use crate::segment::BLOCK_BYTES;

/// How the log uses its disk. The defaults suit a node; tests make the segments small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Length of a segment file in bytes: a multiple of 4096, at least 16384. Default 64 MiB.
    pub segment_bytes: u64,
    /// How many empty segment files to keep for reuse; more are removed. Default 2.
    pub spares_max: usize,
    /// Above so many segments, old ones are rewritten as soon as half of all bytes are dead. Default 16.
    pub segments_max: usize,
    /// The oldest segment is rewritten when at most this share of it lives, in percent. Default 25.
    pub rewrite_live_percent: u8,
    /// The directory is known to have held a log: to find no segment at all is an error. Default: no.
    pub must_exist: bool,
}

/// The fewest blocks of a segment: its header, a frame, room for the seal, and one to spare.
const SEGMENT_BLOCKS_MIN: u64 = 4;

/// Options that cannot work.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OptionsError {
    /// See [`Options::segment_bytes`].
    #[error("segment_bytes is {0}: it must be a multiple of {BLOCK_BYTES}, at least {min}", min = SEGMENT_BLOCKS_MIN * BLOCK_BYTES)]
    SegmentBytes(u64),
    /// See [`Options::rewrite_live_percent`].
    #[error("rewrite_live_percent is {0}: it must be below 100")]
    RewriteLivePercent(u8),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spares_max: 2,
            segments_max: 16,
            rewrite_live_percent: 25,
            must_exist: false,
        }
    }
}

impl Options {
    /// Checks the limits against each other.
    ///
    /// # Errors
    /// Names the first option that cannot work.
    pub fn validate(&self) -> Result<(), OptionsError> {
        if !self.segment_bytes.is_multiple_of(BLOCK_BYTES)
            || self.segment_bytes < SEGMENT_BLOCKS_MIN * BLOCK_BYTES
        {
            return Err(OptionsError::SegmentBytes(self.segment_bytes));
        }
        if self.rewrite_live_percent >= 100 {
            return Err(OptionsError::RewriteLivePercent(self.rewrite_live_percent));
        }
        Ok(())
    }
}
