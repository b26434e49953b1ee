//! The live log: every entry after the compaction point, in memory.
//!
//! ```text
//!      compacted          last
//!          │                │
//!   ░░░░░░░▼ e e e e e e e e▼
//! ```
//!
//! Of the compacted part only the last position is known. What is durable of the live part is
//! [`crate::persistence`]'s business, what is committed the [`crate::core::Core`]'s. Terms never fall along
//! the log, which lets searches by term bisect.

use std::collections::VecDeque;

use crate::configuration::Configuration;
use crate::entry::{Entry, Payload};
use crate::id::{Index, LogId, Term};

#[derive(Debug)]
pub(crate) struct Log {
    compacted: LogId,
    entries: VecDeque<Entry>,
    /// Where the configurations are that have not been applied, so that nobody has to search for them.
    configurations: VecDeque<Index>,
}

impl Log {
    /// The live log after `compacted`, of which everything up to `applied` is applied.
    pub(crate) fn new(compacted: LogId, entries: Vec<Entry>, applied: Index) -> Self {
        let mut log = Self { compacted, entries: VecDeque::new(), configurations: VecDeque::new() };
        entries.into_iter().for_each(|entry| log.append(entry));
        while log.configurations.front().is_some_and(|at| *at <= applied) {
            log.configurations.pop_front();
        }
        log
    }

    pub(crate) const fn compacted(&self) -> LogId {
        self.compacted
    }

    pub(crate) fn last(&self) -> LogId {
        self.entries.back().map_or(self.compacted, |entry| entry.id)
    }

    /// The term of the entry at `index`; `None` if it is compacted away or not there yet.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.compacted.index {
            return Some(self.compacted.term);
        }
        self.position(index).map(|position| self.entries[position].term())
    }

    /// The position of `index` in the entries.
    fn position(&self, index: Index) -> Option<usize> {
        let offset = index.0.checked_sub(self.compacted.index.0 + 1)?;
        usize::try_from(offset).ok().filter(|position| *position < self.entries.len())
    }

    /// Whether the log holds exactly this entry.
    pub(crate) fn contains(&self, id: LogId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// The last entry that is not behind `bound` and not of a later term: where two logs may agree at best,
    /// if one of them holds `bound` there. `None` if that lies in the compacted part.
    pub(crate) fn last_within(&self, bound: LogId) -> Option<LogId> {
        let up_to = bound.index.0.saturating_sub(self.compacted.index.0);
        let up_to = usize::try_from(up_to).unwrap_or(usize::MAX).min(self.entries.len());
        let by_term = self.entries.partition_point(|entry| entry.term() <= bound.term);
        match up_to.min(by_term) {
            0 if bound.index < self.compacted.index || bound.term < self.compacted.term => None,
            0 => Some(self.compacted),
            count => Some(self.entries[count - 1].id),
        }
    }

    /// Appends one entry.
    pub(crate) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert!(
            entry.index() == last.index.next() && entry.term() >= last.term,
            "entry {} does not follow {last}",
            entry.id
        );
        if matches!(entry.payload, Payload::Configuration(_)) {
            self.configurations.push_back(entry.index());
        }
        self.entries.push_back(entry);
    }

    /// Takes over a leader's consecutive entries, the first of which follows an entry that both logs hold.
    /// Entries that are there already stay: an append that was overtaken by a later one must not shorten the
    /// log. Returns from where on the log was cut, if it was.
    pub(crate) fn merge(&mut self, entries: Vec<Entry>) -> Option<Index> {
        let known = entries.iter().take_while(|entry| self.contains(entry.id)).count();
        let first = entries.get(known)?.index();
        let cut = (first <= self.last().index).then_some(first);
        if cut.is_some() {
            self.truncate(first);
        }
        entries.into_iter().skip(known).for_each(|entry| self.append(entry));
        cut
    }

    /// Drops everything from `first` on.
    fn truncate(&mut self, first: Index) {
        let keep = self.position(first).unwrap_or(self.entries.len());
        self.entries.truncate(keep);
        while self.configurations.back().is_some_and(|at| *at >= first) {
            self.configurations.pop_back();
        }
    }

    /// The entries `first..=last`, all of which the log holds; none if `last` is before `first`.
    pub(crate) fn range(&self, first: Index, last: Index) -> impl Iterator<Item = &Entry> {
        let bounds = (last >= first).then(|| (self.position(first), self.position(last)));
        let positions = match bounds {
            None => 0..0,
            Some((Some(start), Some(end))) => start..end + 1,
            Some(_) => panic!("entries {first}..={last} of a log of {}..={}", self.compacted, self.last()),
        };
        self.entries.range(positions)
    }

    /// The entries from `first` on that fit into `bytes_max`; the first one in any case.
    pub(crate) fn batch(&self, first: Index, bytes_max: u64) -> (Vec<Entry>, u64) {
        let start = self.position(first).unwrap_or(self.entries.len());
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let fits = bytes == 0 || bytes + entry.bytes() <= bytes_max;
            bytes += if fits { entry.bytes() } else { 0 };
            fits
        };
        let count = self.entries.range(start..).take_while(fits).count();
        (self.entries.range(start..start + count).cloned().collect(), bytes)
    }

    /// The first configuration that has not been applied.
    pub(crate) fn next_configuration(&self) -> Option<Index> {
        self.configurations.front().copied()
    }

    /// The last configuration up to `applied`, once: the one that takes effect now.
    pub(crate) fn take_configuration(&mut self, applied: Index) -> Option<(Index, Configuration)> {
        let mut latest = None;
        while self.configurations.front().is_some_and(|at| *at <= applied) {
            latest = self.configurations.pop_front();
        }
        let at = latest?;
        match self.range(at, at).next().map(|entry| &entry.payload) {
            Some(Payload::Configuration(configuration)) => Some((at, configuration.clone())),
            other => unreachable!("a configuration was noted at {at}, where the log holds {other:?}"),
        }
    }

    /// Drops everything up to `to`.
    pub(crate) fn compact(&mut self, to: Index) {
        if let Some(position) = self.position(to) {
            self.compacted = self.entries[position].id;
            self.entries.drain(..=position);
        }
    }

    /// Drops everything: the log goes on after a snapshot.
    pub(crate) fn reset(&mut self, to: LogId) {
        *self = Self::new(to, Vec::new(), to.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn id(index: u64, term: u64) -> LogId {
        LogId::new(Index(index), Term(term))
    }

    fn entry(index: u64, term: u64) -> Entry {
        Entry { id: id(index, term), payload: Payload::Data(Bytes::from_static(b"12345678")) }
    }

    /// Compacted up to 3@1, then 4@1 5@2 6@2 7@4.
    fn log() -> Log {
        Log::new(id(3, 1), vec![entry(4, 1), entry(5, 2), entry(6, 2), entry(7, 4)], Index(3))
    }

    #[test]
    fn terms_are_known_from_the_compaction_point_on() {
        let log = log();
        assert_eq!(log.last(), id(7, 4));
        let terms: Vec<_> = (2..=8).map(|index| log.term(Index(index)).map(|term| term.0)).collect();
        assert_eq!(terms, [None, Some(1), Some(1), Some(2), Some(2), Some(4), None]);
        assert!(log.contains(id(6, 2)) && !log.contains(id(6, 4)) && !log.contains(id(8, 4)));
    }

    #[test]
    fn last_within_skips_whole_terms() {
        let log = log();
        assert_eq!(log.last_within(id(7, 3)), Some(id(6, 2)), "7@4 is of a later term");
        assert_eq!(log.last_within(id(5, 9)), Some(id(5, 2)), "bounded by the index");
        assert_eq!(log.last_within(id(99, 4)), Some(id(7, 4)), "bounded by the end");
        assert_eq!(log.last_within(id(7, 1)), Some(id(4, 1)));
        assert_eq!(log.last_within(id(3, 1)), Some(id(3, 1)), "the compaction point itself");
        assert_eq!(log.last_within(id(2, 1)), None, "behind the compaction point");
        assert_eq!(log.last_within(id(7, 0)), None, "earlier than the compaction point's term");
    }

    #[test]
    fn merge_cuts_only_at_a_conflict() {
        let mut log = log();
        assert_eq!(log.merge(vec![entry(5, 2), entry(6, 2)]), None, "an old append arrives late");
        assert_eq!(log.last(), id(7, 4), "and shortens nothing");
        assert_eq!(log.merge(vec![entry(6, 2), entry(7, 5), entry(8, 5)]), Some(Index(7)));
        assert_eq!(log.last(), id(8, 5));
        assert_eq!(log.merge(vec![entry(9, 5)]), None);
        assert_eq!(log.last(), id(9, 5));
    }

    #[test]
    #[should_panic(expected = "entry 9@4 does not follow 7@4")]
    fn a_gap_is_a_broken_invariant() {
        log().append(entry(9, 4));
    }

    #[test]
    fn batches_respect_bytes_but_always_move() {
        let log = log();
        let size = entry(4, 1).bytes();
        let count = |bytes_max| log.batch(Index(5), bytes_max).0.len();
        assert_eq!(count(1), 1);
        assert_eq!(count(2 * size), 2);
        assert_eq!(count(3 * size - 1), 2);
        assert_eq!(log.batch(Index(5), u64::MAX).1, 3 * size);
        assert_eq!(log.batch(Index(8), u64::MAX), (vec![], 0));
    }

    #[test]
    fn configurations_are_noted_and_forgotten() {
        let configuration = Configuration::of_voters([crate::id::ReplicaId(1)]);
        let change = |index, term| Entry {
            id: id(index, term),
            payload: Payload::Configuration(configuration.clone()),
        };
        let mut log =
            Log::new(id(0, 0), vec![change(1, 1), entry(2, 1), change(3, 1), change(4, 1)], Index(1));
        assert_eq!(log.next_configuration(), Some(Index(3)), "the first one is applied");
        assert_eq!(log.merge(vec![entry(4, 2)]), Some(Index(4)));
        assert_eq!(log.take_configuration(Index(2)), None);
        assert_eq!(log.take_configuration(Index(4)), Some((Index(3), configuration)));
        assert_eq!(log.next_configuration(), None, "the one that was cut away never takes effect");
    }

    #[test]
    fn compaction_keeps_the_term_of_its_point() {
        let mut log = log();
        log.compact(Index(6));
        assert_eq!((log.compacted(), log.last()), (id(6, 2), id(7, 4)));
        log.compact(Index(5));
        assert_eq!(log.compacted(), id(6, 2), "compacting less than before changes nothing");
        log.reset(id(20, 9));
        assert_eq!((log.compacted(), log.last()), (id(20, 9), id(20, 9)));
    }
}
