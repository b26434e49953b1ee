//! A worker's task: wait for inputs or a deadline, take a turn, carry out its effects.
//!
//! The order of the effects is the host's contract (`host/boundary.rs`): messages leave before the log write, so that
//! a leader's appends overlap its own fsync.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use flotilla_daemon::causes::Causes;
use flotilla_raft::Time;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{info, warn};

use super::clock::Clock;
use super::complaints::Complaints;
use super::flusher::FlusherQueue;
use super::inbox::{Inbox, Taken};
use super::leaders::Leaders;
use super::log_thread::LogQueue;
use super::readers::Readers;
use super::tokens::Tokens;
use super::{BaseView, Effects, Input, NodeBase};
use crate::host::{Now, SnapshotJob, Worker};
use crate::metrics::{NodeMetrics, WorkerMetrics};
use crate::transport::Transport;

/// Where the effects of all workers go.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// Messages and snapshots.
    pub transport: Transport,
    /// Batches.
    pub log: Arc<LogQueue>,
    /// Base jobs.
    pub flusher: Arc<FlusherQueue>,
    /// Reads.
    pub readers: Arc<Readers>,
    /// Replies.
    pub tokens: Arc<Tokens>,
    /// Told who leads.
    pub leaders: Arc<Leaders>,
    /// Told that the cluster map may have changed.
    pub map_changed: Arc<Notify>,
    /// What is counted.
    pub metrics: Arc<NodeMetrics>,
}

/// One worker, its inbox, and where its effects go.
#[derive(Debug)]
pub struct WorkerTask {
    number: usize,
    worker: Worker<NodeBase>,
    inbox: Arc<Inbox>,
    clock: Clock,
    outlets: Outlets,
    metrics: WorkerMetrics,
    complaints: Complaints,
}

impl WorkerTask {
    /// The task of the worker with this number.
    pub fn new(
        number: usize,
        worker: Worker<NodeBase>,
        inbox: Arc<Inbox>,
        clock: Clock,
        outlets: Outlets,
    ) -> Self {
        let metrics = WorkerMetrics::new(Arc::clone(&outlets.metrics));
        Self { number, worker, inbox, clock, outlets, metrics, complaints: Complaints::default() }
    }

    /// Runs until the inbox is closed.
    pub async fn run(mut self) {
        let mut inputs = Vec::new();
        let mut alarm = pin!(sleep_until(Instant::now()));
        let mut set_for = None;
        // The first turn takes nothing: what recovery left to be written must not wait for an input.
        let mut now = self.clock.now();
        loop {
            let mut effects = Effects::default();
            let tokens = &self.outlets.tokens;
            let mut log_moved = false;
            let wanted = inputs.drain(..).filter(|input| {
                log_moved |= matches!(input, Input::Persisted { .. });
                is_wanted(tokens, input)
            });
            self.worker.turn(now, wanted, &mut effects);
            self.carry_out(effects);
            if log_moved {
                self.outlets.log.turned(self.number);
            }
            self.wait(alarm.as_mut(), &mut set_for).await;
            // Whatever else is ready on this thread goes first: what it brings is part of the next turn.
            yield_now().await;
            match take_in(&self.inbox, &mut inputs, || self.clock.now()) {
                Some(then) => now = then,
                None => return,
            }
        }
    }

    /// Waits for inputs, or for the worker's deadline.
    async fn wait(&self, mut alarm: Pin<&mut Sleep>, set_for: &mut Option<Time>) {
        let deadline = self.worker.deadline();
        if let Some(time) = deadline
            && *set_for != deadline
        {
            alarm.as_mut().reset(Instant::now() + self.clock.until(time));
            *set_for = deadline;
        }
        poll_fn(|context| {
            if self.inbox.poll_ready(context).is_ready() {
                return Poll::Ready(());
            }
            if deadline.is_some() { alarm.as_mut().poll(context) } else { Poll::Pending }
        })
        .await;
    }

    fn carry_out(&mut self, effects: Effects) {
        let outlets = &self.outlets;
        for (node, shard, message) in effects.messages {
            outlets.transport.send(node, shard, message);
        }
        if let Some((ticket, batch)) = effects.batch {
            outlets.log.push(self.number, ticket, batch);
        }
        effects.base_jobs.into_iter().for_each(|job| outlets.flusher.push(job));
        effects.reads.into_iter().for_each(|job| outlets.readers.push(job));
        outlets.leaders.learn(effects.leaders);
        outlets.tokens.answer_all(effects.replies);
        effects.snapshots.into_iter().for_each(|job| self.send_snapshot(job));
        if !effects.retired.is_empty() {
            outlets.flusher.push_retired(effects.retired);
        }
        for (shard, impossible) in effects.impossible {
            self.complaints.say(
                |others| warn!(%shard, reason = %impossible, others, "a peer says what cannot be; dropped"),
            );
        }
        if effects.map_changed {
            outlets.map_changed.notify_one();
        }
        self.metrics.count(effects.events);
    }

    fn send_snapshot(&self, job: SnapshotJob<BaseView>) {
        let (shard, to, node) = (job.shard, job.to, job.node);
        let inbox = Arc::clone(&self.inbox);
        info!(%shard, %node, "sending a snapshot");
        self.outlets.transport.send_snapshot(job, move |sent| {
            let delivered = match sent {
                Ok(last) => Some(last),
                Err(failure) => {
                    warn!(%shard, %node, reason = %Causes(&failure), "a snapshot was not delivered");
                    None
                }
            };
            inbox.deliver(Input::SnapshotSent { shard, to, delivered });
        });
    }
}

/// What the next turn takes, and when it is; nothing: there will be none.
///
/// The clock is read after the inputs were taken. Were it read before, and did this thread stand still between the two, a read that
/// began after another leader's writes would be answered by a lease that was good before them.
fn take_in(inbox: &Inbox, inputs: &mut Vec<Input>, clock: impl FnOnce() -> Now) -> Option<Now> {
    match inbox.take(inputs) {
        Taken::Closed => None,
        Taken::Turn => Some(clock()),
    }
}

/// Whether a page still has somebody who waits for it: the worker collects the overlay's part of it. Looking up one key costs no
/// more than asking would.
fn is_wanted(tokens: &Tokens, input: &Input) -> bool {
    match input {
        Input::Scan { token, .. } => tokens.is_wanted(*token),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Token;

    const fn question(token: u64) -> Input {
        Input::Inspect { token: Token(token) }
    }

    /// Rule 10 of `docs/architecture/liveness.md`: a moment before the read began says nothing of the lease under which it is answered.
    #[test]
    fn what_arrives_while_the_clock_is_read_is_not_of_this_turn() {
        let inbox = Inbox::new(1 << 10, 1 << 10);
        let (mut inputs, clock) = (Vec::new(), Clock::start());
        assert!(inbox.deliver(question(1)));
        let now = take_in(&inbox, &mut inputs, || {
            assert!(inbox.deliver(question(2)));
            clock.now()
        });
        assert!(now.is_some());
        assert!(matches!(inputs[..], [Input::Inspect { token: Token(1) }]), "{inputs:?}");
        inputs.clear();
        take_in(&inbox, &mut inputs, || clock.now());
        assert!(matches!(inputs[..], [Input::Inspect { token: Token(2) }]), "{inputs:?}");
    }
}
