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
//! An operation costs two looks at its lane, under the lane's lock, and one wake-up. What it would otherwise need for itself (a
//! channel, a timer) the lane has once for all: places for the answers, and an alarm in the task that drives it.
//!
//! What it does not do: decide. What leaves when, what a break means, and who is overdue, is [`Lane`]'s.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use dashmap::DashMap;
use flotilla_proto::v1;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_stream::Stream;
use tonic::{Code, Status};

use crate::call::kv_within;
use crate::connections::Connections;
use crate::dispatch::{Failure, Fetched, Lane, Whereabouts};

/// From so many bytes on, keys and values, an operation is large.
const LARGE_BYTES: usize = 32 * 1024;

/// What came of an operation on a lane.
#[derive(Debug)]
pub(crate) enum Arrival {
    Answered(Outcome),
    Failed(Failure),
    /// The server has no pipeline: the operation did not leave and must go by itself.
    NoPipeline,
    /// It has waited for as long as it may.
    Late(Whereabouts),
}

impl Arrival {
    /// How an operation failed that had waited for so long.
    pub(crate) fn late(to: &str, whereabouts: Whereabouts, patience: Option<Duration>) -> Failure {
        let within = patience.unwrap_or_default().as_millis();
        match whereabouts {
            Whereabouts::Waiting => Failure::not_sent(format!("{to}: could not be sent within {within} ms")),
            Whereabouts::Left | Whereabouts::Gone => {
                Failure::lost(format!("{to}: no answer within {within} ms"))
            }
        }
    }
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

    /// Puts an operation on the lane to this address, for as long as we wait for it; the other side is told, if we know. Whoever
    /// drops the passage gives the operation up.
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
        let shared = self.shared(address, bytes >= LARGE_BYTES);
        let until = patience.map(|patience| shared.now() + patience);
        let (id, sender, alarm) = {
            let mut hold = shared.hold();
            if hold.no_pipeline {
                return Err(Arrival::NoPipeline);
            }
            let alarm = hold.lane.alarm();
            let id = hold.lane.join(operation, bytes, until);
            let sooner = hold.lane.alarm() != alarm;
            (id, hold.sender.take(), if sooner { hold.alarm.take() } else { None })
        };
        [sender, alarm].into_iter().flatten().for_each(Waker::wake);
        match id {
            Some(id) => Ok(Passage { shared, id, arrived: false }),
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
        let shared = Arc::new(Shared::new());
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
#[derive(Debug)]
struct Shared {
    /// The lane's times count from here.
    origin: Instant,
    hold: Mutex<Hold>,
    /// The lane is broken and its server had a pipeline: another lane is to be made.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Hold {
    lane: Lane<v1::PipelineOperation, Arrival, Waker>,
    /// Who sends, while nothing waits.
    sender: Option<Waker>,
    /// Who ends what is overdue, while nothing is.
    alarm: Option<Waker>,
    no_pipeline: bool,
}

impl Shared {
    fn new() -> Self {
        Self { origin: Instant::now(), hold: Mutex::default(), ended: AtomicBool::new(false) }
    }

    /// Time as the lane counts it.
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_sender(&self) {
        let sender = self.hold().sender.take();
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    fn arrived(&self, results: Vec<v1::PipelineResult>) {
        let mut woken = Vec::with_capacity(results.len());
        let mut hold = self.hold();
        for v1::PipelineResult { id, outcome } in results {
            let arrival = match outcome {
                Some(Outcome::Failure(failure)) => Arrival::Failed(Failure::from_pipeline(failure)),
                Some(outcome) => Arrival::Answered(outcome),
                None => Arrival::Failed(Failure::lost("empty answer")),
            };
            woken.extend(hold.lane.answered(id, arrival));
        }
        drop(hold);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The lane is broken for ever: all that is on it fails now.
    fn break_off(&self, how: &Failure, no_pipeline: bool) {
        let woken = {
            let mut hold = self.hold();
            hold.no_pipeline |= no_pipeline;
            self.ended.store(!hold.no_pipeline, Ordering::Release);
            hold.lane.break_off(|whereabouts| match whereabouts {
                Whereabouts::Waiting if no_pipeline => Arrival::NoPipeline,
                whereabouts => Arrival::Failed(how.befell(whereabouts)),
            })
        };
        woken.into_iter().for_each(Waker::wake);
        self.wake_sender();
    }

    /// Ends what is overdue, whenever something is. Never ends itself.
    fn poll_alarm(&self, mut sleep: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let at = {
                let mut hold = self.hold();
                hold.alarm.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
                hold.lane.alarm()
            };
            let Some(at) = at.map(|at| self.origin + at) else { return Poll::Pending };
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            ready!(sleep.as_mut().poll(context));
            let woken = self.hold().lane.overdue(self.now(), Arrival::Late);
            woken.into_iter().for_each(Waker::wake);
        }
    }
}

/// An operation on a lane.
#[derive(Debug)]
pub(crate) struct Passage {
    shared: Arc<Shared>,
    id: u64,
    arrived: bool,
}

impl Future for Passage {
    /// What comes of the operation.
    type Output = Arrival;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Arrival> {
        let arrival = match self.shared.hold().lane.fetch(self.id) {
            Some(Fetched::Done(arrival)) => arrival,
            Some(Fetched::NotYet(Some(waiter))) => {
                waiter.clone_from(context.waker());
                return Poll::Pending;
            }
            Some(Fetched::NotYet(nobody)) => {
                *nobody = Some(context.waker().clone());
                return Poll::Pending;
            }
            None => unreachable!("an operation leaves its lane only by its passage, which has ended"),
        };
        self.arrived = true;
        Poll::Ready(arrival)
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if !self.arrived {
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
                hold.sender = Some(context.waker().clone());
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
        let mut sleep = pin!(sleep_until(self.shared.origin));
        let mut stream = pin!(self.stream());
        poll_fn(|context| {
            // First the stream: what it has brought is not overdue.
            let ended = stream.as_mut().poll(context);
            if ended.is_pending() {
                let _never = self.shared.poll_alarm(sleep.as_mut(), context);
            }
            ended
        })
        .await;
    }

    async fn stream(&self) {
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
        self.shared.wake_sender();
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
