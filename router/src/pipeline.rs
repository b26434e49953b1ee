//! `Pipeline`: many operations over one stream, each forwarded by itself.
//!
//! ```text
//!   batches in ──▶ operations under way (bounded in number and bytes) ──▶ what is ready together ──▶ batches out
//! ```
//!
//! One task per stream. While it is full, or its results are not taken, it does not read: the sender waits in its own
//! HTTP/2 window. What does not fit into the whole router is refused at once, surely not executed.
//!
//! When the router ends, or a message is refused unread, nothing more is read, operations under way are answered, then the
//! stream ends with a definite status, which holds for all that was not answered. When nobody takes the results any more,
//! what was under way is dropped: it may still be executed, and there is nobody to tell.

use std::pin::pin;
use std::time::Duration;

use flotilla_proto::limits::PIPELINE_OPERATIONS_MAX;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_proto::{status, v1};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::door::{Door, sooner};
use crate::fleet::Fleet;
use crate::metrics::Op;
use crate::room::cost;
use crate::verbs::{self, Told};

/// How many operations of one stream may be under way before the next batch is read.
const OPERATIONS_MAX: usize = 2 * PIPELINE_OPERATIONS_MAX;
/// A batch of results is sent when it has so many bytes, even if more are ready.
const BATCH_BYTES: usize = 256 << 10;
/// How many batches may wait to be sent.
const BATCHES_WAITING_MAX: usize = 4;

/// What goes back to the one who asked.
pub(crate) type Results = ReceiverStream<Result<v1::PipelineResponse, Status>>;

/// Serves a stream until its sender or the router ends it.
pub(crate) fn serve(fleet: Fleet, incoming: Streaming<v1::PipelineRequest>) -> Results {
    let (results, taken) = mpsc::channel(BATCHES_WAITING_MAX);
    tokio::spawn(async move {
        if let Err(failure) = run(&fleet, incoming, &results).await {
            // Nobody listens where the connection broke.
            drop(results.send(Err(failure)).await);
        }
    });
    ReceiverStream::new(taken)
}

/// An operation that was answered.
struct Landed {
    result: v1::PipelineResult,
    bytes: usize,
}

async fn run(
    fleet: &Fleet,
    mut incoming: Streaming<v1::PipelineRequest>,
    results: &mpsc::Sender<Result<v1::PipelineResponse, Status>>,
) -> Result<(), Status> {
    let mut flights = FuturesUnordered::new();
    let (mut bytes, mut open) = (0, true);
    // How the stream ends once everything that was read is answered.
    let mut last = Ok(());
    let mut ending = pin!(fleet.ending());
    loop {
        let room = flights.len() < OPERATIONS_MAX && bytes < fleet.stream_bytes_max();
        let over = !open && flights.is_empty();
        tokio::select! {
            message = incoming.message(), if open && room => match message {
                Ok(None) => open = false,
                Ok(Some(message)) => {
                    for operation in message.operations {
                        let cost = cost(operation.encoded_len());
                        bytes += cost;
                        flights.push(fly(fleet, operation, cost));
                    }
                }
                // A definite end speaks of all that has no answer, so what was read is answered first.
                Err(failure) => (open, last) = (false, Err(status::of_unread(failure))),
            },
            Some(landed) = flights.next() => {
                let mut batch = Batch::default();
                bytes -= batch.add(landed);
                while batch.bytes < BATCH_BYTES && let Some(Some(landed)) = flights.next().now_or_never() {
                    bytes -= batch.add(landed);
                }
                let response = v1::PipelineResponse { results: batch.results };
                if results.send(Ok(response)).await.is_err() {
                    return Ok(());
                }
            },
            // The connection broke, or its client is gone.
            () = results.closed(), if !over => return Ok(()),
            () = &mut ending, if open => {
                (open, last) = (false, Err(status::unavailable(None, 0, "this router is shutting down")));
            },
            else => return last,
        }
    }
}

/// What is ready together.
#[derive(Default)]
struct Batch {
    results: Vec<v1::PipelineResult>,
    bytes: usize,
}

impl Batch {
    /// Returns how many bytes are no longer under way.
    fn add(&mut self, landed: Landed) -> usize {
        self.bytes += landed.result.encoded_len();
        self.results.push(landed.result);
        landed.bytes
    }
}

/// One operation, from its arrival to its answer.
async fn fly(fleet: &Fleet, operation: v1::PipelineOperation, bytes: usize) -> Landed {
    let id = operation.id;
    let outcome = forward(fleet, operation).await.unwrap_or_else(|failure| {
        Outcome::Failure(v1::PipelineFailure {
            code: failure.code() as i32,
            message: failure.message().to_owned(),
            detail: status::detail(&failure),
        })
    });
    Landed { result: v1::PipelineResult { id, outcome: Some(outcome) }, bytes }
}

async fn forward(fleet: &Fleet, operation: v1::PipelineOperation) -> Result<Outcome, Status> {
    let asked = (operation.timeout_ms > 0).then(|| Duration::from_millis(operation.timeout_ms.into()));
    let within = asked.map(sooner);
    match operation.operation {
        Some(Operation::Get(it)) => pass(fleet, Op::Get, within, it, verbs::get).await.map(Outcome::Get),
        Some(Operation::Put(it)) => pass(fleet, Op::Put, within, it, verbs::put).await.map(Outcome::Put),
        Some(Operation::Delete(it)) => {
            pass(fleet, Op::Delete, within, it, verbs::delete).await.map(Outcome::Delete)
        }
        Some(Operation::CompareAndSwap(it)) => {
            pass(fleet, Op::Cas, within, it, verbs::compare_and_swap).await.map(Outcome::CompareAndSwap)
        }
        Some(Operation::Txn(it)) => pass(fleet, Op::Txn, within, it, verbs::txn).await.map(Outcome::Txn),
        None => Err(status::invalid("operation", "it is none that this version knows")),
    }
}

/// Opens the door, asks, counts.
pub(crate) async fn pass<M, R, F>(
    fleet: &Fleet,
    op: Op,
    within: Option<Duration>,
    message: M,
    verb: impl FnOnce(Door, M) -> F,
) -> Result<R, Status>
where
    M: Message,
    R: Told,
    F: Future<Output = Result<R, Status>>,
{
    let count = fleet.counting(op);
    let answered = match Door::open(fleet, within, message.encoded_len()) {
        Ok(door) => verb(door, message).await,
        Err(refused) => Err(refused),
    };
    count.answered(&answered.as_ref().map_or_else(|failure| failure.into(), Told::told));
    answered
}
