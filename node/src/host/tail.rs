//! How much of a shard's log is kept although the base already holds its effect.
//!
//! A follower that was away for a moment is brought up to date from this tail; one that was away for longer needs a
//! snapshot. The tail is bounded in bytes, because the live log is in memory.

use std::collections::VecDeque;

use flotilla_raft::Index;

/// The sizes of the applied entries that are still in the log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    entries: VecDeque<(Index, u64)>,
    bytes: u64,
}

impl Tail {
    /// Notes an applied entry. Entries come in order.
    pub(super) fn push(&mut self, index: Index, bytes: u64) {
        debug_assert!(
            self.entries.back().is_none_or(|(last, _)| *last < index),
            "{index} was noted out of order"
        );
        self.entries.push_back((index, bytes));
        self.bytes += bytes;
    }

    /// Up to where the log can be compacted, given that the base holds everything up to `durable` and that
    /// `bytes_max` of what follows the compaction point are worth keeping. Forgets what it names.
    pub(super) fn compact(&mut self, durable: Index, bytes_max: u64) -> Option<Index> {
        let mut to = None;
        while self.bytes > bytes_max {
            let Some((index, bytes)) = self.entries.front().copied() else { break };
            if index > durable {
                break;
            }
            self.entries.pop_front();
            self.bytes -= bytes;
            to = Some(index);
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(count: u64) -> Tail {
        let mut tail = Tail::default();
        (1..=count).for_each(|index| tail.push(Index(index), 100));
        tail
    }

    #[test]
    fn keeps_as_many_bytes_as_it_may() {
        assert_eq!(tail(10).compact(Index(10), 300), Some(Index(7)));
        assert_eq!(tail(3).compact(Index(3), 300), None);
    }

    #[test]
    fn never_passes_what_the_base_holds() {
        let mut tail = tail(10);
        assert_eq!(tail.compact(Index(4), 0), Some(Index(4)));
        assert_eq!(tail.compact(Index(4), 0), None);
        assert_eq!(tail.compact(Index(10), 0), Some(Index(10)));
    }
}
