//! What is found, before it is printed.

use std::io;
use std::path::Path;

use flotilla_wal::inspect::{self, Segment};
use flotilla_wal::{OpenError, RotAt};

use crate::storage::{DirectoryError, RealDisk, Resting};

/// What is in the log of a node.
pub(super) struct Look {
    /// The segments, ascending.
    pub segments: Vec<Segment>,
    /// What a start would make of it.
    pub verdict: Verdict,
    /// Held until all is told: no node starts meanwhile.
    _resting: Resting,
}

/// What a start would make of a log.
pub(super) enum Verdict {
    /// Everything that had been durable is there.
    Whole(inspect::Judgement),
    /// Something that had been durable is damaged.
    Rotten(inspect::Judgement),
    /// It could not be opened at all.
    Refused(OpenError),
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    /// The directory is none of a node, or in use.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log cannot be read.
    #[error("cannot read the log: {0}")]
    Read(#[from] io::Error),
    /// The log cannot be read.
    #[error("cannot read the log: {0}")]
    Open(#[source] OpenError),
}

impl Look {
    /// Looks at the directory of a node.
    pub(super) fn at(directory: &Path) -> Result<Self, LookError> {
        let resting = Resting::enter(directory)?;
        let disk: RealDisk = resting.wal()?;
        let numbers = inspect::segments(&disk)?;
        let is_lost = numbers.is_empty();
        let segments = numbers.into_iter().map(|number| inspect::segment(&disk, number));
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        let verdict = match inspect::judge(&disk, resting.stamp().directory.0) {
            // A directory for the log is there, so there was one.
            Ok(_) if is_lost => Verdict::Refused(OpenError::Lost),
            Ok(found) if found.rot.is_empty() => Verdict::Whole(found),
            Ok(found) => Verdict::Rotten(found),
            Err(error @ OpenError::Disk { .. }) => return Err(LookError::Open(error)),
            Err(error) => Verdict::Refused(error),
        };
        Ok(Self { segments, verdict, _resting: resting })
    }

    /// What was found, if the log could be opened.
    pub(super) const fn found(&self) -> Option<&inspect::Judgement> {
        match &self.verdict {
            Verdict::Whole(found) | Verdict::Rotten(found) => Some(found),
            Verdict::Refused(_) => None,
        }
    }

    /// Whether a segment is part of the log, or left over from a crash.
    pub(super) fn counts(&self, segment: u64) -> bool {
        self.found().is_none_or(|found| found.segments.contains(&segment))
    }

    /// The damaged places of a segment.
    pub(super) fn rot_in(&self, segment: u64) -> impl Iterator<Item = RotAt> {
        let rot = self.found().map_or(&[][..], |found| &found.rot);
        rot.iter().copied().filter(move |at| at.segment == segment)
    }

    /// One line: whether it is whole.
    pub(super) fn sentence(&self) -> String {
        match &self.verdict {
            Verdict::Whole(found) => match found.recovered.torn {
                None => "whole".to_owned(),
                Some(torn) => format!(
                    "whole; an unfinished write lies in segment {} at byte {}: the next start cuts it",
                    torn.segment, torn.offset
                ),
            },
            Verdict::Rotten(found) => {
                let places: Vec<String> =
                    found.rot.iter().map(|at| format!("segment {} byte {}", at.segment, at.offset)).collect();
                let hurt = found.recovered.rot.iter().flat_map(|rot| rot.shards.keys());
                let hurt: Vec<String> = hurt.map(ToString::to_string).collect();
                let nothing = found.recovered.shards.is_empty() && found.recovered.tombstones.is_empty();
                let whom = if nothing && hurt.is_empty() {
                    "nothing that is left says whom it concerns: the next start takes out of service what the cluster map places here"
                        .to_owned()
                } else if hurt.is_empty() {
                    "nobody in service depends on it".to_owned()
                } else {
                    format!("the next start takes out of service: {}", hurt.join(", "))
                };
                format!("rotten at {}; {whom}", places.join(", "))
            }
            Verdict::Refused(error) => format!("cannot be opened: {error}"),
        }
    }
}
