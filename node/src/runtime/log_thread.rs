//! The log thread: the only one that writes the shared log.
//!
//! It takes whatever batches have arrived from all workers, writes them as one frame with one `fdatasync`, and tells
//! each worker how far it is stable. What arrives during one `fdatasync` leaves with the next: the slower the disk, the
//! larger the batches.
//!
//! Before the next append it lets the workers that it has just told take their turn: they held back what arrived meanwhile
//! (`host/writes.rs`), and propose it now. Otherwise what followers were sent and what leaders propose would take turns on
//! the disk, each with a sync of its own. A batch that finds the log idle never waits.
//!
//! ```text
//!   worker 0 ─ 7 ─┐                              ┌─ Persisted 8 ─► worker 0
//!   worker 1 ─ 3 ─┼─► [7][3][8] ─► one append ───┤
//!   worker 0 ─ 8 ─┘                              └─ Persisted 3 ─► worker 1
//! ```
//!
//! Between appends it lets the log tidy itself up, one bounded step at a time. When nothing has come for a while, the
//! log states durably that all it holds is durable.
//!
//! An append that fails ends the process: after a failed sync nobody knows what is on the disk, and a repeated one may
//! report success for bytes that were lost. A full disk, found before anything was written, is waited out for a while.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flotilla_daemon::causes::Causes;
use flotilla_wal::{AppendError, Batch, CollectError, Disk, Log, Step};
use tracing::{error, warn};

use super::inbox::Inbox;
use super::{Fatal, Input};
use crate::host::BatchTicket;
use crate::metrics::LogMetrics;

/// Nothing came for so long: the log states that it is durable. Much shorter, and the statement (a sync of its own)
/// would compete with the writes of a lightly loaded node.
const IDLE_AFTER: Duration = Duration::from_millis(100);

/// How many batches one frame holds at most. What workers may have under way is bounded in bytes by the host.
const BATCHES_MAX: usize = 256;

/// After so many appends without a pause the log gets a step of housekeeping all the same.
const APPENDS_PER_STEP: u32 = 16;

/// How long a full disk is waited out before the process ends, so that nodes with room can lead.
const FULL_PATIENCE: Duration = Duration::from_secs(5);

/// How long a worker's turn is waited for before what is there is written without it. Turns take a few tens of microseconds;
/// this is for a worker that does not get a processor.
const TURN_PATIENCE: Duration = Duration::from_micros(300);

/// How often it is tried again meanwhile.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// Where workers leave their batches.
#[derive(Debug)]
pub struct LogQueue {
    state: Mutex<State>,
    bell: Condvar,
    turn_patience: Duration,
}

impl Default for LogQueue {
    fn default() -> Self {
        Self { state: Mutex::default(), bell: Condvar::new(), turn_patience: TURN_PATIENCE }
    }
}

#[derive(Debug, Default)]
struct State {
    arrived: Vec<Arrived>,
    /// The workers that were told of their stable batches and have not taken a turn since.
    told: Vec<usize>,
    closed: bool,
}

#[derive(Debug)]
struct Arrived {
    worker: usize,
    ticket: BatchTicket,
    batch: Batch,
}

/// What the log thread found when it looked.
enum Found {
    Batches(Vec<Arrived>),
    Nothing,
    Closed,
}

impl LogQueue {
    /// Leaves a batch. The batches of one worker come in the order of their tickets.
    pub fn push(&self, worker: usize, ticket: BatchTicket, batch: Batch) {
        let mut state = self.lock();
        let first = state.arrived.is_empty();
        state.arrived.push(Arrived { worker, ticket, batch });
        let rings = first && state.told.is_empty();
        drop(state);
        if rings {
            self.bell.notify_one();
        }
    }

    /// A worker has taken the turn in which it heard of stable batches; what it made of it was left here before.
    pub fn turned(&self, worker: usize) {
        let mut state = self.lock();
        let before = state.told.len();
        state.told.retain(|told| *told != worker);
        let last = before > 0 && state.told.is_empty() && !state.arrived.is_empty();
        drop(state);
        if last {
            self.bell.notify_one();
        }
    }

    fn tell(&self, workers: impl Iterator<Item = usize>) {
        self.lock().told.extend(workers);
    }

    /// How many batches wait.
    pub fn queued(&self) -> usize {
        self.lock().arrived.len()
    }

    /// Lets the log thread write what is there and end.
    pub fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_all();
    }

    fn take(&self, patience: Option<Duration>) -> Found {
        let now = Instant::now();
        let (until, turns_until) = (patience.map(|patience| now + patience), now + self.turn_patience);
        let mut state = self.lock();
        loop {
            let until = match (state.arrived.is_empty(), state.told.is_empty()) {
                _ if state.closed => break,
                (true, true) => until,
                // Housekeeping waits, too: what they are about to leave is more urgent.
                (true, false) => until.map(|until| until.max(turns_until)),
                (false, true) => break,
                (false, false) => Some(turns_until),
            };
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) if state.arrived.is_empty() => return Found::Nothing,
                Some(Duration::ZERO) => break,
                Some(left) => self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.told.clear();
        if state.arrived.is_empty() {
            return Found::Closed;
        }
        let count = state.arrived.len().min(BATCHES_MAX);
        Found::Batches(state.arrived.drain(..count).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log thread's own state.
pub struct LogThread<D: Disk> {
    log: Log<D>,
    queue: Arc<LogQueue>,
    workers: Vec<Arc<Inbox>>,
    fatal: Fatal,
    metrics: LogMetrics,
    appends: u32,
    /// Something was written since the log last said that it is durable.
    unstated: bool,
    /// The last step of housekeeping found nothing to do, and nothing was written since.
    tidy: bool,
}

impl<D: Disk> LogThread<D> {
    /// A log thread that has not begun. `fatal` is called, once, when the log can take nothing more.
    pub fn new(
        log: Log<D>,
        queue: Arc<LogQueue>,
        workers: Vec<Arc<Inbox>>,
        fatal: Fatal,
        metrics: LogMetrics,
    ) -> Self {
        Self { log, queue, workers, fatal, metrics, appends: 0, unstated: true, tidy: false }
    }

    /// Runs until the queue is closed, or the log has failed.
    pub fn run(mut self) {
        self.metrics.sized(self.log.stats());
        loop {
            let patience = match (self.tidy, self.unstated) {
                (false, _) => Some(Duration::ZERO),
                (true, true) => Some(IDLE_AFTER),
                (true, false) => None,
            };
            let going_on = match self.queue.take(patience) {
                Found::Batches(batches) => self.write(batches),
                Found::Nothing => self.rest(),
                Found::Closed => {
                    self.state_durable();
                    return;
                }
            };
            if !going_on {
                return;
            }
        }
    }

    /// One frame for all batches. Whether the log is still good.
    fn write(&mut self, arrived: Vec<Arrived>) -> bool {
        let mut stable: Vec<Option<BatchTicket>> = vec![None; self.workers.len()];
        let mut batches = Vec::with_capacity(arrived.len());
        for Arrived { worker, ticket, batch } in arrived {
            // The newest ticket of each worker: its batches arrived in the order of their tickets.
            stable[worker] = Some(ticket);
            batches.push(batch);
        }
        if !self.append(&batches) {
            return false;
        }
        // Before they are told: a turn that is over at once must find its worker noted.
        self.queue.tell(stable.iter().enumerate().filter_map(|(worker, ticket)| ticket.map(|_| worker)));
        for (worker, ticket) in stable.into_iter().enumerate() {
            if let Some(ticket) = ticket
                && !self.workers[worker].deliver(Input::Persisted { ticket })
            {
                self.queue.turned(worker);
            }
        }
        (self.unstated, self.tidy) = (true, false);
        self.appends += 1;
        // Without this a log that is never idle would never be tidied up, and fill the disk.
        if self.appends.is_multiple_of(APPENDS_PER_STEP) { self.collect() } else { true }
    }

    fn append(&mut self, batches: &[Batch]) -> bool {
        let started = Instant::now();
        loop {
            let before = self.log.stats();
            match self.log.append(batches) {
                Ok(()) => {
                    self.metrics.appended(before, self.log.stats());
                    return true;
                }
                Err(AppendError::NoSpace(reason)) if started.elapsed() < FULL_PATIENCE => {
                    error!(%reason, "the log's disk is full: nothing was written, trying again");
                    self.collect_all();
                    self.pause(FULL_RETRY);
                }
                Err(failure) => return self.fail("the log cannot be written", &failure),
            }
        }
    }

    /// Nothing to write at the moment. Whether the log is still good.
    fn rest(&mut self) -> bool {
        if self.tidy { self.state_durable() } else { self.collect() }
    }

    fn state_durable(&mut self) -> bool {
        self.unstated = false;
        match self.log.idle() {
            Ok(_) => true,
            Err(AppendError::NoSpace(reason)) => {
                warn!(%reason, "no room for the log's durable mark");
                true
            }
            Err(failure) => self.fail("the log cannot be written", &failure),
        }
    }

    /// One step of housekeeping. Whether the log is still good.
    fn collect(&mut self) -> bool {
        match self.log.collect() {
            Ok(Step::Idle) => self.tidy = true,
            Ok(_) => self.metrics.sized(self.log.stats()),
            Err(CollectError::Append(AppendError::NoSpace(reason))) => {
                warn!(%reason, "no room to tidy up the log");
                self.tidy = true;
            }
            Err(failure @ CollectError::Append(_)) => {
                return self.fail("the log cannot be written", &failure);
            }
            Err(failure) => {
                // What is rotten is still in the memory of the replicas, so going on loses nothing; the next start
                // takes out of service whom it concerns.
                error!(reason = %Causes(&failure), "the log cannot be tidied up");
                self.tidy = true;
            }
        }
        true
    }

    /// Tidies up until there is nothing more to do: a full disk may get room that way.
    fn collect_all(&mut self) {
        self.tidy = false;
        while !self.tidy && self.collect() {}
    }

    /// Waits, unless the node is told to end.
    fn pause(&self, pause: Duration) {
        let state = self.queue.lock();
        drop(self.queue.bell.wait_timeout_while(state, pause, |state| !state.closed));
    }

    fn fail(&self, what: &str, failure: &(dyn std::error::Error + 'static)) -> bool {
        self.fatal.call(format!("{what}: {}", Causes(failure)));
        false
    }
}

#[cfg(test)]
#[path = "log_thread_tests.rs"]
mod tests;
