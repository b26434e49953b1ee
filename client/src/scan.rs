//! Ordered scans over all shards.
//!
//! A key's slot says nothing about its order, so every shard may hold keys of any range. Each shard is read by a task of its
//! own, a page ahead at most; the records are merged in order:
//!
//! ```text
//!  shard 1 ──pages──▶ ┐
//!  shard 2 ──pages──▶ ├─ merge ──▶ Scan (a Stream)
//!  shard 3 ──pages──▶ ┘
//! ```
//!
//! Each task has a set of slots to cover, and the sets of all tasks are a partition of all slots: so each slot is covered exactly
//! once, also when slots move meanwhile. A page says which slots it speaks for. What it lacks is asked for again, from where that
//! page began, of whoever owns it by the newest map; what it has too much is another task's duty and left out.
//!
//! Memory does not grow with the range: of each shard one page is merged, one waits, one is held, and as much is on its way as the
//! window of a stream lets through. A scan with a limit asks each shard for its share of it and a little more. Whoever drops the scan ends
//! the tasks and their streams, and so the work of the nodes.

mod merge;
mod shard;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use flotilla_proto::v1;
use flotilla_topology::ShardId;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::crew::Crew;
use crate::{Error, KeyValue, ScanRange};

/// So many records are merged ahead of who reads them.
const RECORDS_AHEAD: usize = 256;

/// The records of a scan, as they come. After an error there are no more. Dropping it ends the scan.
#[derive(Debug)]
pub struct Scan {
    records: ReceiverStream<Result<KeyValue, Error>>,
    _task: Option<Task>,
}

/// A task that ends when nobody wants its results any more.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Scan {
    pub(crate) fn start(crew: &Arc<Crew>, range: ScanRange) -> Self {
        let (sender, records) = mpsc::channel(RECORDS_AHEAD);
        let crew = Arc::clone(crew);
        let task =
            (!range.is_empty()).then(|| Task(tokio::spawn(merge::run(crew, range, sender)).abort_handle()));
        Self { records: ReceiverStream::new(records), _task: task }
    }
}

impl Stream for Scan {
    type Item = Result<KeyValue, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.records).poll_next(context)
    }
}

/// The pages of a forwarded scan, as they come. After an error there are no more. Dropping it ends the scan.
#[derive(Debug)]
pub struct Pages {
    pieces: ReceiverStream<Result<shard::Piece, Error>>,
    _task: Option<Task>,
}

impl Pages {
    /// Of one shard, or merged by whichever node is asked. An empty range has one empty page. Whoever asked judges which slots
    /// the pages speak for.
    pub(crate) fn forward(
        crew: &Arc<Crew>,
        shard: Option<ShardId>,
        range: ScanRange,
        consistency: i32,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(1);
        let task = if range.is_empty() {
            // A new channel has room for one.
            let _ = sender.try_send(Ok(shard::Piece::default()));
            None
        } else {
            let ask = shard::Ask { shard, want: None, consistency, portion: None, more: Arc::default() };
            let read = shard::read(Arc::clone(crew), ask, range, sender);
            Some(Task(tokio::spawn(read).abort_handle()))
        };
        Self { pieces: ReceiverStream::new(pieces), _task: task }
    }
}

impl Stream for Pages {
    type Item = Result<v1::ScanPage, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = Pin::new(&mut self.pieces).poll_next(context);
        piece.map(|piece| piece.map(|piece| piece.map(|piece| piece.page)))
    }
}
