//! A naive shard: no layers, no base, no bounds. What it says is what the machine must say.
#![allow(dead_code)]

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_store::{
    Action, CONFLICT_VALUE_BYTES_MAX, Command, Operation, Outcome, Record, Refusal, RequestId,
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
            return self.again(outcome, action.key());
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

    fn again(&self, outcome: Outcome, key: &Bytes) -> Outcome {
        match &outcome {
            Outcome::Conflict { current: Some(record) } if record.value.len() > CONFLICT_VALUE_BYTES_MAX => {
                match self.keys.get(key) {
                    Some(now) if now.version == record.version => outcome,
                    _ => Outcome::ConflictForgotten { version: record.version },
                }
            }
            _ => outcome,
        }
    }

    fn execute(&mut self, action: &Action) -> Outcome {
        let key = action.key();
        let found = self.keys.get(key).cloned();
        match action {
            Action::Put { value, ttl_ms, .. } => {
                Outcome::Written { version: self.write(key, value, *ttl_ms) }
            }
            Action::Delete { .. } => {
                self.version += u64::from(found.is_some());
                self.keys.remove(key);
                Outcome::Deleted { existed: found.is_some(), version: self.version }
            }
            Action::CompareAndSwap { expected, value, ttl_ms, .. } => {
                if found.as_ref().map_or(0, |record| record.version) != *expected {
                    return Outcome::Conflict { current: found };
                }
                Outcome::Swapped { version: self.write(key, value, *ttl_ms) }
            }
        }
    }

    fn write(&mut self, key: &Bytes, value: &Bytes, ttl_ms: Option<u64>) -> u64 {
        self.version += 1;
        let expires_ms = ttl_ms.map(|ttl_ms| self.time_ms + ttl_ms);
        let record = Record { value: value.clone(), version: self.version, expires_ms };
        if record.expired(self.time_ms) {
            self.keys.remove(key);
        } else {
            self.keys.insert(key.clone(), record);
        }
        self.version
    }
}
