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
//! What it does not do: scans across slots that move. Slots do not move yet; when they do, the pages say which slots they
//! covered, and this is where the missing ones will be asked for again. Until then a page that does not cover what the map
//! gives its shard ends the scan with an error.

mod shard;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_topology::ShardId;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::crew::Crew;
use crate::{Error, KeyValue, ScanRange, Value};

/// So many records are merged ahead of who reads them.
const RECORDS_AHEAD: usize = 256;

/// The records of a scan, as they come. After an error there are no more. Dropping it ends the scan.
#[derive(Debug)]
pub struct Scan {
    records: ReceiverStream<Result<KeyValue, Error>>,
}

impl Scan {
    pub(crate) fn start(crew: &Arc<Crew>, range: ScanRange) -> Self {
        let (sender, records) = mpsc::channel(RECORDS_AHEAD);
        if !range.is_empty() {
            let parts = shards(crew).into_iter().map(|shard| Part::start(crew, shard, &range)).collect();
            tokio::spawn(async move {
                if let Err(error) = merge(parts, &range, &sender).await {
                    // The reader may be gone; then nobody needs to know.
                    let _ = sender.send(Err(error)).await;
                }
            });
        }
        Self { records: ReceiverStream::new(records) }
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
    pages: ReceiverStream<Result<v1::ScanPage, Error>>,
}

impl Pages {
    /// Of one shard, or merged by whichever node is asked. An empty range has one empty page.
    pub(crate) fn forward(
        crew: &Arc<Crew>,
        shard: Option<ShardId>,
        range: ScanRange,
        consistency: i32,
    ) -> Self {
        let (sender, pages) = mpsc::channel(1);
        if range.is_empty() {
            // A new channel has room for one.
            let _ = sender.try_send(Ok(v1::ScanPage::default()));
        } else {
            tokio::spawn(shard::read(Arc::clone(crew), shard::Ask { shard, consistency }, range, sender));
        }
        Self { pages: ReceiverStream::new(pages) }
    }
}

impl Stream for Pages {
    type Item = Result<v1::ScanPage, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.pages).poll_next(context)
    }
}

/// The shards to read: all that may own slots; through an endpoint the whole fleet at once.
fn shards(crew: &Crew) -> Vec<Option<ShardId>> {
    if crew.options.through_endpoints {
        return vec![None];
    }
    let map = crew.chart.read(|routes| routes.map().cloned());
    let owners = map.into_iter().flat_map(|map| map.slots.counts().into_keys());
    owners.map(Some).collect()
}

/// What one shard has sent and was not merged yet.
struct Part {
    pages: mpsc::Receiver<Result<v1::ScanPage, Error>>,
    page: VecDeque<KeyValue>,
}

impl Part {
    fn start(crew: &Arc<Crew>, shard: Option<ShardId>, range: &ScanRange) -> Self {
        let (sender, pages) = mpsc::channel(1);
        let ask = shard::Ask { shard, consistency: v1::Consistency::Linearizable.into() };
        tokio::spawn(shard::read(Arc::clone(crew), ask, range.clone(), sender));
        Self { pages, page: VecDeque::new() }
    }

    /// The next record; nothing at the end.
    async fn next(&mut self) -> Result<Option<KeyValue>, Error> {
        while self.page.is_empty() {
            match self.pages.recv().await {
                Some(page) => self.page = page?.records.into_iter().filter_map(key_value).collect(),
                None => return Ok(None),
            }
        }
        Ok(self.page.pop_front())
    }
}

fn key_value(it: v1::KeyRecord) -> Option<KeyValue> {
    Some(KeyValue { key: it.key, value: Value::from(it.record?) })
}

async fn merge(
    mut parts: Vec<Part>,
    range: &ScanRange,
    sender: &mpsc::Sender<Result<KeyValue, Error>>,
) -> Result<(), Error> {
    let mut heads: BTreeMap<(Bytes, usize), KeyValue> = BTreeMap::new();
    for (at, part) in parts.iter_mut().enumerate() {
        heads.extend(part.next().await?.map(|record| ((record.key.clone(), at), record)));
    }
    let mut left = range.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let first = if range.reverse { heads.pop_last() } else { heads.pop_first() };
        let Some(((_, at), record)) = first else { break };
        if sender.send(Ok(record)).await.is_err() {
            break;
        }
        left -= 1;
        heads.extend(parts[at].next().await?.map(|record| ((record.key.clone(), at), record)));
    }
    Ok(())
}
