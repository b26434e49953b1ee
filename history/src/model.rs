//! The map of keys that a shard should look like, and what an operation does to it.
//!
//! Every operation is put into the same shape: what must hold before, and steps that read or write. Versions are the shard's:
//! the map knows only that they grow. A write of unknown outcome has a version that nobody has seen; the first reader that sees
//! the record pins it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::history::{End, Operation};
use crate::operation::{Answer, Call, Condition, Done, Seen, TxnAnswer, TxnStep, Version, text};

/// A key of the part, by its place among them.
pub(crate) type Key = usize;

/// What one key holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holding {
    held: Option<Held>,
    /// The last write has at least this version.
    floor: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    value: Value,
    /// Nothing: nobody has seen it yet.
    version: Option<Version>,
}

/// A value, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value(usize);

/// Any value that no answer shows.
const UNSEEN: Value = Value(usize::MAX);

/// What all keys of a part hold.
pub(crate) type State = Vec<Holding>;

/// An operation as it may have been executed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Action {
    /// What must hold before …
    checks: Vec<Check>,
    /// … or, of all this, something must not.
    fails: bool,
    steps: Vec<Step>,
    /// Of all its writes.
    version: Option<Version>,
}

#[derive(Debug, PartialEq, Eq)]
enum Check {
    Version(Key, Version),
    Value(Key, Value),
    Exists(Key, bool),
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// This is there.
    See(Key, Option<Sight>),
    Put(Key, Value),
    /// Deleted, and whether there was something, where that is known.
    Delete(Key, Option<bool>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    value: Option<Value>,
    version: Option<Version>,
}

/// Why an action is impossible.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reason {
    /// This check does not hold.
    Check(usize),
    /// All checks hold, and should not.
    Holds,
    /// This step meets something else.
    Step(usize),
}

/// The names of keys and values.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    keys: &'a [Bytes],
    values: BTreeMap<Bytes, Value>,
}

impl<'a> Names<'a> {
    /// Those of a part with these keys, in their order.
    pub(crate) fn new(keys: &'a [Bytes]) -> Self {
        Self { keys, values: BTreeMap::new() }
    }

    /// Every key absent.
    pub(crate) fn nothing(&self) -> State {
        vec![Holding::default(); self.keys.len()]
    }

    /// Where a key stands.
    pub(crate) fn key(&self, key: &Bytes) -> Key {
        self.keys.binary_search(key).unwrap_or_else(|_| panic!("{} is no key of the part", text(key)))
    }

    /// The ways in which an operation may have been executed: one where it was answered; none where it is nobody's concern.
    pub(crate) fn actions(&mut self, operation: &Operation) -> Vec<Action> {
        match operation.end() {
            End::Done(_, Done { answer, .. }) => vec![self.answered(&operation.call, answer)],
            End::Unknown(_) => self.unanswered(&operation.call),
            End::NotExecuted => Vec::new(),
        }
    }

    fn answered(&mut self, call: &Call, answer: &Answer) -> Action {
        match (call, answer) {
            (Call::Get { key }, Answer::Got(seen)) => Action::of(vec![self.see(key, seen.as_ref())]),
            (Call::Put { key, value }, Answer::Written(version)) => {
                Action { version: *version, ..Action::of(vec![self.put(key, value)]) }
            }
            (Call::Delete { key }, Answer::Deleted { existed, version }) => {
                Action { version: *version, ..Action::of(vec![Step::Delete(self.key(key), Some(*existed))]) }
            }
            (Call::CompareAndSwap { key, expected, value }, Answer::Written(version)) => {
                let checks = vec![Check::Version(self.key(key), *expected)];
                Action { checks, version: *version, ..Action::of(vec![self.put(key, value)]) }
            }
            (Call::CompareAndSwap { key, expected, .. }, Answer::Conflict(seen)) => {
                let checks = vec![Check::Version(self.key(key), *expected)];
                Action { checks, fails: true, ..Action::of(vec![self.see(key, seen.as_ref())]) }
            }
            (Call::Txn(txn), Answer::Txn { succeeded, version, results }) => {
                let results = results.iter().map(Some);
                let steps = txn.steps(*succeeded).iter().zip(results);
                let steps = steps.filter_map(|(step, result)| self.step(step, result)).collect();
                let checks = self.checks(txn);
                Action { checks, fails: !succeeded, steps, version: *version }
            }
            (Call::Scan { .. }, Answer::Scanned { from, to, records }) => {
                let found: BTreeMap<&Bytes, &Seen> = records.iter().map(|(key, seen)| (key, seen)).collect();
                let inside = |key: &&Bytes| *key >= from && to.as_ref().is_none_or(|to| *key < to);
                let keys = self.keys;
                let inside = keys.iter().filter(inside);
                Action::of(inside.map(|key| self.see(key, found.get(key).copied())).collect())
            }
            (call, answer) => unreachable!("the record refused {answer} to {call}"),
        }
    }

    /// A read without an answer concerns nobody. A write may have been executed, but nobody was told how.
    fn unanswered(&mut self, call: &Call) -> Vec<Action> {
        match call {
            Call::Get { .. } | Call::Scan { .. } => Vec::new(),
            Call::Put { key, value } => vec![Action::of(vec![self.put(key, value)])],
            Call::Delete { key } => vec![Action::of(vec![Step::Delete(self.key(key), None)])],
            Call::CompareAndSwap { key, expected, value } => {
                let checks = vec![Check::Version(self.key(key), *expected)];
                vec![Action { checks, ..Action::of(vec![self.put(key, value)]) }]
            }
            Call::Txn(txn) => {
                let branch = |succeeded: bool| {
                    let steps = txn.steps(succeeded).iter();
                    let steps: Vec<Step> = steps.filter_map(|step| self.step(step, None)).collect();
                    let checks = self.checks(txn);
                    Action { checks, fails: !succeeded, ..Action::of(steps) }
                };
                [true, false].map(branch).into_iter().filter(|action| !action.steps.is_empty()).collect()
            }
        }
    }

    /// A step of a transaction. A read that nobody was told of is none.
    fn step(&mut self, step: &TxnStep, result: Option<&TxnAnswer>) -> Option<Step> {
        match (step, result) {
            (TxnStep::Get(key), Some(TxnAnswer::Got(seen))) => Some(self.see(key, seen.as_ref())),
            (TxnStep::Get(_), _) => None,
            (TxnStep::Put(key, value), _) => Some(self.put(key, value)),
            (TxnStep::Delete(key), Some(TxnAnswer::Deleted(existed))) => {
                Some(Step::Delete(self.key(key), Some(*existed)))
            }
            (TxnStep::Delete(key), _) => Some(Step::Delete(self.key(key), None)),
        }
    }

    fn checks(&mut self, txn: &crate::Txn) -> Vec<Check> {
        let check = |compare: &crate::Compare| {
            let key = self.key(&compare.key);
            match &compare.condition {
                Condition::Version(version) => Check::Version(key, *version),
                Condition::Value(value) => Check::Value(key, self.value(value)),
                Condition::Exists(exists) => Check::Exists(key, *exists),
            }
        };
        txn.compares.iter().map(check).collect()
    }

    fn see(&mut self, key: &Bytes, seen: Option<&Seen>) -> Step {
        let sight = seen.map(|seen| Sight {
            value: seen.value.as_ref().map(|value| self.value(value)),
            version: seen.version,
        });
        Step::See(self.key(key), sight)
    }

    fn put(&mut self, key: &Bytes, value: &Bytes) -> Step {
        Step::Put(self.key(key), self.value(value))
    }

    fn value(&mut self, value: &Bytes) -> Value {
        let next = Value(self.values.len());
        *self.values.entry(value.clone()).or_insert(next)
    }
}

impl Action {
    fn of(steps: Vec<Step>) -> Self {
        Self { checks: Vec::new(), fails: false, steps, version: None }
    }

    /// The keys that it reads or writes.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let checked = self.checks.iter().map(|check| match check {
            Check::Version(key, _) | Check::Value(key, _) | Check::Exists(key, _) => *key,
        });
        checked.chain(self.steps.iter().map(Step::key))
    }

    /// Whether it overwrites all that `other` writes, without looking: then nobody can tell whether `other` was executed.
    pub(crate) fn buries(&self, other: &Self) -> bool {
        let blind = self.checks.is_empty() && self.steps.iter().all(|step| step.overwrites());
        let written = |key: Key| self.steps.iter().any(|step| step.key() == key);
        blind && other.steps.iter().all(|step| written(step.key()))
    }

    /// The values that it shows or asks for.
    pub(crate) fn shown(&self) -> impl Iterator<Item = Value> {
        let asked = self.checks.iter().filter_map(|check| match check {
            Check::Value(_, value) => Some(*value),
            Check::Version(..) | Check::Exists(..) => None,
        });
        let seen = self.steps.iter().filter_map(|step| match step {
            Step::See(_, sight) => sight.and_then(|sight| sight.value),
            Step::Put(..) | Step::Delete(..) => None,
        });
        asked.chain(seen)
    }

    /// Takes values that nobody was shown for one and the same: nobody can tell them apart.
    pub(crate) fn blur(&mut self, shown: &BTreeSet<Value>) {
        for step in &mut self.steps {
            if let Step::Put(_, value) = step
                && !shown.contains(value)
            {
                *value = UNSEEN;
            }
        }
    }

    /// What the map is after it, if it is possible.
    pub(crate) fn apply(&self, state: &State) -> Result<State, Reason> {
        let mut next = state.clone();
        self.compare(&mut next)?;
        for (at, step) in self.steps.iter().enumerate() {
            let holding = &mut next[step.key()];
            let again = self.steps[..at].iter().any(|other| other.writes() && other.key() == step.key());
            let possible = match step {
                Step::See(_, sight) => holding.see(*sight),
                Step::Put(_, value) => holding.write(Some(*value), self.version, again),
                Step::Delete(_, existed) => {
                    let exists = holding.held.is_some();
                    existed.is_none_or(|existed| existed == exists)
                        && (!exists || holding.write(None, self.version, again))
                }
            };
            if !possible {
                return Err(Reason::Step(at));
            }
        }
        Ok(next)
    }

    fn compare(&self, state: &mut State) -> Result<(), Reason> {
        if self.fails {
            // A version that nobody has seen may well be another one.
            let fails = self.checks.iter().any(|check| check.may_fail(state));
            return if fails { Ok(()) } else { Err(Reason::Holds) };
        }
        let broken = self.checks.iter().position(|check| !check.holds(state));
        broken.map_or(Ok(()), |at| Err(Reason::Check(at)))
    }
}

impl Step {
    const fn key(&self) -> Key {
        match self {
            Self::See(key, _) | Self::Put(key, _) | Self::Delete(key, _) => *key,
        }
    }

    const fn writes(&self) -> bool {
        !matches!(self, Self::See(..))
    }

    const fn overwrites(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Delete(_, None))
    }
}

impl Check {
    /// Whether it holds; a version that nobody has seen is pinned by it.
    fn holds(&self, state: &mut State) -> bool {
        match *self {
            Self::Version(key, Version(0)) => state[key].held.is_none(),
            Self::Version(key, version) => {
                state[key].see(Some(Sight { value: None, version: Some(version) }))
            }
            Self::Value(key, value) => state[key].held.is_some_and(|held| held.value == value),
            Self::Exists(key, exists) => state[key].held.is_some() == exists,
        }
    }

    fn may_fail(&self, state: &State) -> bool {
        match *self {
            Self::Version(key, version) => match state[key].held {
                None => version != Version(0),
                Some(held) => held.version.is_none_or(|held| held != version),
            },
            Self::Value(key, value) => state[key].held.is_none_or(|held| held.value != value),
            Self::Exists(key, exists) => state[key].held.is_some() != exists,
        }
    }
}

impl Holding {
    /// Whether this can be seen here; pins a version that nobody has seen before.
    fn see(&mut self, sight: Option<Sight>) -> bool {
        let (Some(held), Some(sight)) = (&mut self.held, sight) else {
            return self.held.is_none() && sight.is_none();
        };
        if sight.value.is_some_and(|value| value != held.value) {
            return false;
        }
        match (held.version, sight.version) {
            (Some(held), Some(seen)) => held == seen,
            (None, Some(seen)) if seen >= self.floor => {
                held.version = Some(seen);
                self.floor = seen;
                true
            }
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }

    /// Writes; `again`: the same action has written here before, and all its writes have one version.
    fn write(&mut self, value: Option<Value>, version: Option<Version>, again: bool) -> bool {
        if !again {
            if version.is_some_and(|version| version <= self.floor) {
                return false;
            }
            self.floor = version.unwrap_or(Version(self.floor.0 + 1));
        }
        self.held = value.map(|value| Held { value, version });
        true
    }
}

impl Names<'_> {
    /// What a key holds, for people.
    pub(crate) fn holding(&self, state: &State, key: Key) -> String {
        let name = text(&self.keys[key]);
        match state[key].held {
            None => format!("{name} holds nothing"),
            Some(Held { value, version: None }) => {
                format!("{name} holds {} (version not seen)", self.value_name(value))
            }
            Some(Held { value, version: Some(version) }) => {
                format!("{name} holds {} ({version})", self.value_name(value))
            }
        }
    }

    /// Why an action is impossible, for people.
    pub(crate) fn explain(&self, action: &Action, state: &State, reason: Reason) -> String {
        let step = match reason {
            Reason::Holds => return "its comparison would hold".to_owned(),
            Reason::Check(at) => {
                let (Check::Version(key, _) | Check::Value(key, _) | Check::Exists(key, _)) =
                    action.checks[at];
                return format!("its comparison would fail: {}", self.holding(state, key));
            }
            Reason::Step(at) => &action.steps[at],
        };
        let holding = self.holding(state, step.key());
        match (step, action.version) {
            (Step::Put(key, _) | Step::Delete(key, Some(true)), Some(version))
                if state[*key].floor >= version =>
            {
                format!("a write of {} or later is in place, and this one made {version}", state[*key].floor)
            }
            _ => holding,
        }
    }

    fn value_name(&self, value: Value) -> String {
        let found = self.values.iter().find(|(_, number)| **number == value);
        found.map_or("a value that nobody saw".to_owned(), |(name, _)| text(name))
    }
}
