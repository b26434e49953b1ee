//! The reader pool: a few threads that read what is not in memory, so that no worker ever waits for a disk.
//!
//! Each job carries the view that it reads, taken by the worker after it checked that the shard owns the key; so jobs
//! may run in any order. The queue is bounded: clients' reads are refused when it is full. What a shard needs to go
//! on (a load) always gets in; there is at most one per shard. A read that nobody waits for any more is dropped before it
//! costs anything: clients that give up and ask again must not keep the pool busy with their old questions.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flotilla_daemon::causes::Causes;
use flotilla_store::{Base, BaseRead, Error, Record};
use tracing::{error, warn};

use super::inbox::Inbox;
use super::tokens::Tokens;
use super::{BaseView, Fatal, Input, NodeBase, worker_of};
use crate::host::{Answer, ReadJob, Refusal, Token};

type Job = ReadJob<BaseView>;

/// How often a load is tried before the node gives up: an entry that is committed must be applied.
const LOAD_ATTEMPTS: u32 = 100;
/// The pause between two attempts: a base that is being reopened needs a moment.
const LOAD_PAUSE: Duration = Duration::from_millis(50);

/// The queue of the pool and where its answers go.
pub struct Readers {
    state: Mutex<State>,
    bell: Condvar,
    jobs_max: usize,
    base: NodeBase,
    tokens: Arc<Tokens>,
    workers: Vec<Arc<Inbox>>,
    fatal: Fatal,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Readers {
    /// A pool without threads: each runs [`Readers::run`].
    #[must_use]
    pub fn new(
        jobs_max: usize,
        base: NodeBase,
        tokens: Arc<Tokens>,
        workers: Vec<Arc<Inbox>>,
        fatal: Fatal,
    ) -> Self {
        Self { state: Mutex::default(), bell: Condvar::new(), jobs_max, base, tokens, workers, fatal }
    }

    /// Queues a job, or refuses its token.
    pub fn push(&self, job: Job) {
        let mut state = self.lock();
        let waits = match &job {
            Job::Get { token, served, .. } | Job::Scan { token, served, .. } => Some((*token, served.shard)),
            Job::Load { .. } => None,
        };
        if let Some((token, shard)) = waits.filter(|_| state.jobs.len() >= self.jobs_max || state.closed) {
            drop(state);
            let refusal = Refusal::Overloaded { shard, what: "the queue of the reader pool" };
            self.tokens.answer(token, Answer::Refused(refusal));
            return;
        }
        state.jobs.push_back(job);
        drop(state);
        self.bell.notify_one();
    }

    /// How many jobs wait.
    pub fn queued(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Lets the threads end when the queue is empty.
    pub fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_all();
    }

    /// What each thread of the pool does, until the pool is closed.
    pub fn run(&self) {
        while let Some(job) = self.take() {
            self.carry_out(job);
        }
    }

    /// The next job that somebody waits for. `None`: the pool is closed, and there is none.
    fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                if self.is_wanted(&job) {
                    return Some(job);
                }
            }
            if state.closed {
                return None;
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_wanted(&self, job: &Job) -> bool {
        match job {
            Job::Get { token, .. } | Job::Scan { token, .. } => self.tokens.is_wanted(*token),
            Job::Load { .. } => true,
        }
    }

    fn carry_out(&self, job: Job) {
        match job {
            Job::Get { token, served, read, view } => {
                let answer = read.run(&view).map(|record| Answer::Got(served, record));
                self.answer(token, answer);
            }
            Job::Scan { token, served, slice, view } => {
                let answer = slice.run(&view).map(|page| Answer::Page(served, page));
                self.answer(token, answer);
            }
            Job::Load { shard, generation, reads, view } => {
                if let Some(records) = self.load(&reads, view) {
                    let worker = worker_of(shard, self.workers.len());
                    self.workers[worker].deliver(Input::Loaded { shard, generation, records });
                }
            }
        }
    }

    /// Reads what an entry needs before it can be applied. `None`: it cannot be read, and the process is about to end.
    fn load(&self, reads: &[(Bytes, BaseRead)], mut view: BaseView) -> Option<Vec<(Bytes, Option<Record>)>> {
        for attempt in 1..=LOAD_ATTEMPTS {
            let records = reads.iter().map(|(key, read)| Ok((key.clone(), read.run(&view)?)));
            let failure: Error = match records.collect() {
                Ok(records) => return Some(records),
                Err(failure) => failure,
            };
            if attempt == LOAD_ATTEMPTS {
                let reason = Causes(&failure);
                self.fatal.call(format!("a committed entry needs what the base cannot read: {reason}"));
                break;
            }
            warn!(attempt, reason = %Causes(&failure), "the base cannot be read, trying again");
            // The view may be of a base that was closed. A newer one says the same of these keys: their shard applies
            // nothing until they are loaded, and they were in no overlay that could have been flushed since.
            drop(view);
            std::thread::sleep(LOAD_PAUSE);
            view = self.base.view();
        }
        None
    }

    fn answer(&self, token: Token, answer: Result<Answer, Error>) {
        let answer = answer.unwrap_or_else(|failure| {
            error!(reason = %Causes(&failure), "the base cannot be read");
            let reason = format!("the base cannot be read: {}", Causes(&failure));
            Answer::Refused(Refusal::Impossible { reason })
        });
        self.tokens.answer(token, answer);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("jobs_max", &self.jobs_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "readers_tests.rs"]
mod tests;
