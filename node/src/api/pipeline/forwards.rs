//! The operations of one stream that another node shall serve: a bounded number of tasks, the rest in a queue.
//!
//! They go the way of unary calls, in REDIRECT mode. Tasks of their own, because the stream's task stands still while
//! its client does not read, and answers that lie about on a shared connection would hold up those of others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_topology::ShardId;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::operation::Parsed;
use crate::api::front::{Front, Leader};
use crate::api::refusals;
use crate::metrics::Outcome as Counted;
use crate::runtime::Question;

/// How many operations of one stream are forwarded at the same time.
const FORWARDS_MAX: usize = 64;

/// An operation for another node.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) question: Question,
    pub(super) operation: Parsed,
    pub(super) shard: ShardId,
    pub(super) leader: Leader,
    /// When nobody waits for it any more.
    pub(super) deadline: Option<Instant>,
}

/// What became of it.
type Forwarded = (Question, Result<Outcome, Status>);

/// The operations that are being forwarded, and those that will be. Dropped, it gives them up.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    under_way: JoinSet<Forwarded>,
    waiting: VecDeque<Forward>,
}

impl Forwards {
    pub(super) fn push(&mut self, front: &Arc<Front>, forward: Forward) {
        self.waiting.push_back(forward);
        self.start(front);
    }

    /// The next that has ended. `Pending` also when there is none.
    pub(super) fn poll_next(
        &mut self,
        front: &Arc<Front>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Forwarded, JoinError>> {
        match self.under_way.poll_join_next(context) {
            Poll::Ready(Some(ended)) => {
                self.start(front);
                Poll::Ready(ended)
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn start(&mut self, front: &Arc<Front>) {
        while self.under_way.len() < FORWARDS_MAX
            && let Some(forward) = self.waiting.pop_front()
        {
            self.under_way.spawn(run(Arc::clone(front), forward));
        }
    }
}

async fn run(front: Arc<Front>, forward: Forward) -> Forwarded {
    let Forward { question, operation, shard, leader, deadline } = forward;
    let in_time = deadline.is_none_or(|deadline| deadline > Instant::now());
    let map = match front.map() {
        Ok(map) if in_time => map,
        refused => {
            front.counters(shard, leader).count(operation.kind().op(), Counted::Refused);
            return (question, Err(refused.err().unwrap_or_else(|| refusals::too_late(shard, true))));
        }
    };
    let work = operation.pass_on(&front, &map, shard, leader);
    let Some(deadline) = deadline else { return (question, work.await) };
    let outcome = timeout_at(deadline, work).await.unwrap_or_else(|_| {
        // It may have left, and nobody waited for what became of it.
        front.counters(shard, leader).count(operation.kind().op(), Counted::Unknown);
        Err(refusals::too_late(shard, false))
    });
    (question, outcome)
}
