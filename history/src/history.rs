//! The record: what was asked, when, and what came of it.
//!
//! An operation may have several attempts. Under one request id they are one operation: it begins with the first attempt
//! and ends with the first answer. It was surely not executed only if every attempt surely was not.

use std::collections::BTreeMap;
use std::fmt;

use crate::operation::{Answer, Call, Client, Done, Moment, Outcome, Seen, Shard, TxnAnswer};
use crate::verdict::Judgement;
use crate::{replay, search};

/// Names an operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(pub(crate) usize);

/// The request id that all attempts of one write carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId {
    /// The client, as it names itself to the fleet.
    pub client: u128,
    /// Which of its writes.
    pub sequence: u64,
}

/// What clients asked a store, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    requests: BTreeMap<RequestId, OperationId>,
}

/// One operation with all its attempts.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: OperationId,
    pub(crate) client: Client,
    pub(crate) shard: Shard,
    pub(crate) call: Call,
    pub(crate) invoked: Moment,
    attempts: usize,
    outcomes: Vec<(Moment, Outcome)>,
}

/// What came of an operation, all its attempts considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// The first answer.
    Done(Moment, &'a Done),
    /// Surely not executed.
    NotExecuted,
    /// Nobody knows. The moment in which the last attempt was given up, if it was.
    Unknown(Option<Moment>),
}

impl History {
    /// Nothing happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client asks.
    pub fn invoke(&mut self, at: Moment, client: Client, shard: Shard, call: Call) -> OperationId {
        let id = OperationId(self.operations.len());
        let outcomes = Vec::new();
        self.operations.push(Operation { id, client, shard, call, invoked: at, attempts: 1, outcomes });
        id
    }

    /// A client asks under a request id. Asked again under the same one, it is another attempt at the same operation.
    ///
    /// # Panics
    /// Something else is asked under the same id.
    pub fn attempt(
        &mut self,
        request: RequestId,
        at: Moment,
        client: Client,
        shard: Shard,
        call: Call,
    ) -> OperationId {
        if let Some(&id) = self.requests.get(&request) {
            let operation = &mut self.operations[id.0];
            assert_eq!(operation.call, call, "{request:?} was used for two different writes");
            operation.attempts += 1;
            return id;
        }
        let id = self.invoke(at, client, shard, call);
        self.requests.insert(request, id);
        id
    }

    /// An attempt has ended. One that never does counts as unknown.
    ///
    /// # Panics
    /// It ended more often than it was made, or before it began, or the answer is one to another question.
    pub fn complete(&mut self, id: OperationId, at: Moment, outcome: Outcome) {
        let operation = &mut self.operations[id.0];
        let more = operation.outcomes.len() < operation.attempts;
        assert!(more, "{operation} ended more often than it was tried");
        assert!(operation.invoked <= at, "{operation} ended at {} before it began", at.0);
        if let Outcome::Done(done) = &outcome {
            assert!(operation.call.fits(&done.answer), "{operation}: {} is no answer to it", done.answer);
        }
        operation.outcomes.push((at, outcome));
    }

    /// How many operations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many were answered, surely not executed, and neither.
    #[must_use]
    pub fn outcomes(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(End<'_>) -> bool| {
            self.operations.iter().filter(|operation| wanted(operation.end())).count()
        };
        let done = count(|end| matches!(end, End::Done(..)));
        (done, count(|end| end == End::NotExecuted), count(|end| matches!(end, End::Unknown(_))))
    }

    /// Asks both judges.
    ///
    /// # Panics
    /// There are more operations per key than the judges can take ([`crate::OPERATIONS_MAX`], [`crate::IN_FLIGHT_MAX`]).
    #[must_use]
    pub fn judge(&self) -> Judgement {
        if let Some(broken) = self.operations.iter().find_map(Operation::two_answers) {
            return Judgement::both(broken);
        }
        Judgement { search: search::judge(self), replay: replay::judge(self) }
    }

    /// Asks both judges what they say of all but the plain reads ([`Call::Get`], [`Call::Scan`]): what a write saw is still held
    /// against all writes. For runs in which reads were allowed to be old.
    ///
    /// # Panics
    /// As [`History::judge`].
    #[must_use]
    pub fn judge_writes(&self) -> Judgement {
        let is_write = |call: &Call| !matches!(call, Call::Get { .. } | Call::Scan { .. });
        let writes = self.operations.iter().filter(|operation| is_write(&operation.call));
        Self { operations: writes.cloned().collect(), requests: BTreeMap::new() }.judge()
    }

    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

impl Operation {
    /// What came of it.
    pub(crate) fn end(&self) -> End<'_> {
        let done = self.outcomes.iter().filter_map(|(at, outcome)| match outcome {
            Outcome::Done(done) => Some((*at, done)),
            _ => None,
        });
        if let Some((at, done)) = done.min_by_key(|(at, _)| *at) {
            return End::Done(at, done);
        }
        let ended = self.outcomes.len() == self.attempts;
        if ended && self.outcomes.iter().all(|(_, outcome)| *outcome == Outcome::NotExecuted) {
            return End::NotExecuted;
        }
        let last = self.outcomes.iter().map(|(at, _)| *at).max();
        End::Unknown(last.filter(|_| ended))
    }

    /// Until when somebody waited for it; nothing: for ever.
    pub(crate) fn waited(&self) -> Option<Moment> {
        match self.end() {
            End::Done(at, _) => Some(at),
            End::NotExecuted => Some(self.invoked),
            End::Unknown(given_up) => given_up,
        }
    }

    /// Two attempts that were answered differently: it was executed twice.
    fn two_answers(&self) -> Option<String> {
        let End::Done(_, first) = self.end() else { return None };
        let differs = |(_, outcome): &(Moment, Outcome)| match outcome {
            Outcome::Done(done) if !agree(&first.answer, &done.answer) => Some(done.answer.to_string()),
            _ => None,
        };
        let other = self.outcomes.iter().find_map(differs)?;
        Some(format!("one request was answered twice, and differently:\n  {self}\n  and then: {other}\n"))
    }
}

/// Whether two answers can be the same one, told with more or less detail.
fn agree(one: &Answer, other: &Answer) -> bool {
    fn either<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_none_or(|(one, other)| one == other)
    }
    let seen = |one: &Option<Seen>, other: &Option<Seen>| match (one, other) {
        (Some(one), Some(other)) => {
            either(one.value.as_ref(), other.value.as_ref())
                && either(one.version.as_ref(), other.version.as_ref())
        }
        (one, other) => one.is_none() == other.is_none(),
    };
    match (one, other) {
        (Answer::Conflict(one), Answer::Conflict(other)) => seen(one, other),
        (Answer::Written(one), Answer::Written(other)) => either(one.as_ref(), other.as_ref()),
        (
            Answer::Deleted { existed: one, version: this },
            Answer::Deleted { existed: other, version: that },
        ) => one == other && either(this.as_ref(), that.as_ref()),
        (
            Answer::Txn { succeeded: one, version: this, results: these },
            Answer::Txn { succeeded: other, version: that, results: those },
        ) => {
            let same = |(one, other): (&TxnAnswer, &TxnAnswer)| match (one, other) {
                (TxnAnswer::Got(one), TxnAnswer::Got(other)) => seen(one, other),
                (one, other) => one == other,
            };
            one == other && either(this.as_ref(), that.as_ref()) && these.iter().zip(those).all(same)
        }
        // Reads carry no request id, and may be answered anew.
        (Answer::Got(_), Answer::Got(_)) | (Answer::Scanned { .. }, Answer::Scanned { .. }) => true,
        _ => false,
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, client, call, invoked, .. } = self;
        write!(out, "#{} client {} [{}..", id.0, client.0, invoked.0)?;
        match self.end() {
            End::Done(at, done) => write!(out, "{}] {call} → {}", at.0, done.answer),
            End::NotExecuted => write!(out, "] {call} → surely not executed"),
            End::Unknown(_) => write!(out, "] {call} → unknown"),
        }
    }
}

impl fmt::Display for History {
    /// One line for each operation.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for operation in &self.operations {
            let Shard(shard) = operation.shard;
            write!(out, "{operation} · shard {shard}")?;
            if let End::Done(_, Done { stamp: Some(stamp), .. }) = operation.end() {
                write!(out, ", term {}", stamp.term)?;
                if let Some(counter) = stamp.counter {
                    write!(out, ", counter {counter}")?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
