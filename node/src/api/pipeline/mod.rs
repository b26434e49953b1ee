//! `Pipeline`: thousands of operations under way on one stream.
//!
//! ```text
//!   message ─► parse each ─► gathered by worker ─► one offer per inbox ─► one turn: one log entry per shard
//!                 │ malformed, twice the same id: a failure of its own          │
//!                 ▼                                                             ▼
//!   message ◄─ everything that is there ◄───────────────────────────────────── lane
//!                 ▲                                                             │ another node leads, PROXY:
//!                 └──────────────────────── forwards ◄──────────────────────────┘ the way of unary calls
//! ```
//!
//! The stream of results does everything, in the one task in which it is polled: it reads a message when there is room,
//! offers it, and hands out whatever answers have come. Nothing waits for more of its kind; batches grow by themselves
//! when there is more to do. A client that does not read its results stops being polled, so it stops being read; then
//! HTTP/2 holds it back.
//!
//! What it does not do: it keeps no order. The operations of one stream are as independent as unary calls are.

mod forwards;
mod operation;
mod table;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use flotilla_proto::limits::PIPELINE_OPERATIONS_MAX;
use flotilla_proto::status;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_proto::v1::{
    PipelineFailure, PipelineOperation, PipelineRequest, PipelineResponse, PipelineResult, RouteMode,
};
use flotilla_topology::{ClusterMap, Slot};
use futures_util::Stream;
use prost::Message;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use self::forwards::{Forward, Forwards};
use self::operation::Parsed;
pub use self::operation::examine;
use self::table::{Table, Unanswered};
use super::front::Front;
use super::refusals;
use crate::host::Answer;
use crate::metrics::Outcome as Counted;
use crate::runtime::{Asker, Gathered, Question, value_bytes};

/// No further message is read while more operations than this are unanswered …
const UNANSWERED_MAX: usize = 4 * PIPELINE_OPERATIONS_MAX;
/// … or while their keys and values take more than this.
const UNANSWERED_BYTES_MAX: usize = 16 << 20;
/// A response is not filled beyond this, unless one result alone is larger.
const RESPONSE_BYTES: usize = 1 << 20;
/// What a result takes in a response beside its value, about.
const RESULT_BYTES: usize = 64;

/// The results of a pipeline.
pub type Results = Pin<Box<dyn Stream<Item = Result<PipelineResponse, Status>> + Send>>;

/// Serves a pipeline.
pub(super) fn pipeline(front: &Arc<Front>, requests: Streaming<PipelineRequest>) -> Results {
    Box::pin(Pipeline {
        lane: front.runtime.open_lane(),
        gathered: front.runtime.gather(),
        ending: Some(Box::pin(front.ending())),
        front: Arc::clone(front),
        requests: Some(requests),
        last: None,
        table: Table::default(),
        forwards: Forwards::default(),
        forwarded: false,
        answers: Vec::new(),
        results: Vec::new(),
    })
}

struct Pipeline {
    front: Arc<Front>,
    /// `None`: there will be no more.
    requests: Option<Streaming<PipelineRequest>>,
    /// How the stream ends once everything is answered, if not well.
    last: Option<Status>,
    /// `None`: the node is shutting down.
    ending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    lane: Asker,
    table: Table,
    gathered: Gathered,
    forwards: Forwards,
    /// Something was forwarded since we last looked.
    forwarded: bool,
    /// Answers that are not in a response yet; the last is the next.
    answers: Vec<(Question, Answer)>,
    /// Results that are not in a response yet.
    results: Vec<(usize, PipelineResult)>,
}

impl Stream for Pipeline {
    type Item = Result<PipelineResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.hear_of_the_end(context);
            let heard = self.read(context);
            self.collect(context);
            if let Some(response) = self.response() {
                return Poll::Ready(Some(Ok(response)));
            }
            // What was forwarded just now has not been looked at: nothing would wake us.
            if heard || std::mem::take(&mut self.forwarded) {
                continue;
            }
            let over = self.requests.is_none() || self.ending.is_none();
            if over && self.table.len() == 0 {
                // Everything that was read is answered, so whatever is not answered was not read.
                let ending = self.ending.is_none().then(|| refusals::ending(None));
                let last = self.last.take().or(self.requests.take().and(ending));
                return Poll::Ready(last.map(Err));
            }
            return Poll::Pending;
        }
    }
}

impl Pipeline {
    fn hear_of_the_end(&mut self, context: &mut Context<'_>) {
        if self.ending.as_mut().is_some_and(|ending| ending.as_mut().poll(context).is_ready()) {
            self.ending = None;
        }
    }

    /// Reads one message, if there is room for it. Whether it did.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        if self.table.len() > UNANSWERED_MAX || self.table.bytes() > UNANSWERED_BYTES_MAX {
            return false;
        }
        let Some(requests) = &mut self.requests else { return false };
        match Pin::new(requests).poll_next(context) {
            Poll::Pending => return false,
            Poll::Ready(Some(Ok(message))) => self.submit(message),
            Poll::Ready(Some(Err(failure))) => {
                // Also a message with too many operations: the codec counts them before it makes any.
                self.last = Some(status::of_unread(failure));
                self.requests = None;
            }
            Poll::Ready(None) => self.requests = None,
        }
        true
    }

    /// Hands the operations of one message to their workers.
    fn submit(&mut self, message: PipelineRequest) {
        let map = match self.front.map() {
            Ok(map) => map,
            Err(refusal) => {
                let refused = message.operations.iter().map(|operation| failure(operation.id, &refusal));
                self.results.extend(refused.map(|result| (RESULT_BYTES, result)));
                return;
            }
        };
        let (now, mut asked) = (Instant::now(), 0);
        for operation in message.operations {
            let id = operation.id;
            match self.admit(&map, now, operation) {
                Ok(here) => asked += usize::from(here),
                Err(refusal) => self.results.push((RESULT_BYTES, failure(id, &refusal))),
            }
        }
        self.lane.asks(asked);
        self.front.runtime.ask_all(&mut self.gathered);
    }

    /// Takes one operation in, for the worker of its shard here, or else for another node. Whether it is for us.
    fn admit(
        &mut self,
        map: &ClusterMap,
        now: Instant,
        operation: PipelineOperation,
    ) -> Result<bool, Status> {
        let PipelineOperation { id, timeout_ms, operation } = operation;
        let parsed = Parsed::parse(&self.front, operation)?;
        let slot = Slot::of(parsed.key());
        let (shard, bytes) = (map.shard_of(slot), parsed.bytes());
        let proxy = parsed.route_mode() == RouteMode::Proxy;
        let elsewhere = proxy.then(|| parsed.led_elsewhere(&self.front, shard)).flatten();
        let deadline = (timeout_ms > 0).then(|| now + Duration::from_millis(timeout_ms.into()));
        let question = self.table.enter(Unanswered {
            id,
            kind: parsed.kind(),
            slot,
            shard,
            bytes,
            deadline,
            kept: (proxy && elsewhere.is_none()).then(|| parsed.clone()),
        })?;
        if let Some(leader) = elsewhere {
            let forward = Forward { question, operation: parsed, shard, leader, deadline };
            self.forwards.push(&self.front, forward);
            self.forwarded = true;
            return Ok(false);
        }
        let token = self.lane.token(question);
        self.gathered.add(shard, token, bytes, parsed.input(shard, token));
        Ok(true)
    }

    /// Collects what has been answered meanwhile.
    fn collect(&mut self, context: &mut Context<'_>) {
        if self.answers.is_empty() {
            match self.lane.poll_answers(context, &mut self.answers) {
                // In the order in which they came, though nobody may rely on it: none waits longer than it must.
                Poll::Ready(Ok(())) => self.answers.reverse(),
                Poll::Ready(Err(_)) => {
                    self.forwards = Forwards::default();
                    let lost = self.table.leave_all();
                    let front = &self.front;
                    let told = lost.map(|lost| {
                        front.ops().of(lost.shard).count(lost.kind.op(), Counted::Unknown);
                        failure(lost.id, &refusals::ended(lost.shard))
                    });
                    self.results.extend(told.map(|result| (RESULT_BYTES, result)));
                }
                Poll::Pending => {}
            }
        }
        while let Poll::Ready((question, outcome)) = self.forwards.poll_next(&self.front, context) {
            self.answered(question, outcome);
        }
    }

    fn answered(&mut self, question: Question, outcome: Result<Outcome, Status>) {
        if let Some(operation) = self.table.leave(question) {
            let result = told(operation.id, outcome);
            self.results.push((result.encoded_len(), result));
        }
    }

    /// Everything that is there, as far as it fits one response. `None`: nothing is.
    fn response(&mut self) -> Option<PipelineResponse> {
        let (mut results, mut filled) = (Vec::new(), 0);
        while results.len() < PIPELINE_OPERATIONS_MAX
            && let Some(bytes) = self.next_bytes()
            && (results.is_empty() || filled + bytes <= RESPONSE_BYTES)
        {
            filled += bytes;
            results.extend(self.next_result());
        }
        (!results.is_empty()).then_some(PipelineResponse { results })
    }

    /// About how many bytes the next result takes.
    fn next_bytes(&self) -> Option<usize> {
        let ready = self.results.last().map(|(bytes, _)| *bytes);
        ready.or_else(|| self.answers.last().map(|(_, answer)| RESULT_BYTES + value_bytes(answer)))
    }

    /// The next result; `None`: it is none, but goes to another node.
    fn next_result(&mut self) -> Option<PipelineResult> {
        if let Some((_, result)) = self.results.pop() {
            return Some(result);
        }
        let (question, answer) = self.answers.pop()?;
        let operation = self.table.get_mut(question)?;
        let (kind, shard, slot) = (operation.kind, operation.shard, operation.slot);
        let outcome = match kind.answered(&self.front, shard, answer) {
            Ok(Ok(outcome)) => Ok(outcome),
            Err(refusal) => Err(refusal),
            Ok(Err(leader)) => match operation.kept.take() {
                Some(kept) => {
                    let deadline = operation.deadline;
                    let forward = Forward { question, operation: kept, shard, leader, deadline };
                    self.forwards.push(&self.front, forward);
                    self.forwarded = true;
                    return None;
                }
                None => {
                    self.front.counters(shard, leader).count(kind.op(), Counted::Redirected);
                    let map = self.front.newest_map();
                    let redirect = |map| self.front.redirect(map, Some(slot), shard, leader);
                    map.as_deref().map(redirect).map(|it| kind.elsewhere(it)).ok_or_else(refusals::no_map)
                }
            },
        };
        self.table.leave(question).map(|operation| told(operation.id, outcome))
    }
}

fn told(id: u64, outcome: Result<Outcome, Status>) -> PipelineResult {
    match outcome {
        Ok(outcome) => PipelineResult { id, outcome: Some(outcome) },
        Err(refusal) => failure(id, &refusal),
    }
}

/// What a unary call would have said by its status.
fn failure(id: u64, refusal: &Status) -> PipelineResult {
    let failure = PipelineFailure {
        code: refusal.code().into(),
        message: refusal.message().to_owned(),
        detail: status::detail(refusal),
    };
    PipelineResult { id, outcome: Some(Outcome::Failure(failure)) }
}

const _: () = assert!(UNANSWERED_MAX + PIPELINE_OPERATIONS_MAX < 1 << crate::runtime::QUESTION_BITS);
