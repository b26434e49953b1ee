//! The operations of one stream that another node shall serve: a bounded number under way, the rest in a queue.
//!
//! They go the way of unary calls, in REDIRECT mode: each joins what else goes to that node. They are futures of the stream's own
//! task, which is woken once for all that are answered together. When it stands still, because its client does not read, their
//! answers wait here and hold up nobody: the lanes to the other nodes hand out answers by themselves.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_topology::ShardId;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tonic::Status;

use super::operation::Parsed;
use crate::api::front::{Front, Leader};
use crate::api::refusals;
use crate::metrics::Outcome as Counted;
use crate::runtime::Question;

/// How many operations of one stream are forwarded at the same time. Their answers are as many values that a client who does
/// not read keeps in memory.
const FORWARDS_MAX: usize = 256;

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
#[derive(Default)]
pub(super) struct Forwards {
    under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Forwarded> + Send>>>,
    waiting: VecDeque<Forward>,
}

impl Forwards {
    pub(super) fn push(&mut self, front: &Arc<Front>, forward: Forward) {
        self.waiting.push_back(forward);
        self.start(front);
    }

    /// The next that has ended. `Pending` also when there is none.
    pub(super) fn poll_next(&mut self, front: &Arc<Front>, context: &mut Context<'_>) -> Poll<Forwarded> {
        match self.under_way.poll_next_unpin(context) {
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
            self.under_way.push(Box::pin(run(Arc::clone(front), forward)));
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
    (question, operation.pass_on(&front, &map, shard, leader, deadline).await)
}
