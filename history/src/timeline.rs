//! What a shard held at each of its versions, put together from the versions in the answers.
//!
//! An answered write says its version. A write of unknown outcome has none, until somebody sees its value: then the record tells.
//! What nobody saw stays *adrift*: it may have been executed anywhere after its invocation. Where such a write could
//! explain what was seen, nothing is held against it; the search is the stricter judge there.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::history::{End, Operation, OperationId};
use crate::operation::{Answer, Call, Done, Seen, TxnAnswer, TxnStep, Version, text};

/// What one version did to one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub(crate) version: Version,
    /// Nothing: it was deleted.
    pub(crate) value: Option<&'a Bytes>,
    pub(crate) by: &'a Operation,
}

/// All that a shard held.
#[derive(Debug, Default)]
pub(crate) struct Timeline<'a> {
    /// In the order of their versions.
    keys: BTreeMap<&'a Bytes, Vec<Write<'a>>>,
    versions: BTreeMap<Version, &'a Operation>,
    made: BTreeMap<OperationId, Version>,
    adrift: Vec<&'a Operation>,
}

/// What an operation does to the keys: a value, or nothing for a deletion.
type Effects<'a> = Vec<(&'a Bytes, Option<&'a Bytes>)>;

impl<'a> Timeline<'a> {
    /// Of the operations of one shard.
    ///
    /// # Errors
    /// Two writes have one version, or something was seen that nobody wrote.
    pub(crate) fn new(operations: &[&'a Operation]) -> Result<Self, String> {
        let mut timeline = Self::default();
        for operation in operations {
            match operation.end() {
                End::Done(_, done) => match effects_of(&operation.call, done) {
                    (effects, _) if effects.is_empty() => {}
                    (effects, Some(version)) => timeline.write(operation, version, &effects)?,
                    (_, None) => timeline.adrift.push(operation),
                },
                End::Unknown(_) if operation.call.writes() => timeline.adrift.push(operation),
                End::Unknown(_) | End::NotExecuted => {}
            }
        }
        timeline.adrift.sort_by_key(|operation| operation.invoked);
        timeline.learn(operations)?;
        timeline.keys.values_mut().for_each(|writes| writes.sort_by_key(|write| write.version));
        Ok(timeline)
    }

    fn write(&mut self, by: &'a Operation, version: Version, effects: &Effects<'a>) -> Result<(), String> {
        if let Some(other) = self.versions.insert(version, by).filter(|other| other.id != by.id) {
            return Err(format!("{version} was made by two writes:\n  {other}\n  {by}\n"));
        }
        self.made.insert(by.id, version);
        for (key, value) in effects {
            self.keys.entry(key).or_default().push(Write { version, value: *value, by });
        }
        Ok(())
    }

    /// Whoever saw a record tells the version of the write that made it.
    fn learn(&mut self, operations: &[&'a Operation]) -> Result<(), String> {
        let mut sights = Vec::new();
        for reader in operations {
            let seen = sights_of(reader);
            let told =
                |(key, seen): (&'a Bytes, Option<&'a Seen>)| Some((seen?.version?, key, seen?, *reader));
            sights.extend(seen.into_iter().filter_map(told));
        }
        // First who saw the value too: of the others, which only know that something is there, what is left can be the work of one
        // write at most, or nobody can tell.
        sights.sort_by_key(|(version, _, seen, _)| (seen.value.is_none(), *version));
        for (version, key, seen, reader) in sights {
            let known = self.keys.get(key).into_iter().flatten().find(|write| write.version == version);
            if known.is_none() {
                self.learn_from(version, key, seen, reader)?;
            } else if let Some(write) = known
                && seen.value.is_some()
                && seen.value.as_ref() != write.value
            {
                let by = write.by;
                return Err(format!(
                    "{} at {version} was written and read differently:\n  {by}\n  {reader}\n",
                    text(key)
                ));
            }
        }
        Ok(())
    }

    fn learn_from(
        &mut self,
        version: Version,
        key: &'a Bytes,
        seen: &Seen,
        reader: &'a Operation,
    ) -> Result<(), String> {
        let wrote = |by: &'a Operation| {
            let in_time = ended(reader).is_none_or(|end| by.invoked <= end);
            let known = self.made(by).is_some_and(|made| made != version);
            let mut ways = if in_time && !known { branches(&by.call) } else { Vec::new() };
            ways.retain(|effects| puts(effects, key, seen));
            ways
        };
        let found = self.adrift.iter().enumerate().map(|(at, by)| (at, wrote(by)));
        let mut found = found.filter(|(_, ways)| !ways.is_empty());
        let first = found.next();
        if seen.value.is_none() && found.next().is_some() {
            return Ok(());
        }
        let Some((at, mut ways)) = first else {
            return Err(format!(
                "{} at {version} was read, and written by nobody who may have been executed:\n  {reader}\n",
                text(key)
            ));
        };
        let mut effects = ways.remove(0);
        if ways.is_empty() {
            let by = self.adrift.remove(at);
            return self.write(by, version, &effects);
        }
        // A transaction that may have gone either way: of its other keys nobody knows yet.
        effects.retain(|(written, _)| *written == key);
        self.write(self.adrift[at], version, &effects)
    }

    /// The version that an operation made, as far as anybody told.
    pub(crate) fn made(&self, operation: &Operation) -> Option<Version> {
        self.made.get(&operation.id).copied()
    }

    /// What a key held once this version was made: the write that it is from.
    pub(crate) fn at(&self, key: &Bytes, version: Version) -> Option<&Write<'a>> {
        let writes = self.keys.get(key)?;
        let until = writes.partition_point(|write| write.version <= version);
        until.checked_sub(1).map(|last| &writes[last])
    }

    /// The first write of a key after this version that satisfies.
    pub(crate) fn after(
        &self,
        key: &Bytes,
        version: Version,
        wanted: impl Fn(&Write<'_>) -> bool,
    ) -> Option<&Write<'a>> {
        let writes = self.keys.get(key)?;
        let from = writes.partition_point(|write| write.version <= version);
        writes[from..].iter().find(|write| wanted(write))
    }

    /// All keys that were ever written, in their order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a Bytes> {
        self.keys.keys().copied()
    }

    /// Whether a write of this key whose place nobody knows may have been executed before this operation ended.
    pub(crate) fn uncertain(&self, key: &Bytes, operation: &Operation) -> bool {
        let in_time = |other: &&&Operation| ended(operation).is_none_or(|end| other.invoked <= end);
        let touches = |other: &&Operation| {
            let effects = branches(&other.call);
            effects.iter().flatten().any(|(touched, _)| *touched == key)
        };
        self.adrift.iter().filter(in_time).any(touches)
    }
}

fn ended(operation: &Operation) -> Option<crate::Moment> {
    match operation.end() {
        End::Done(at, _) => Some(at),
        _ => None,
    }
}

fn puts(effects: &Effects<'_>, key: &Bytes, seen: &Seen) -> bool {
    let same = |value: &Bytes| seen.value.as_ref().is_none_or(|seen| seen == value);
    effects.iter().any(|(written, value)| *written == key && value.is_some_and(same))
}

/// What an answered operation did, and under which version.
fn effects_of<'a>(call: &'a Call, done: &'a Done) -> (Effects<'a>, Option<Version>) {
    match (call, &done.answer) {
        (Call::Put { .. } | Call::CompareAndSwap { .. }, Answer::Written(version)) => {
            (branches(call).remove(0), *version)
        }
        (Call::Delete { key }, Answer::Deleted { existed: true, version }) => (vec![(key, None)], *version),
        (Call::Txn(txn), Answer::Txn { succeeded, version, results }) => {
            let steps = txn.steps(*succeeded).iter().zip(results);
            let happened = steps.filter(|(_, result)| **result != TxnAnswer::Deleted(false));
            (last_of_each(happened.map(|(step, _)| step)), *version)
        }
        _ => (Vec::new(), None),
    }
}

/// What a call may do to the keys, one list for each way in which it may have gone.
fn branches(call: &Call) -> Vec<Effects<'_>> {
    match call {
        Call::Put { key, value } | Call::CompareAndSwap { key, value, .. } => vec![vec![(key, Some(value))]],
        Call::Delete { key } => vec![vec![(key, None)]],
        Call::Txn(txn) => vec![last_of_each(txn.then.iter()), last_of_each(txn.otherwise.iter())],
        Call::Get { .. } | Call::Scan { .. } => Vec::new(),
    }
}

/// A later step of a transaction hides what an earlier one did to the same key.
fn last_of_each<'a>(steps: impl Iterator<Item = &'a TxnStep>) -> Effects<'a> {
    let mut last = BTreeMap::new();
    for step in steps {
        match step {
            TxnStep::Get(_) => {}
            TxnStep::Put(key, value) => {
                last.insert(key, Some(value));
            }
            TxnStep::Delete(key) => {
                last.insert(key, None);
            }
        }
    }
    last.into_iter().collect()
}

/// What an answer shows of keys; of a scan only what is there.
pub(crate) fn sights_of(operation: &Operation) -> Vec<(&Bytes, Option<&Seen>)> {
    let End::Done(_, Done { answer, .. }) = operation.end() else { return Vec::new() };
    match (&operation.call, answer) {
        (Call::Get { key }, Answer::Got(seen))
        | (Call::CompareAndSwap { key, .. }, Answer::Conflict(seen)) => vec![(key, seen.as_ref())],
        (Call::Scan { .. }, Answer::Scanned { records, .. }) => {
            records.iter().map(|(key, seen)| (key, Some(seen))).collect()
        }
        (Call::Txn(txn), Answer::Txn { succeeded, results, .. }) => {
            let steps = txn.steps(*succeeded);
            let before = |at: usize, key: &Bytes| {
                !steps[..at].iter().any(|step| !matches!(step, TxnStep::Get(_)) && step.key() == key)
            };
            let mut seen = Vec::new();
            for (at, (step, result)) in steps.iter().zip(results).enumerate() {
                // What it wrote itself shows nothing of others.
                if let (TxnStep::Get(key), TxnAnswer::Got(found)) = (step, result)
                    && before(at, key)
                {
                    seen.push((key, found.as_ref()));
                }
            }
            seen
        }
        _ => Vec::new(),
    }
}
