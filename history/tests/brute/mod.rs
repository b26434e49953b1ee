//! The judge of judges: tries every order of a small history, without any cleverness.
//!
//! Versions are judged differently than in the crate: an order is played through, each write of a key gets a number, what
//! was seen of it is noted, and then the versions that are known must leave room for those that are not.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_history::{Answer, Call, Compare, Condition, Done, Outcome, Seen, TxnAnswer, TxnStep, Version};

use crate::imitation::Told;

/// Whether some order explains the history.
pub fn linearizable(told: &[Told]) -> bool {
    extend(told, &mut Vec::new())
}

fn extend(told: &[Told], order: &mut Vec<(usize, bool)>) -> bool {
    if !Play::default().all(told, order) {
        return false;
    }
    let left = |at: &usize| !order.iter().any(|(placed, _)| placed == at);
    let left: Vec<usize> = (0..told.len()).filter(left).collect();
    let must = |at: &usize| matches!(told[*at].outcome, Outcome::Done(_));
    if !left.iter().any(must) {
        return true;
    }
    for &next in &left {
        let late = left.iter().any(|other| must(other) && told[*other].end < told[next].begin);
        if late || told[next].outcome == Outcome::NotExecuted {
            continue;
        }
        // Of a lost transaction nobody knows which list was executed.
        for held in [true, false] {
            order.push((next, held));
            if extend(told, order) {
                return true;
            }
            order.pop();
        }
    }
    false
}

/// The writes of one key, in their order: the version of each, as far as it is known.
type Versions = Vec<Option<u64>>;

#[derive(Default)]
struct Play {
    held: BTreeMap<Bytes, (Bytes, usize)>,
    versions: BTreeMap<Bytes, Versions>,
    /// In a transaction: how many writes of each key there were before it.
    begun: Option<BTreeMap<Bytes, usize>>,
}

impl Play {
    fn all(&mut self, told: &[Told], order: &[(usize, bool)]) -> bool {
        order.iter().all(|(at, held)| self.one(&told[*at], *held)) && self.versions.values().all(room)
    }

    fn one(&mut self, told: &Told, held: bool) -> bool {
        let answer = match &told.outcome {
            Outcome::Done(Done { answer, .. }) => Some(answer),
            _ => None,
        };
        match (&told.call, answer) {
            (Call::Get { .. } | Call::Scan { .. }, None) => true,
            (Call::Get { key }, Some(Answer::Got(seen))) => self.see(key, seen.as_ref()),
            (Call::Scan { .. }, Some(Answer::Scanned { records, .. })) => {
                let keys: Vec<Bytes> = self.held.keys().cloned().collect();
                let missing = |key: &Bytes| !records.iter().any(|(found, _)| found == key);
                !keys.iter().any(missing) && records.iter().all(|(key, seen)| self.see(key, Some(seen)))
            }
            (Call::Put { key, value }, answer) => self.put(key, value, version(answer)),
            (Call::Delete { key }, answer) => {
                let existed = match answer {
                    Some(Answer::Deleted { existed, .. }) => Some(*existed),
                    _ => None,
                };
                self.delete(key, existed, version(answer))
            }
            (Call::CompareAndSwap { key, expected, .. }, Some(Answer::Conflict(seen))) => {
                self.may_differ(key, *expected) && self.see(key, seen.as_ref())
            }
            (Call::CompareAndSwap { key, expected, value }, answer) => {
                self.is(key, *expected) && self.put(key, value, version(answer))
            }
            (Call::Txn(txn), answer) => {
                let (succeeded, results) = match answer {
                    Some(Answer::Txn { succeeded, results, .. }) => (*succeeded, Some(results)),
                    _ => (held, None),
                };
                let compared = if succeeded {
                    txn.compares.iter().all(|compare| self.holds(compare))
                } else {
                    txn.compares.iter().any(|compare| self.may_fail(compare))
                };
                let steps = if succeeded { &txn.then } else { &txn.otherwise };
                compared && self.steps(steps, results, version(answer))
            }
            (call, answer) => panic!("{answer:?} is no answer to {call}"),
        }
    }

    fn steps(&mut self, steps: &[TxnStep], results: Option<&Vec<TxnAnswer>>, version: Option<u64>) -> bool {
        // All its writes of one key are one: the last of them takes the place of the others.
        self.begun =
            Some(self.versions.iter().map(|(key, versions)| (key.clone(), versions.len())).collect());
        let played = self.play_steps(steps, results, version);
        self.begun = None;
        played
    }

    fn play_steps(
        &mut self,
        steps: &[TxnStep],
        results: Option<&Vec<TxnAnswer>>,
        version: Option<u64>,
    ) -> bool {
        steps.iter().enumerate().all(|(at, step)| {
            let result = results.map(|results| &results[at]);
            match (step, result) {
                (TxnStep::Get(key), Some(TxnAnswer::Got(seen))) => self.see(key, seen.as_ref()),
                (TxnStep::Get(_), _) => true,
                (TxnStep::Put(key, value), _) => self.put(key, value, version),
                (TxnStep::Delete(key), Some(TxnAnswer::Deleted(existed))) => {
                    self.delete(key, Some(*existed), version)
                }
                (TxnStep::Delete(key), _) => self.delete(key, None, version),
            }
        })
    }

    fn see(&mut self, key: &Bytes, seen: Option<&Seen>) -> bool {
        let (Some((value, at)), Some(seen)) = (self.held.get(key), seen) else {
            return !self.held.contains_key(key) && seen.is_none();
        };
        if seen.value.as_ref().is_some_and(|seen| seen != value) {
            return false;
        }
        let known = &mut self.versions.get_mut(key).unwrap()[*at];
        let same = known.zip(seen.version).is_none_or(|(known, seen)| known == seen.0);
        *known = known.or(seen.version.map(|seen| seen.0));
        same
    }

    fn number(&mut self, key: &Bytes, version: Option<u64>) -> usize {
        let versions = self.versions.entry(key.clone()).or_default();
        if let Some(begun) = &self.begun {
            versions.truncate(begun.get(key).copied().unwrap_or_default());
        }
        versions.push(version);
        versions.len() - 1
    }

    fn put(&mut self, key: &Bytes, value: &Bytes, version: Option<u64>) -> bool {
        let at = self.number(key, version);
        self.held.insert(key.clone(), (value.clone(), at));
        true
    }

    fn delete(&mut self, key: &Bytes, existed: Option<bool>, version: Option<u64>) -> bool {
        let exists = self.held.remove(key).is_some();
        if exists {
            self.number(key, version);
        }
        existed.is_none_or(|existed| existed == exists)
    }

    fn is(&mut self, key: &Bytes, expected: Version) -> bool {
        let seen = Seen { value: None, version: Some(expected) };
        self.see(key, (expected.0 > 0).then_some(&seen))
    }

    fn may_differ(&self, key: &Bytes, expected: Version) -> bool {
        match self.held.get(key) {
            None => expected.0 != 0,
            Some((_, at)) => self.versions[key][*at].is_none_or(|known| known != expected.0),
        }
    }

    fn holds(&mut self, Compare { key, condition }: &Compare) -> bool {
        match condition {
            Condition::Version(version) => self.is(key, *version),
            Condition::Value(value) => self.held.get(key).is_some_and(|(held, _)| held == value),
            Condition::Exists(exists) => self.held.contains_key(key) == *exists,
        }
    }

    fn may_fail(&self, Compare { key, condition }: &Compare) -> bool {
        match condition {
            Condition::Version(version) => self.may_differ(key, *version),
            Condition::Value(value) => self.held.get(key).is_none_or(|(held, _)| held != value),
            Condition::Exists(exists) => self.held.contains_key(key) != *exists,
        }
    }
}

fn version(answer: Option<&Answer>) -> Option<u64> {
    match answer {
        Some(Answer::Written(version) | Answer::Deleted { version, .. } | Answer::Txn { version, .. }) => {
            version.map(|version| version.0)
        }
        _ => None,
    }
}

/// Whether the versions grow, with room for the unknown ones between.
fn room(versions: &Versions) -> bool {
    let mut least = 0;
    versions.iter().all(|version| {
        least += 1;
        let fits = version.is_none_or(|version| version >= least);
        least = version.unwrap_or(least);
        fits
    })
}
