//! Between the words of the host and those of the history.

use bytes::Bytes;
use flotilla_history as history;
use flotilla_history::{Answer as Heard, Call, Seen, Stamp, Version};
use flotilla_node::host::{Answer, Served};
use flotilla_store::{
    Action, Compare, Condition, Outcome, Page, Record, Txn, TxnOperation, TxnOutcome, TxnResult,
};

use super::{Ask, Question};

/// The write that a call stands for; nothing if it is a read.
pub fn action(call: &Call) -> Option<Action> {
    Some(match call.clone() {
        Call::Put { key, value } => Action::Put { key, value, ttl_ms: None },
        Call::Delete { key } => Action::Delete { key },
        Call::CompareAndSwap { key, expected, value } => {
            Action::CompareAndSwap { key, expected: expected.0, value, ttl_ms: None }
        }
        Call::Txn(txn) => Action::Txn(Txn {
            compares: txn.compares.into_iter().map(compare).collect(),
            then: txn.then.into_iter().map(step).collect(),
            otherwise: txn.otherwise.into_iter().map(step).collect(),
        }),
        Call::Get { .. } | Call::Scan { .. } => return None,
    })
}

fn compare(compare: history::Compare) -> Compare {
    let condition = match compare.condition {
        history::Condition::Version(version) => Condition::Version(version.0),
        history::Condition::Value(value) => Condition::Value(value),
        history::Condition::Exists(true) => Condition::Exists,
        history::Condition::Exists(false) => Condition::Absent,
    };
    Compare { key: compare.key, condition }
}

fn step(step: history::TxnStep) -> TxnOperation {
    match step {
        history::TxnStep::Get(key) => TxnOperation::Get { key },
        history::TxnStep::Put(key, value) => TxnOperation::Put { key, value, ttl_ms: None },
        history::TxnStep::Delete(key) => TxnOperation::Delete { key },
    }
}

/// What an answer of the host says to the question; nothing if it is a refusal.
pub fn answer(question: &Question, answer: Answer) -> Option<(Served, history::Done)> {
    match answer {
        Answer::Got(served, record) => Some((served, done(served, Heard::Got(record.map(seen)), true))),
        Answer::Page(served, page) => Some((served, done(served, scanned(&question.ask, page), true))),
        Answer::Written(served, outcome) => {
            let (heard, counts) = written(outcome)?;
            Some((served, done(served, heard, counts)))
        }
        _ => None,
    }
}

/// `counts`: the stamp's version is where the shard's counter stood.
fn done(served: Served, answer: Heard, counts: bool) -> history::Done {
    let counter = counts.then_some(Version(served.version));
    history::Done { answer, stamp: Some(Stamp { term: served.term.0, counter }) }
}

fn written(outcome: Outcome) -> Option<(Heard, bool)> {
    Some(match outcome {
        Outcome::Written { version } | Outcome::Swapped { version } => {
            (Heard::Written(Some(Version(version))), false)
        }
        Outcome::Deleted { existed, version } => {
            let version = existed.then_some(Version(version));
            (Heard::Deleted { existed, version }, false)
        }
        Outcome::Conflict { current } => (Heard::Conflict(current.map(seen)), false),
        Outcome::ConflictForgotten { version } => {
            (Heard::Conflict(Some(Seen { value: None, version: Some(Version(version)) })), false)
        }
        Outcome::Txn(txn) => (transacted(txn), false),
        Outcome::SeveralSlots { .. } | Outcome::WrongSlot { .. } | Outcome::Refused(_) => return None,
    })
}

fn transacted(txn: TxnOutcome) -> Heard {
    let forgotten = txn.values_forgotten;
    let wrote = txn
        .results
        .iter()
        .any(|result| matches!(result, TxnResult::Put | TxnResult::Deleted { existed: true }));
    let result = |result| match result {
        TxnResult::Got(record) => history::TxnAnswer::Got(record.map(|record: Record| Seen {
            version: Some(Version(record.version)),
            value: (!forgotten).then_some(record.value),
        })),
        TxnResult::Put => history::TxnAnswer::Put,
        TxnResult::Deleted { existed } => history::TxnAnswer::Deleted(existed),
    };
    Heard::Txn {
        succeeded: txn.succeeded,
        version: wrote.then_some(Version(txn.version)),
        results: txn.results.into_iter().map(result).collect(),
    }
}

/// A page is one moment of the shard, up to where the next one begins.
fn scanned(ask: &Ask, page: Page) -> Heard {
    let (from, to) = match ask {
        Ask::Scan(range, _) => (range.from.clone(), range.to.clone()),
        _ => (Bytes::new(), None),
    };
    let to = page.next.or(to);
    let records = page.records.into_iter().map(|(key, record)| (key, seen(record))).collect();
    Heard::Scanned { from, to, records }
}

fn seen(record: Record) -> Seen {
    Seen { value: Some(record.value), version: Some(Version(record.version)) }
}
