//! The flusher: the only thread that writes the base.
//!
//! ```text
//!   workers   ── flush, activate ──►┐
//!   transport ── staged batches ───►├─► in order ──► base: one atomic batch each, one sync per flush
//!   workers   ── purge ────────────►┘ one bounded step at a time, when nothing else waits
//! ```
//!
//! A base that fails a write takes no more until it is reopened (fjall calls it poisoned). The flusher does that, and
//! tries again, with pauses that grow to a second. Meanwhile the workers go on: the overlays fill, and when they are
//! full new writes are refused. Nothing is lost: the log keeps what the base has not confirmed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flotilla_daemon::causes::Causes;
use flotilla_store::{Base, BaseError, Error, Machine, Retired, WriteBatch, snapshot};
use flotilla_topology::ShardId;
use metrics::Histogram;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::inbox::Inbox;
use super::{Fatal, Input, worker_of};
use crate::host::BaseJob;

/// The pause before the second attempt; it doubles with each further one …
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many keys one step of a purge removes.
const PURGE_STEP_KEYS: usize = 512;

/// Where work for the flusher is left.
#[derive(Debug, Default)]
pub struct FlusherQueue {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    work: VecDeque<Work>,
    purges: VecDeque<Purge>,
    closed: bool,
}

/// Told when a batch is in the base, or why not.
pub type Committed = oneshot::Sender<Result<(), String>>;

/// What is removed from the base when there is time, step by step.
#[derive(Clone, Copy, Debug)]
enum Purge {
    /// A dead generation of a shard.
    Generation(ShardId, u64),
    /// Everything of a shard.
    Shard(ShardId),
}

#[derive(Debug)]
enum Work {
    Job(Box<BaseJob>),
    /// A part of a snapshot that a peer streams.
    Batch(WriteBatch, Committed),
    /// One step of removing something.
    Purge(Purge),
    /// Big and not needed any more: dropped here, where nobody waits for it.
    Retired(Vec<Retired>),
}

impl FlusherQueue {
    /// Leaves a job of a worker.
    pub fn push(&self, job: BaseJob) {
        let mut state = self.lock();
        match job {
            BaseJob::Purge { shard, generation } => {
                state.purges.push_back(Purge::Generation(shard, generation));
            }
            BaseJob::Forget { shard } => state.purges.push_back(Purge::Shard(shard)),
            job => state.work.push_back(Work::Job(Box::new(job))),
        }
        drop(state);
        self.bell.notify_one();
    }

    /// Leaves a part of a snapshot. Who streams waits for the answer before the next part: that bounds the memory.
    pub fn push_batch(&self, batch: WriteBatch, committed: Committed) {
        let mut state = self.lock();
        if state.closed {
            drop(committed.send(Err("the node is shutting down".to_string())));
            return;
        }
        state.work.push_back(Work::Batch(batch, committed));
        drop(state);
        self.bell.notify_one();
    }

    /// Leaves what is to be dropped on a thread that nobody waits for.
    pub fn push_retired(&self, retired: Vec<Retired>) {
        self.lock().work.push_back(Work::Retired(retired));
        self.bell.notify_one();
    }

    /// How many jobs wait.
    pub fn queued(&self) -> usize {
        let state = self.lock();
        state.work.len() + state.purges.len()
    }

    /// Lets the flusher do what is there, purges excepted, and end.
    pub fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_all();
    }

    fn take(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.work.pop_front() {
                return Some(work);
            }
            if state.closed {
                return None;
            }
            if let Some(purge) = state.purges.pop_front() {
                return Some(Work::Purge(purge));
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits, unless the node is told to end. Whether it goes on.
    fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        let waited = self.bell.wait_timeout_while(state, pause, |state| !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flusher's own state.
pub struct Flusher<B: Base> {
    base: B,
    queue: Arc<FlusherQueue>,
    workers: Vec<Arc<Inbox>>,
    fatal: Fatal,
    flush_seconds: Histogram,
}

impl<B: Base> Flusher<B> {
    /// A flusher that has not begun. `fatal` is called when the base holds what cannot be: going on would spread it.
    pub fn new(base: B, queue: Arc<FlusherQueue>, workers: Vec<Arc<Inbox>>, fatal: Fatal) -> Self {
        Self { base, queue, workers, fatal, flush_seconds: Histogram::noop() }
    }

    /// The same flusher, which tells how many seconds each flush took.
    pub fn measured(self, flush_seconds: Histogram) -> Self {
        Self { flush_seconds, ..self }
    }

    /// Runs until the queue is closed.
    pub fn run(self) {
        while let Some(work) = self.queue.take() {
            match work {
                Work::Job(job) => self.carry_out(*job),
                Work::Batch(batch, committed) => {
                    // Synced before it is answered: a part that was only written can vanish when a later write fails and the base
                    // is reopened, and a snapshot with a hole would become current.
                    let done = self.persist("stage a part of a snapshot", |base| {
                        base.commit(batch.clone())?;
                        Ok(base.sync()?)
                    });
                    let answer = done.ok_or_else(|| "the base could not be written".to_string());
                    // Nobody waits any more when the stream broke meanwhile.
                    drop(committed.send(answer));
                }
                Work::Purge(purge) => self.purge(purge),
                Work::Retired(retired) => drop(retired),
            }
        }
    }

    fn carry_out(&self, job: BaseJob) {
        match job {
            BaseJob::Flush { shard, flush } => {
                let started = Instant::now();
                if let Some(flushed) = self.persist("flush", |base| flush.run(base)) {
                    self.flush_seconds.record(started.elapsed());
                    self.deliver(shard, Input::Flushed { shard, flushed });
                }
            }
            BaseJob::Activate { shard, generation, meta, genesis } => {
                let machine = self.persist("make a snapshot current", |base| {
                    snapshot::activate(base, shard, generation)?;
                    Machine::open(shard, &base.view(), &genesis)
                });
                if let Some(machine) = machine {
                    info!(%shard, generation, last = %meta.last, "a snapshot became current");
                    self.deliver(shard, Input::Activated { machine: Box::new(machine) });
                }
            }
            BaseJob::Purge { .. } | BaseJob::Forget { .. } => unreachable!("{job:?} has a queue of its own"),
        }
    }

    fn purge(&self, purge: Purge) {
        let gone = self.persist("purge", |base| match purge {
            Purge::Generation(shard, generation) => snapshot::purge(base, shard, generation, PURGE_STEP_KEYS),
            Purge::Shard(shard) => {
                let gone = snapshot::purge_shard(base, shard, PURGE_STEP_KEYS)?;
                if gone {
                    base.sync()?;
                }
                Ok(gone)
            }
        });
        match (gone, purge) {
            (Some(false), _) => self.queue.lock().purges.push_back(purge),
            (Some(true), Purge::Shard(shard)) => self.deliver(shard, Input::Forgotten { shard }),
            (Some(true), Purge::Generation(..)) | (None, _) => {}
        }
    }

    /// Does what must be done, however often the base fails. `None`: it is not to be done any more.
    fn persist<T>(&self, what: &str, work: impl Fn(&B) -> Result<T, Error>) -> Option<T> {
        let mut pause = PAUSE_MIN;
        loop {
            let failure = match work(&self.base) {
                Ok(done) => return Some(done),
                Err(Error::Base(unsynced @ BaseError::Unsynced(_))) => {
                    self.fatal.call(format!("cannot {what}: {}", Causes(&unsynced)));
                    return None;
                }
                Err(Error::Base(failure)) => failure,
                Err(gone @ Error::Generation { .. }) => {
                    warn!(what, reason = %gone, "the base has another generation by now");
                    return None;
                }
                Err(damage) => {
                    self.fatal.call(format!("the base is damaged, cannot {what}: {}", Causes(&damage)));
                    return None;
                }
            };
            error!(what, reason = %Causes(&failure), "the base failed, trying again");
            if !self.queue.pause(pause) {
                return None;
            }
            pause = (pause * 2).min(PAUSE_MAX);
            self.reopen();
        }
    }

    fn reopen(&self) {
        match self.base.reopen() {
            Ok(()) => info!("the base was reopened"),
            // A view of the old store is still being read: the next attempt comes soon.
            Err(BaseError::Locked) => {}
            Err(failure) => error!(reason = %Causes(&failure), "the base cannot be reopened"),
        }
    }

    fn deliver(&self, shard: ShardId, input: Input) {
        self.workers[worker_of(shard, self.workers.len())].deliver(input);
    }
}

#[cfg(test)]
#[path = "flusher_tests.rs"]
mod tests;
