//! Splits a history into parts that can be judged one by one.
//!
//! Linearizability is local: a history is linearizable if, for each key, the operations on that key are. Operations that touch
//! several keys at once (transactions, scans) tie these keys together; what is tied is one part.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::history::{End, History, Operation};
use crate::operation::{Answer, Moment, Shard, text};

/// So many operations of one part may be under way at a time, those of unknown outcome until they were given up.
pub const IN_FLIGHT_MAX: usize = 8;

/// So many operations may one part have.
pub const OPERATIONS_MAX: usize = 1_000;

/// Keys that are judged together, and the operations that touch them.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) shard: Shard,
    /// In their order.
    pub(crate) keys: Vec<Bytes>,
    /// In the order of their invocation.
    pub(crate) operations: Vec<&'a Operation>,
}

/// The parts of a history, in the order of their shards and first keys.
pub(crate) fn parts(history: &History) -> Vec<Part<'_>> {
    let mut shards: BTreeMap<Shard, Vec<&Operation>> = BTreeMap::new();
    for operation in history.operations() {
        shards.entry(operation.shard).or_default().push(operation);
    }
    shards.into_iter().flat_map(|(shard, operations)| parts_of(shard, operations)).collect()
}

fn parts_of(shard: Shard, operations: Vec<&Operation>) -> Vec<Part<'_>> {
    let mut ties = Ties::of(&operations);
    for operation in &operations {
        let touched = ties.touched(operation);
        touched.windows(2).for_each(|pair| ties.tie(pair[0], pair[1]));
    }
    let mut parts: BTreeMap<usize, Part<'_>> = BTreeMap::new();
    let part = || Part { shard, keys: Vec::new(), operations: Vec::new() };
    for (at, key) in ties.keys.clone().into_keys().enumerate() {
        parts.entry(ties.root(at)).or_insert_with(part).keys.push(key);
    }
    for operation in operations {
        // A scan of a range in which no key ever was says nothing: there is nothing to hold against it.
        if let Some(first) = ties.touched(operation).first() {
            let root = ties.root(*first);
            parts.entry(root).or_insert_with(part).operations.push(operation);
        }
    }
    let mut parts: Vec<Part<'_>> = parts.into_values().collect();
    parts.iter_mut().for_each(|part| part.operations.sort_by_key(|operation| operation.invoked));
    parts
}

/// Which keys are tied together, as a forest: who points at itself is a root.
struct Ties {
    keys: BTreeMap<Bytes, usize>,
    parents: Vec<usize>,
}

impl Ties {
    fn of(operations: &[&Operation]) -> Self {
        let mut keys = BTreeMap::new();
        for operation in operations {
            keys.extend(operation.call.keys().into_iter().map(|key| (key.clone(), 0)));
            if let Some((.., records)) = scanned(operation) {
                keys.extend(records.iter().map(|(key, _)| (key.clone(), 0)));
            }
        }
        keys.values_mut().enumerate().for_each(|(at, number)| *number = at);
        let parents = (0..keys.len()).collect();
        Self { keys, parents }
    }

    /// The numbers of the keys that an operation touches.
    fn touched(&self, operation: &Operation) -> Vec<usize> {
        if let Some((from, to, _)) = scanned(operation) {
            let inside = |key: &Bytes| key >= from && to.as_ref().is_none_or(|to| key < to);
            return self.keys.iter().filter(|(key, _)| inside(key)).map(|(_, at)| *at).collect();
        }
        operation.call.keys().into_iter().map(|key| self.keys[key]).collect()
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    fn tie(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The root is the least, so that parts come in the order of their first keys.
        self.parents[one.max(other)] = one.min(other);
    }
}

type Scanned<'a> = (&'a Bytes, &'a Option<Bytes>, &'a Vec<(Bytes, crate::Seen)>);

fn scanned(operation: &Operation) -> Option<Scanned<'_>> {
    match operation.end() {
        End::Done(_, done) => match &done.answer {
            Answer::Scanned { from, to, records } => Some((from, to, records)),
            _ => None,
        },
        _ => None,
    }
}

impl Part<'_> {
    /// For people.
    pub(crate) fn name(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(text).collect();
        let Shard(shard) = self.shard;
        match keys.as_slice() {
            [key] => format!("key {key} of shard {shard}"),
            keys => format!("keys {} of shard {shard}", keys.join(", ")),
        }
    }

    /// Refuses what the search could not decide in time.
    ///
    /// # Panics
    /// A limit is exceeded.
    pub(crate) fn check_limits(&self) {
        let count = self.operations.len();
        let name = self.name();
        assert!(
            count <= OPERATIONS_MAX,
            "{name}: {count} operations, at most {OPERATIONS_MAX} can be judged"
        );
        let mut changes: Vec<(Moment, i8)> = Vec::new();
        for operation in &self.operations {
            // Who overlaps no one for no time is not under way.
            if operation.end() != End::NotExecuted {
                changes.push((operation.invoked, 1));
                changes.extend(operation.waited().map(|end| (end, -1)));
            }
        }
        // At one moment, ends come first: the limit is on those who are really together.
        changes.sort_unstable();
        let mut flying = 0_i64;
        for (at, change) in changes {
            flying += i64::from(change);
            assert!(
                flying <= IN_FLIGHT_MAX as i64,
                "{name}: {flying} operations are under way at {}, at most {IN_FLIGHT_MAX} can be judged",
                at.0
            );
        }
    }
}
