//! Latencies and failures of a load, gathered from many tasks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Tasks are spread over so many parts, so that they seldom meet at a lock.
const PARTS: usize = 16;

/// Three significant digits from a microsecond to a minute; what is longer counts as a minute.
const MICROS_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// The kind of an operation, as reports tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Read,
    Write,
    Change,
    Scan,
}

/// How an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Surely not executed.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) latencies: BTreeMap<Kind, Histogram<u64>>,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// The first failure, for people.
    pub(crate) first_failure: Option<String>,
}

/// Gathers. Shared by all tasks of a load.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    parts: [Mutex<Measured>; PARTS],
}

impl Recorder {
    /// An operation of this task was answered.
    pub(crate) fn answered(&self, task: usize, kind: Kind, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(MICROS_MAX).clamp(1, MICROS_MAX);
        let mut part = self.part(task);
        let histogram = part.latencies.entry(kind).or_insert_with(histogram);
        histogram.saturating_record(micros);
    }

    /// An operation of this task failed.
    pub(crate) fn failed(&self, task: usize, failed: Failed) {
        let mut part = self.part(task);
        let text = match failed {
            Failed::Refused(text) => {
                part.refused += 1;
                text
            }
            Failed::Unknown(text) => {
                part.unknown += 1;
                text
            }
        };
        part.first_failure.get_or_insert(text);
    }

    /// Everything up to now.
    pub(crate) fn measured(&self) -> Measured {
        let mut whole = Measured::default();
        for task in 0..PARTS {
            whole.add(self.part(task).clone());
        }
        whole
    }

    /// Everything since the last time.
    pub(crate) fn take(&self) -> Measured {
        let mut whole = Measured::default();
        for task in 0..PARTS {
            let part = std::mem::take(&mut *self.part(task));
            whole.add(part);
        }
        whole
    }

    fn part(&self, task: usize) -> MutexGuard<'_, Measured> {
        self.parts[task % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    fn add(&mut self, part: Self) {
        for (kind, latencies) in part.latencies {
            *self.latencies.entry(kind).or_insert_with(histogram) += latencies;
        }
        self.refused += part.refused;
        self.unknown += part.unknown;
        self.first_failure = self.first_failure.take().or(part.first_failure);
    }

    /// Operations that were answered.
    pub(crate) fn operations(&self) -> u64 {
        self.latencies.values().map(Histogram::len).sum()
    }
}

fn histogram() -> Histogram<u64> {
    // The bounds are constants that the library accepts; a default one would grow by itself and is as good.
    Histogram::new_with_bounds(1, MICROS_MAX, DIGITS)
        .unwrap_or_else(|_| Histogram::<u64>::new(DIGITS).unwrap_or_else(|error| unreachable!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tasks_record_is_added_up() {
        let recorder = Recorder::default();
        for task in 0..100 {
            recorder.answered(task, Kind::Read, Duration::from_micros(task as u64));
            recorder.answered(task, Kind::Write, Duration::from_secs(3600));
        }
        recorder.failed(3, Failed::Refused("full".to_owned()));
        recorder.failed(4, Failed::Unknown("gone".to_owned()));
        let measured = recorder.measured();
        assert_eq!((measured.operations(), measured.refused, measured.unknown), (200, 1, 1));
        assert_eq!(measured.first_failure.as_deref(), Some("full"));
        let taken = recorder.take();
        assert_eq!((taken.operations(), taken.refused, taken.unknown), (200, 1, 1));
        assert_eq!(recorder.take().operations(), 0, "what was taken is gone");
        let reads = &measured.latencies[&Kind::Read];
        assert_eq!((reads.len(), reads.value_at_quantile(0.5)), (100, 49));
        assert_eq!(measured.latencies[&Kind::Write].max() / 1_000_000, 60);
    }
}
