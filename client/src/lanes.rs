//! The lanes: to each address a stream of batches, over the connection to it.
//!
//! ```text
//!  put ─┐                             ┌─ Batches (a Stream: drains what has gathered) ──▶ Kv.Pipeline ──▶ node
//!  put ─┼─ join ─▶ Lane (dispatch) ───┤
//!  get ─┘                             └─ one task: results ──▶ who waits for each ◀────── Kv.Pipeline ◀── node
//! ```
//!
//! A lane is made when an operation first needs it, and anew after it broke. Operations join at once; they leave when the other
//! side has answered with its headers. So a server that refuses the stream, or does not know `Pipeline` at all, has surely executed
//! nothing; operations for such a server go by themselves.
//!
//! To each address there are two lanes: what is large takes its own, so that what is small need not wait behind it.
//!
//! What it does not do: decide. What leaves when, and what a break means, is [`Lane`]'s.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dashmap::DashMap;
use flotilla_proto::v1;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::{Code, Status};

use crate::call::kv_within;
use crate::connections::Connections;
use crate::dispatch::{Failure, Lane, Whereabouts};

/// From so many bytes on, keys and values, an operation is large.
const LARGE_BYTES: usize = 32 * 1024;

/// What came of an operation on a lane.
#[derive(Debug)]
pub(crate) enum Arrival {
    Answered(Outcome),
    Failed(Failure),
    /// The server has no pipeline: the operation did not leave and must go by itself.
    NoPipeline,
}

/// All lanes of a client.
#[derive(Debug)]
pub(crate) struct Lanes {
    connections: Arc<Connections>,
    /// How long the other side may take to agree.
    patience: Duration,
    message_bytes_max: usize,
    small: DashMap<Arc<str>, Berth>,
    large: DashMap<Arc<str>, Berth>,
}

/// A lane and the task that drives it, which ends when this goes away.
#[derive(Debug)]
struct Berth {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lanes {
    pub(crate) fn new(connections: Arc<Connections>, patience: Duration, message_bytes_max: usize) -> Self {
        Self { connections, patience, message_bytes_max, small: DashMap::new(), large: DashMap::new() }
    }

    /// Puts an operation on the lane to this address; the other side is told how long we wait, if we know. Whoever drops the
    /// passage gives the operation up.
    pub(crate) fn join(
        &self,
        address: &str,
        operation: Operation,
        bytes: usize,
        patience: Option<Duration>,
    ) -> Result<Passage, Arrival> {
        // 0 means that we do not say.
        let timeout_ms =
            patience.map_or(0, |patience| u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).max(1));
        let operation = v1::PipelineOperation { id: 0, timeout_ms, operation: Some(operation) };
        let (waiter, arrival) = oneshot::channel();
        let shared = self.shared(address, bytes >= LARGE_BYTES);
        let (id, waker) = {
            let mut hold = shared.hold();
            if hold.no_pipeline {
                return Err(Arrival::NoPipeline);
            }
            (hold.lane.join(operation, bytes, waiter), hold.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        match id {
            Some(id) => Ok(Passage { shared, id, arrival }),
            None => {
                Err(Arrival::Failed(Failure::not_sent(format!("{address}: the connection has just broken"))))
            }
        }
    }

    /// The connection to this address broke: should its server have had no pipeline, the next one may.
    pub(crate) fn ask_again(&self, address: &str) {
        for lanes in [&self.small, &self.large] {
            lanes.remove_if(address, |_, berth| berth.shared.hold().no_pipeline);
        }
    }

    /// The lane to this address, made now if there is none that works.
    fn shared(&self, address: &str, large: bool) -> Arc<Shared> {
        let lanes = if large { &self.large } else { &self.small };
        if let Some(berth) = lanes.get(address)
            && !berth.shared.ended.load(Ordering::Acquire)
        {
            return Arc::clone(&berth.shared);
        }
        // Others may have come here too: the entry is locked, so one of us makes the lane.
        let address = Arc::<str>::from(address);
        let mut berth = lanes.entry(Arc::clone(&address)).or_insert_with(|| self.berth(&address));
        if berth.shared.ended.load(Ordering::Acquire) {
            *berth = self.berth(&address);
        }
        Arc::clone(&berth.shared)
    }

    fn berth(&self, address: &Arc<str>) -> Berth {
        let shared = Arc::new(Shared::default());
        let drive = Drive {
            shared: Arc::clone(&shared),
            connections: Arc::clone(&self.connections),
            address: Arc::clone(address),
            patience: self.patience,
            message_bytes_max: self.message_bytes_max,
        };
        let task = tokio::spawn(async move { drive.run().await }).abort_handle();
        Berth { shared, task }
    }
}

/// What those who join a lane and those who drive it share.
#[derive(Debug, Default)]
struct Shared {
    hold: Mutex<Hold>,
    /// The lane is broken and its server had a pipeline: another lane is to be made.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Hold {
    lane: Lane<v1::PipelineOperation, oneshot::Sender<Arrival>>,
    /// Who sends, while nothing waits.
    waker: Option<Waker>,
    no_pipeline: bool,
}

impl Shared {
    fn hold(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let waker = self.hold().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn arrived(&self, results: Vec<v1::PipelineResult>) {
        let mut arrivals = Vec::with_capacity(results.len());
        let mut hold = self.hold();
        for result in results {
            arrivals.extend(hold.lane.answered(result.id).map(|waiter| (waiter, result.outcome)));
        }
        drop(hold);
        for (waiter, outcome) in arrivals {
            let arrival = match outcome {
                Some(Outcome::Failure(failure)) => Arrival::Failed(Failure::from_pipeline(failure)),
                Some(outcome) => Arrival::Answered(outcome),
                None => Arrival::Failed(Failure::lost("empty answer")),
            };
            // Whoever waited may have given up meanwhile.
            let _ = waiter.send(arrival);
        }
    }

    /// The lane is broken for ever: all that is on it fails now.
    fn break_off(&self, how: &Failure, no_pipeline: bool) {
        let under_way = {
            let mut hold = self.hold();
            hold.no_pipeline |= no_pipeline;
            self.ended.store(!hold.no_pipeline, Ordering::Release);
            hold.lane.break_off()
        };
        for (waiter, whereabouts) in under_way {
            let arrival = match whereabouts {
                Whereabouts::Waiting if no_pipeline => Arrival::NoPipeline,
                whereabouts => Arrival::Failed(how.befell(whereabouts)),
            };
            // Whoever waited may have given up meanwhile.
            let _ = waiter.send(arrival);
        }
        self.wake();
    }
}

/// An operation on a lane.
#[derive(Debug)]
pub(crate) struct Passage {
    shared: Arc<Shared>,
    id: u64,
    arrival: oneshot::Receiver<Arrival>,
}

impl Passage {
    /// Waits for what comes of it, at most so long.
    pub(crate) async fn arrival(mut self, patience: Option<Duration>, to: &str) -> Arrival {
        let arrived = match patience {
            None => (&mut self.arrival).await,
            Some(patience) => match timeout(patience, &mut self.arrival).await {
                Ok(arrived) => arrived,
                Err(_) => return self.late(patience, to),
            },
        };
        arrived.unwrap_or_else(|_| Arrival::Failed(Failure::lost(format!("{to}: the lane has ended"))))
    }

    fn late(&mut self, patience: Duration, to: &str) -> Arrival {
        let whereabouts = self.shared.hold().lane.give_up(self.id);
        let within = patience.as_millis();
        match whereabouts {
            Whereabouts::Waiting => {
                Arrival::Failed(Failure::not_sent(format!("{to}: could not be sent within {within} ms")))
            }
            Whereabouts::Left => {
                Arrival::Failed(Failure::lost(format!("{to}: no answer within {within} ms")))
            }
            // The answer came in this very moment.
            Whereabouts::Gone => self.arrival.try_recv().unwrap_or_else(|_| {
                Arrival::Failed(Failure::lost(format!("{to}: no answer within {within} ms")))
            }),
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if !self.arrival.is_terminated() {
            self.shared.hold().lane.give_up(self.id);
        }
    }
}

/// The request stream: when it is asked for a message, that is what has gathered.
struct Batches {
    shared: Arc<Shared>,
    /// It let others go first since it last said something.
    yielded: bool,
}

impl Batches {
    fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), yielded: false }
    }
}

impl Stream for Batches {
    type Item = v1::PipelineRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<v1::PipelineRequest>> {
        // The first operation that joined has woken us. Many were answered by one message, and each that ended is followed by
        // another: those that are ready to join do so first, or else each would leave in a message of its own.
        if !std::mem::replace(&mut self.yielded, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let message = {
            let mut hold = self.shared.hold();
            let message = hold.lane.leave();
            if message.is_empty() {
                if hold.lane.is_broken() {
                    return Poll::Ready(None);
                }
                hold.waker = Some(context.waker().clone());
                drop(hold);
                self.yielded = false;
                return Poll::Pending;
            }
            message
        };
        self.yielded = false;
        let number = |(id, operation)| v1::PipelineOperation { id, ..operation };
        let operations = message.into_iter().map(number).collect();
        Poll::Ready(Some(v1::PipelineRequest { operations }))
    }
}

/// What drives one lane from its opening to its end.
struct Drive {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    address: Arc<str>,
    patience: Duration,
    message_bytes_max: usize,
}

impl Drop for Drive {
    /// Also when the runtime ends the task: nobody shall wait for a lane that nobody drives.
    fn drop(&mut self) {
        self.shared.break_off(&Failure::lost(format!("{}: the lane has ended", self.address)), false);
    }
}

impl Drive {
    async fn run(self) {
        let connection = match self.connections.get(&self.address).await {
            Ok(connection) => connection,
            Err(reason) => return self.shared.break_off(&Failure::not_sent(reason), false),
        };
        let mut client = kv_within(connection.channel.clone(), self.message_bytes_max);
        let opening = timeout(self.patience, client.pipeline(Batches::of(&self.shared))).await;
        let status = match opening {
            Ok(Ok(response)) => self.follow(response.into_inner()).await,
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                return self.shared.break_off(&Failure::of_stream(&status), true);
            }
            Ok(Err(status)) => status,
            Err(_) => Status::unavailable(format!("no pipeline within {} ms", self.patience.as_millis())),
        };
        if flotilla_proto::status::detail(&status).is_none() {
            self.connections.forget(&self.address, &connection).await;
        }
        let failure = Failure::of_stream(&status);
        let message = format!("{}: {}", self.address, failure.message);
        self.shared.break_off(&Failure { message, ..failure }, false);
    }

    /// Hands out results until the stream ends; how it did.
    async fn follow(&self, mut results: tonic::Streaming<v1::PipelineResponse>) -> Status {
        self.shared.hold().lane.open();
        self.shared.wake();
        loop {
            match results.message().await {
                Ok(Some(message)) => self.shared.arrived(message.results),
                Ok(None) => {
                    return flotilla_proto::status::unknown(None, "the other side ended the pipeline");
                }
                Err(status) => return status,
            }
        }
    }
}
