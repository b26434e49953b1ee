//! A naive shard: no layers, no base, no bounds. What it says is what the machine must say.
#![allow(dead_code)]

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_store::{
    Action, CONFLICT_VALUE_BYTES_MAX, Command, Compare, Condition, Operation, Outcome, Record, Refusal,
    RequestId, TXN_VALUES_BYTES_MAX, Txn, TxnOperation, TxnOutcome, TxnResult,
};

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub time_ms: u64,
    pub version: u64,
    pub keys: BTreeMap<Bytes, Record>,
    /// (client, sequence) → deadline and outcome.
    results: BTreeMap<(u128, u64), (u64, Outcome)>,
    /// client → floor and latest deadline.
    floors: BTreeMap<u128, (u64, u64)>,
}

impl Model {
    pub fn apply(&mut self, command: &Command) -> Vec<Outcome> {
        self.time_ms = self.time_ms.max(command.stamp_ms);
        let now = self.time_ms;
        self.keys.retain(|_, record| !record.expired(now));
        self.results.retain(|_, (deadline_ms, _)| *deadline_ms > now);
        self.floors.retain(|_, (_, latest_ms)| *latest_ms > now);
        command.operations.iter().map(|operation| self.operate(operation)).collect()
    }

    fn operate(&mut self, Operation { request, action }: &Operation) -> Outcome {
        let Some(request) = request else { return self.execute(action) };
        let name = (request.client, request.sequence);
        if let Some((_, outcome)) = self.results.get(&name).cloned() {
            self.note(request);
            return self.again(outcome, action);
        }
        let floor = self.floors.get(&request.client).map_or(0, |floor| floor.0);
        if request.sequence < floor {
            self.note(request);
            return Outcome::Refused(Refusal::Stale { floor });
        }
        if request.deadline_ms <= self.time_ms {
            return Outcome::Refused(Refusal::Expired { time_ms: self.time_ms });
        }
        let outcome = self.execute(action);
        self.results.insert(name, (request.deadline_ms, outcome.clone()));
        self.note(request);
        outcome
    }

    fn note(&mut self, request: &RequestId) {
        if request.deadline_ms <= self.time_ms {
            return;
        }
        let floor = self.floors.entry(request.client).or_default();
        *floor = (floor.0.max(request.acknowledged), floor.1.max(request.deadline_ms));
        let floor = floor.0;
        self.results.retain(|&(client, sequence), _| client != request.client || sequence >= floor);
    }

    /// What a later attempt is told.
    fn again(&self, outcome: Outcome, action: &Action) -> Outcome {
        match (&outcome, action) {
            (Outcome::Conflict { current: Some(record) }, Action::CompareAndSwap { key, .. })
                if record.value.len() > CONFLICT_VALUE_BYTES_MAX =>
            {
                match self.keys.get(key) {
                    Some(now) if now.version == record.version => outcome,
                    _ => Outcome::ConflictForgotten { version: record.version },
                }
            }
            (Outcome::Txn(txn), _) => {
                let got = |result: &TxnResult| match result {
                    TxnResult::Got(Some(record)) => record.value.len(),
                    _ => 0,
                };
                if txn.results.iter().map(got).sum::<usize>() <= TXN_VALUES_BYTES_MAX {
                    return outcome;
                }
                let without = |result: &TxnResult| match result.clone() {
                    TxnResult::Got(Some(record)) => {
                        TxnResult::Got(Some(Record { value: Bytes::new(), ..record }))
                    }
                    other => other,
                };
                let results = txn.results.iter().map(without).collect();
                Outcome::Txn(TxnOutcome { results, values_forgotten: true, ..txn.clone() })
            }
            _ => outcome,
        }
    }

    fn execute(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Put { key, value, ttl_ms } => {
                self.version += 1;
                self.write(key, value, *ttl_ms);
                Outcome::Written { version: self.version }
            }
            Action::Delete { key } => {
                let existed = self.keys.remove(key).is_some();
                self.version += u64::from(existed);
                Outcome::Deleted { existed, version: self.version }
            }
            Action::CompareAndSwap { key, expected, value, ttl_ms } => {
                let found = self.keys.get(key).cloned();
                if found.as_ref().map_or(0, |record| record.version) != *expected {
                    return Outcome::Conflict { current: found };
                }
                self.version += 1;
                self.write(key, value, *ttl_ms);
                Outcome::Swapped { version: self.version }
            }
            Action::Txn(txn) => Outcome::Txn(self.transact(txn)),
        }
    }

    fn transact(&mut self, txn: &Txn) -> TxnOutcome {
        let holds = |Compare { key, condition }: &Compare| match (condition, self.keys.get(key)) {
            (Condition::Version(0) | Condition::Absent, found) => found.is_none(),
            (Condition::Exists, found) => found.is_some(),
            (Condition::Version(version), Some(record)) => record.version == *version,
            (Condition::Value(value), Some(record)) => record.value == *value,
            (Condition::Version(_) | Condition::Value(_), None) => false,
        };
        let succeeded = !txn.compares.iter().any(|compare| !holds(compare));
        self.version += 1;
        let mut results = Vec::new();
        for operation in if succeeded { &txn.then } else { &txn.otherwise } {
            results.push(match operation {
                TxnOperation::Get { key } => TxnResult::Got(self.keys.get(key).cloned()),
                TxnOperation::Put { key, value, ttl_ms } => {
                    self.write(key, value, *ttl_ms);
                    TxnResult::Put
                }
                TxnOperation::Delete { key } => {
                    TxnResult::Deleted { existed: self.keys.remove(key).is_some() }
                }
            });
        }
        TxnOutcome { succeeded, version: self.version, results, values_forgotten: false }
    }

    fn write(&mut self, key: &Bytes, value: &Bytes, ttl_ms: Option<u64>) {
        let expires_ms = ttl_ms.map(|ttl_ms| self.time_ms + ttl_ms);
        let record = Record { value: value.clone(), version: self.version, expires_ms };
        if record.expired(self.time_ms) {
            self.keys.remove(key);
        } else {
            self.keys.insert(key.clone(), record);
        }
    }
}
