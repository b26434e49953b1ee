//! The second judge: believes the versions in the answers, and holds everything else against them.
//!
//! A write stands at its version, a read between two. Two rules: at its place, an operation saw what the shard held there; and
//! who began after another was answered does not stand before it. A read that may stand at several places takes the first
//! that real time allows: that leaves most room to those after it. Besides, terms never go back.
//!
//! Sorting is all it costs. It judges whole shards, because their versions are one sequence.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::history::{End, History, Operation};
use crate::operation::{Answer, Call, Compare, Condition, Done, Moment, Seen, Shard, Version, text};
use crate::timeline::{Timeline, Write, sights_of};
use crate::verdict::Verdict;

/// A place in the sequence: `2v` is version v itself, `2v + 1` right after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

/// Judges shard by shard.
pub(crate) fn judge(history: &History) -> Verdict {
    let mut shards: BTreeMap<Shard, Vec<&Operation>> = BTreeMap::new();
    for operation in history.operations() {
        shards.entry(operation.shard).or_default().push(operation);
    }
    for (Shard(shard), operations) in shards {
        let told = Timeline::new(&operations).and_then(|timeline| sweep(&timeline, &operations));
        if let Err(told) = told {
            return Verdict::NotLinearizable(format!("shard {shard}: {told}"));
        }
    }
    Verdict::Linearizable
}

/// What has been answered, at the latest place.
#[derive(Default)]
struct Answered<'a> {
    place: Option<(Place, &'a Operation)>,
    term: Option<(u64, &'a Operation)>,
}

/// Goes through the operations in the order of their invocation, and gives each a place that is not before that of any
/// that had been answered.
fn sweep(timeline: &Timeline<'_>, operations: &[&Operation]) -> Result<(), String> {
    let mut begun: Vec<&Operation> = operations.to_vec();
    begun.sort_by_key(|operation| operation.invoked);
    let mut ended: Vec<(Moment, usize)> = Vec::new();
    for (at, operation) in begun.iter().enumerate() {
        if let End::Done(end, _) = operation.end() {
            ended.push((end, at));
        }
    }
    ended.sort_unstable();
    let mut ended = ended.into_iter().peekable();
    let mut places: Vec<Option<Place>> = Vec::new();
    let mut answered = Answered::default();
    for operation in &begun {
        while let Some((_, at)) = ended.next_if(|(end, _)| *end < operation.invoked) {
            answered.note(begun[at], places[at]);
        }
        places.push(answered.next(timeline, operation)?);
    }
    Ok(())
}

impl<'a> Answered<'a> {
    fn note(&mut self, operation: &'a Operation, place: Option<Place>) {
        if let Some(place) = place
            && self.place.is_none_or(|(latest, _)| latest < place)
        {
            self.place = Some((place, operation));
        }
        if let Some(term) = term(operation)
            && self.term.is_none_or(|(latest, _)| latest < term)
        {
            self.term = Some((term, operation));
        }
    }

    fn next(&self, timeline: &Timeline<'_>, operation: &Operation) -> Result<Option<Place>, String> {
        if let (Some(term), Some((latest, before))) = (term(operation), self.term)
            && term < latest
        {
            return Err(format!(
                "answered in term {term}, after term {latest} had answered:\n  {before}\n  {operation}\n"
            ));
        }
        let bound = self.place.map(|(place, _)| place).unwrap_or_default();
        let placed = place(timeline, operation, bound).map_err(|why| format!("{why}:\n  {operation}\n"))?;
        match (placed, self.place) {
            (Some(place), Some((latest, before))) if place < latest => Err(format!(
                "the later one stands at v{} or before, the earlier one at v{}:\n  {before}\n  {operation}\n",
                place.0 / 2,
                latest.0 / 2
            )),
            (placed, _) => Ok(placed),
        }
    }
}

fn term(operation: &Operation) -> Option<u64> {
    match operation.end() {
        End::Done(_, Done { stamp: Some(stamp), .. }) => Some(stamp.term),
        _ => None,
    }
}

/// Where an operation stands, not before the bound if it has a choice; nothing: nobody can tell.
fn place(timeline: &Timeline<'_>, operation: &Operation, bound: Place) -> Result<Option<Place>, String> {
    let now = Sight { timeline, operation };
    let end = operation.end();
    if let Some(version) = timeline.made(operation) {
        now.made(version, end)?;
        return Ok(Some(Place::of(version)));
    }
    let End::Done(_, done) = end else { return Ok(None) };
    let counter = done.stamp.and_then(|stamp| stamp.counter);
    match (&operation.call, &done.answer) {
        (Call::Get { key }, Answer::Got(seen)) => now.of_key(key, seen.as_ref(), counter, bound),
        (Call::Delete { key }, Answer::Deleted { existed: false, .. }) => {
            now.of_key(key, None, counter, bound)
        }
        (Call::CompareAndSwap { key, expected, .. }, Answer::Conflict(seen)) => {
            let found = seen.as_ref().map_or(Some(Version(0)), |seen| seen.version);
            if found == Some(*expected) {
                return Err("the comparison failed against what it asked for".to_owned());
            }
            // The stamp of a conflict tells the version of the record, not where the shard's counter stood.
            now.of_key(key, seen.as_ref(), None, bound)
        }
        (Call::Txn(txn), Answer::Txn { succeeded, version: Some(at), .. }) => {
            now.compares(&txn.compares, *succeeded, *at)?;
            now.sights(*at)?;
            Ok(Some(Place::after(*at)))
        }
        (Call::Scan { .. }, Answer::Scanned { from, to, records }) => {
            let Some(at) = counter else { return Ok(None) };
            let found: BTreeMap<&Bytes, &Seen> = records.iter().map(|(key, seen)| (key, seen)).collect();
            let inside = |key: &&Bytes| *key >= from && to.as_ref().is_none_or(|to| *key < to);
            for key in timeline.keys().filter(inside) {
                now.read(key, found.get(key).copied(), at)?;
            }
            Ok(Some(Place::after(at)))
        }
        // An answered write without a version.
        _ => Ok(None),
    }
}

impl Place {
    const fn of(version: Version) -> Self {
        Self(2 * version.0)
    }

    const fn after(version: Version) -> Self {
        Self(2 * version.0 + 1)
    }
}

/// What one operation saw, held against the timeline.
struct Sight<'a> {
    timeline: &'a Timeline<'a>,
    operation: &'a Operation,
}

impl Sight<'_> {
    /// A write: what it found right before its version.
    fn made(&self, version: Version, end: End<'_>) -> Result<(), String> {
        let before = Version(version.0.saturating_sub(1));
        match (&self.operation.call, end) {
            (Call::CompareAndSwap { key, expected, .. }, _) => {
                let condition = Condition::Version(*expected);
                self.compares(&[Compare { key: key.clone(), condition }], true, before)
            }
            (Call::Delete { key }, End::Done(..)) => {
                let condition = Condition::Exists(true);
                self.compares(&[Compare { key: key.clone(), condition }], true, before)
            }
            (Call::Txn(txn), End::Done(_, Done { answer: Answer::Txn { succeeded, .. }, .. })) => {
                self.compares(&txn.compares, *succeeded, before)?;
                self.sights(before)
            }
            _ => Ok(()),
        }
    }

    /// Whether all compares hold once a version was made.
    fn compares(&self, compares: &[Compare], hold: bool, at: Version) -> Result<(), String> {
        let mut found = true;
        for Compare { key, condition } in compares {
            if self.timeline.uncertain(key, self.operation) {
                return Ok(());
            }
            let held = self.held(key, at);
            found &= match condition {
                Condition::Version(version) => held.map_or(Version(0), |write| write.version) == *version,
                Condition::Value(value) => held.and_then(|write| write.value) == Some(value),
                Condition::Exists(exists) => held.is_some() == *exists,
            };
        }
        if found == hold { Ok(()) } else { Err(format!("after {at}, its comparison says otherwise")) }
    }

    /// Whether all that it saw was there once a version was made.
    fn sights(&self, at: Version) -> Result<(), String> {
        sights_of(self.operation).into_iter().try_for_each(|(key, seen)| self.read(key, seen, at))
    }

    /// A read of one key: at the counter that its stamp tells, or wherever it fits.
    fn of_key(
        &self,
        key: &Bytes,
        seen: Option<&Seen>,
        counter: Option<Version>,
        bound: Place,
    ) -> Result<Option<Place>, String> {
        let Some(at) = counter else { return self.somewhere(key, seen, bound) };
        self.read(key, seen, at)?;
        Ok(Some(Place::after(at)))
    }

    /// Whether this was there once a version was made.
    fn read(&self, key: &Bytes, seen: Option<&Seen>, at: Version) -> Result<(), String> {
        let held = self.held(key, at);
        let fits = match (held, seen) {
            (None, None) => true,
            (Some(write), Some(Seen { version: Some(version), .. })) if write.version == *version => true,
            (_, Some(Seen { version: Some(version), .. })) => self.may_have_held(key, *version, at),
            (Some(write), Some(Seen { value: Some(value), .. })) if write.value == Some(value) => true,
            _ => self.timeline.uncertain(key, self.operation),
        };
        let there = held.map_or("nothing".to_owned(), |write| format!("what {} wrote", write.version));
        if fits { Ok(()) } else { Err(format!("after {at}, {} held {there}", text(key))) }
    }

    /// Whether a version of which nobody knows who made it may have been there: it is newer than all that is known until then.
    fn may_have_held(&self, key: &Bytes, version: Version, at: Version) -> bool {
        let newest = self.timeline.at(key, at).map_or(Version(0), |write| write.version);
        newest < version && version <= at && self.timeline.uncertain(key, self.operation)
    }

    fn held(&self, key: &Bytes, at: Version) -> Option<&Write<'_>> {
        self.timeline.at(key, at).filter(|write| write.value.is_some())
    }

    /// The first place, not before the bound, at which this was there; where it was last, if that is before the bound.
    fn somewhere(&self, key: &Bytes, seen: Option<&Seen>, bound: Place) -> Result<Option<Place>, String> {
        let now = Version(bound.0 / 2);
        match seen {
            Some(Seen { version: Some(version), .. }) => {
                let end = self.timeline.after(key, *version, |_| true);
                let last = end.map(|write| Place(Place::of(write.version).0 - 1));
                let first = Place::after(*version).max(bound);
                Ok(Some(last.map_or(first, |last| last.min(first))))
            }
            Some(_) => Ok(None),
            None if self.held(key, now).is_none() || self.timeline.uncertain(key, self.operation) => {
                Ok(Some(Place::after(now)))
            }
            None => match self.timeline.after(key, now, |write| write.value.is_none()) {
                Some(deleted) => Ok(Some(Place::after(deleted.version))),
                None => Err(format!("{} was there from v{} on", text(key), now.0)),
            },
        }
    }
}
