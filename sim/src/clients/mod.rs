//! Clients: what they ask, and the SDK's own dispatch and retry between them and the fleet.
//!
//! ```text
//!   workload ─ call ─► Client ─ flotilla_client::dispatch ─► question ─ network ─► node, or router ─ network ─► node
//!      ▲                 │                                                          │             (dispatch again)
//!      └── history ◄─────┴──────────── said ◄──────────────── network ◄─────────────┘
//! ```
//!
//! Each client does one thing after the other; what it asked and what came of it goes into the history that the judges of
//! `flotilla-history` read. "Not executed" and "unknown" are what the SDK itself says.

mod client;
mod front;
mod router;
mod translate;
mod workload;

use std::time::Duration;

use bytes::Bytes;
use flotilla_client::dispatch::Failure;
use flotilla_node::host::Answer;
use flotilla_proto::v1;
use flotilla_store::{Action, Limits, ScanRange};
use flotilla_topology::{NodeId, Route, ShardId, Slot};

pub use client::{Client, Deed};
pub use front::{said, shard_of};
pub use router::{Errand, Router, RouterId};
pub use workload::{Final, Habits, Workload};

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Who waits for the answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// A client.
    Client(ClientId),
    /// A router, for one of its clients.
    Router(RouterId),
}

/// One attempt at an operation, on its way to a node or to a router.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks.
    pub asker: Asker,
    /// Which of its attempts this is.
    pub attempt: u64,
    /// What it is about.
    pub slot: Slot,
    /// The name of the write, if it is one.
    pub request: Option<v1::RequestId>,
    /// How long who asks will wait.
    pub within: Duration,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked of a node.
#[derive(Clone, Debug)]
pub enum Ask {
    /// To write.
    Write(Action),
    /// To read a key.
    Get(Bytes),
    /// To read a key from whichever replica.
    Stale(Bytes),
    /// To read one page of the shard that owns the slot.
    Scan(ScanRange, Limits),
}

/// What a client hears.
#[derive(Clone, Debug)]
pub enum Said {
    /// The answer of a leader, or of any replica to a stale read.
    Answer(Box<HeardAnswer>),
    /// Who leads instead.
    Redirect(Route),
    /// Nothing was done, or nobody knows.
    Failed(Failure),
}

/// An answer, in a form that may arrive twice.
#[derive(Clone, Debug)]
pub struct HeardAnswer {
    /// The shard that answered.
    pub shard: ShardId,
    /// The node that answered.
    pub node: NodeId,
    /// The term of its replica.
    pub term: u64,
    /// The shard time, in milliseconds.
    pub time_ms: u64,
    /// What it said.
    pub done: flotilla_history::Done,
}

impl HeardAnswer {
    /// What a node answered, as clients see it; nothing where it is no answer to a client's question.
    fn of(node: NodeId, question: &Question, answer: Answer) -> Option<Self> {
        let (served, done) = translate::answer(question, answer)?;
        Some(Self { shard: served.shard, node, term: served.term.0, time_ms: served.time_ms, done })
    }
}
