//! What clients ask, and what comes of it.

use std::fmt;

use bytes::Bytes;

/// A moment, in whatever unit the recorder counts. Operations that end and begin at the same moment overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// Who asked. Only for people who read a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(pub u64);

/// The shard that owns the keys of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard(pub u64);

/// A step of a shard's counter; 0: no such key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Read a key.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Write a key.
    Put {
        /// The key.
        key: Bytes,
        /// Best one that no other write has.
        value: Bytes,
    },
    /// Delete a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Write a key if it has a version.
    CompareAndSwap {
        /// The key.
        key: Bytes,
        /// The version that it must have; 0: it must not exist.
        expected: Version,
        /// Best one that no other write has.
        value: Bytes,
    },
    /// Compare, then execute one of two lists.
    Txn(Txn),
    /// Read one page of a range of one shard.
    Scan {
        /// The first key, inclusive.
        from: Bytes,
        /// The end, exclusive; nothing: no end.
        to: Option<Bytes>,
    },
}

/// A transaction of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold, else `otherwise` is executed.
    pub compares: Vec<Compare>,
    /// Executed in this order when they hold.
    pub then: Vec<TxnStep>,
    /// Executed when they do not.
    pub otherwise: Vec<TxnStep>,
}

/// What a key must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// The condition.
    pub condition: Condition,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has this version; 0: it does not exist.
    Version(Version),
    /// It exists and holds this.
    Value(Bytes),
    /// It exists, or does not.
    Exists(bool),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnStep {
    /// Read a key.
    Get(Bytes),
    /// Write a key.
    Put(Bytes, Bytes),
    /// Delete a key.
    Delete(Bytes),
}

/// What came of an operation, or of one attempt at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed, and answered.
    Done(Done),
    /// It was surely not executed and never will be.
    NotExecuted,
    /// Nobody knows: it may take effect at any moment from its invocation on, or never.
    Unknown,
}

/// An answer, and where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The answer.
    pub answer: Answer,
    /// The stamp, where the caller saw it.
    pub stamp: Option<Stamp>,
}

/// Where an answer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The term of the leader that answered.
    pub term: u64,
    /// The shard's counter in the state that was read, where the answer tells: of reads, and of deletes of nothing.
    pub counter: Option<Version>,
}

/// An answer. Versions are absent where the caller did not see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of a get: what is there.
    Got(Option<Seen>),
    /// Of a put, and of a comparison that held: the version that it made.
    Written(Option<Version>),
    /// Of a comparison that failed: what is there.
    Conflict(Option<Seen>),
    /// Of a delete.
    Deleted {
        /// Whether there was something.
        existed: bool,
        /// The version that the delete made; nothing where nothing was deleted.
        version: Option<Version>,
    },
    /// Of a transaction.
    Txn {
        /// Whether the compares held.
        succeeded: bool,
        /// The version that all its writes made.
        version: Option<Version>,
        /// One for each step that was executed.
        results: Vec<TxnAnswer>,
    },
    /// Of a scan: all that is there in a range, at one moment.
    Scanned {
        /// The first key that the answer speaks for.
        from: Bytes,
        /// The end of what it speaks for, exclusive; nothing: no end.
        to: Option<Bytes>,
        /// What is there.
        records: Vec<(Bytes, Seen)>,
    },
}

/// The answer to one step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnAnswer {
    /// What is there.
    Got(Option<Seen>),
    /// It was written.
    Put,
    /// Whether there was something.
    Deleted(bool),
}

/// What a reader saw of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The value; nothing: the answer did not repeat it.
    pub value: Option<Bytes>,
    /// The version; nothing: the caller did not see it.
    pub version: Option<Version>,
}

impl Seen {
    /// This value under this version.
    #[must_use]
    pub fn of(value: impl Into<Bytes>, version: u64) -> Self {
        Self { value: Some(value.into()), version: Some(Version(version)) }
    }
}

impl Done {
    /// An answer without a stamp.
    #[must_use]
    pub const fn of(answer: Answer) -> Self {
        Self { answer, stamp: None }
    }
}

impl Call {
    /// The keys that it names; a scan names none.
    pub(crate) fn keys(&self) -> Vec<&Bytes> {
        match self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Delete { key }
            | Self::CompareAndSwap { key, .. } => vec![key],
            Self::Txn(txn) => {
                let steps = txn.then.iter().chain(&txn.otherwise).map(TxnStep::key);
                txn.compares.iter().map(|compare| &compare.key).chain(steps).collect()
            }
            Self::Scan { .. } => Vec::new(),
        }
    }

    /// Whether it may change something.
    pub(crate) const fn writes(&self) -> bool {
        !matches!(self, Self::Get { .. } | Self::Scan { .. })
    }

    /// Whether an answer is one to this call.
    pub(crate) fn fits(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Get { .. }, Answer::Got(_))
            | (Self::Put { .. }, Answer::Written(_))
            | (Self::CompareAndSwap { .. }, Answer::Written(_) | Answer::Conflict(_))
            | (Self::Delete { .. }, Answer::Deleted { .. })
            | (Self::Scan { .. }, Answer::Scanned { .. }) => true,
            (Self::Txn(txn), Answer::Txn { succeeded, results, .. }) => {
                let steps = txn.steps(*succeeded);
                let fit = |(step, result): (&TxnStep, &TxnAnswer)| step.fits(result);
                steps.len() == results.len() && steps.iter().zip(results).all(fit)
            }
            _ => false,
        }
    }
}

impl Txn {
    /// The list that is executed.
    pub(crate) fn steps(&self, succeeded: bool) -> &[TxnStep] {
        if succeeded { &self.then } else { &self.otherwise }
    }
}

impl TxnStep {
    /// The key.
    pub(crate) const fn key(&self) -> &Bytes {
        match self {
            Self::Get(key) | Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    const fn fits(&self, answer: &TxnAnswer) -> bool {
        matches!(
            (self, answer),
            (Self::Get(_), TxnAnswer::Got(_))
                | (Self::Put(..), TxnAnswer::Put)
                | (Self::Delete(_), TxnAnswer::Deleted(_))
        )
    }
}

/// Bytes as people write them.
pub(crate) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "v{}", self.0)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get { key } => write!(out, "get {}", text(key)),
            Self::Put { key, value } => write!(out, "put {}={}", text(key), text(value)),
            Self::Delete { key } => write!(out, "delete {}", text(key)),
            Self::CompareAndSwap { key, expected, value } => {
                write!(out, "cas {}@{expected}={}", text(key), text(value))
            }
            Self::Txn(txn) => write!(out, "{txn}"),
            Self::Scan { from, to } => {
                write!(out, "scan {}..{}", text(from), to.as_ref().map(text).unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for Txn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |steps: &[TxnStep]| steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let compares: Vec<String> = self.compares.iter().map(ToString::to_string).collect();
        write!(out, "txn")?;
        if !compares.is_empty() {
            write!(out, " if {}", compares.join(", "))?;
        }
        write!(out, " [{}]", list(&self.then))?;
        if self.otherwise.is_empty() { Ok(()) } else { write!(out, " else [{}]", list(&self.otherwise)) }
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = text(&self.key);
        match &self.condition {
            Condition::Version(version) => write!(out, "{key}@{version}"),
            Condition::Value(value) => write!(out, "{key}={}", text(value)),
            Condition::Exists(true) => write!(out, "{key} exists"),
            Condition::Exists(false) => write!(out, "{key} is absent"),
        }
    }
}

impl fmt::Display for TxnStep {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(key) => write!(out, "get {}", text(key)),
            Self::Put(key, value) => write!(out, "put {}={}", text(key), text(value)),
            Self::Delete(key) => write!(out, "delete {}", text(key)),
        }
    }
}

/// What is there, as people write it.
pub(crate) fn seen(seen: Option<&Seen>) -> String {
    let Some(Seen { value, version }) = seen else { return "nothing".to_owned() };
    let value = value.as_ref().map_or("something".to_owned(), text);
    version.map_or(value.clone(), |version| format!("{value} ({version})"))
}

fn version(version: Option<Version>) -> String {
    version.map_or(String::new(), |version| format!(" ({version})"))
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Got(found) => write!(out, "{}", seen(found.as_ref())),
            Self::Written(made) => write!(out, "done{}", version(*made)),
            Self::Conflict(found) => write!(out, "conflict: {}", seen(found.as_ref())),
            Self::Deleted { existed: true, version: made } => write!(out, "deleted{}", version(*made)),
            Self::Deleted { existed: false, .. } => write!(out, "nothing to delete"),
            Self::Txn { succeeded, version: made, results } => {
                let results: Vec<String> = results.iter().map(ToString::to_string).collect();
                let branch = if *succeeded { "held" } else { "did not hold" };
                write!(out, "{branch}{} [{}]", version(*made), results.join(", "))
            }
            Self::Scanned { from, to, records } => {
                let record = |(key, found): &(Bytes, Seen)| format!("{}={}", text(key), seen(Some(found)));
                let records: Vec<String> = records.iter().map(record).collect();
                let to = to.as_ref().map(text).unwrap_or_default();
                write!(out, "{}..{to}: [{}]", text(from), records.join(", "))
            }
        }
    }
}

impl fmt::Display for TxnAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Got(found) => write!(out, "{}", seen(found.as_ref())),
            Self::Put => write!(out, "done"),
            Self::Deleted(true) => write!(out, "deleted"),
            Self::Deleted(false) => write!(out, "nothing to delete"),
        }
    }
}
