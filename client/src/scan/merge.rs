//! Merges what the shards send into one row, and sees to it that each slot is covered once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_topology::{ClusterMap, ShardId, SlotSet};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shard::{self, Ask, Gap, Piece};
use crate::crew::{Crew, pause};
use crate::dispatch::Backoff;
use crate::{Error, KeyValue, ScanRange, Value};

type Sender = mpsc::Sender<Result<KeyValue, Error>>;

/// Sends the records of a range in order, and at the end an error if there was one.
pub(super) async fn run(crew: Arc<Crew>, range: ScanRange, sender: Sender) {
    let merge = Merge {
        portion: None,
        limit: range.limit.unwrap_or(u64::MAX),
        reverse: range.reverse,
        crew,
        parts: Vec::new(),
        heads: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    if let Err(error) = merge.run(range, &sender).await {
        // The reader may be gone; then nobody needs to know.
        let _ = sender.send(Err(error)).await;
    }
}

struct Merge {
    crew: Arc<Crew>,
    limit: u64,
    /// How many records each reader asks for first, if there is a limit.
    portion: Option<u64>,
    reverse: bool,
    parts: Vec<Part>,
    /// The first record of each part that was not sent yet, with the part's position.
    heads: BTreeMap<(Bytes, usize), KeyValue>,
    /// The readers: they end with the merge.
    tasks: JoinSet<()>,
}

/// What one reader has sent and was not merged yet.
struct Part {
    pieces: mpsc::Receiver<Result<Piece, Error>>,
    page: VecDeque<KeyValue>,
    gap: Option<Gap>,
    /// Tells the reader that its portion is used up.
    more: Arc<Notify>,
    /// The page is the last one of a portion.
    last_of_portion: bool,
    /// It asks again for slots that were missing since then.
    missing_since: Option<Instant>,
}

/// What comes next of a part.
enum Next {
    Record(KeyValue),
    /// The page that follows does not speak for all slots of the part.
    Gap(Gap),
    End,
}

impl Part {
    async fn next(&mut self) -> Result<Next, Error> {
        loop {
            if let Some(gap) = self.gap.take() {
                return Ok(Next::Gap(gap));
            }
            if let Some(record) = self.page.pop_front() {
                return Ok(Next::Record(record));
            }
            if self.last_of_portion {
                self.more.notify_one();
            }
            let Some(piece) = self.pieces.recv().await else { return Ok(Next::End) };
            let piece = piece?;
            self.last_of_portion = piece.last_of_portion;
            self.page = piece.page.records.into_iter().filter_map(key_value).collect();
            self.gap = piece.gap;
        }
    }
}

fn key_value(it: v1::KeyRecord) -> Option<KeyValue> {
    Some(KeyValue { key: it.key, value: Value::from(it.record?) })
}

impl Merge {
    async fn run(mut self, range: ScanRange, sender: &Sender) -> Result<(), Error> {
        if self.crew.options.through_endpoints {
            // The endpoint merges the whole fleet.
            self.read(None, None, range, None);
        } else {
            let map = self.map()?;
            let shards = owners(&map, &SlotSet::full());
            self.portion = range.limit.map(|limit| portion(limit, shards.len() as u64));
            for (shard, slots) in shards {
                self.read(Some(shard), Some(slots), range.clone(), None);
            }
        }
        for at in 0..self.parts.len() {
            self.pull(at).await?;
        }
        let mut left = self.limit;
        while left > 0 {
            let first = if self.reverse { self.heads.pop_last() } else { self.heads.pop_first() };
            let Some(((_, at), record)) = first else { break };
            if sender.send(Ok(record)).await.is_err() {
                break;
            }
            left -= 1;
            self.pull(at).await?;
        }
        Ok(())
    }

    /// Begins to read slots of a shard.
    fn read(
        &mut self,
        shard: Option<ShardId>,
        want: Option<SlotSet>,
        range: ScanRange,
        missing_since: Option<Instant>,
    ) -> usize {
        let (sender, pieces) = mpsc::channel(1);
        let (consistency, more) = (v1::Consistency::Linearizable.into(), Arc::new(Notify::new()));
        let ask = Ask { shard, want, consistency, portion: self.portion, more: Arc::clone(&more) };
        self.tasks.spawn(shard::read(Arc::clone(&self.crew), ask, range, sender));
        let page = VecDeque::new();
        self.parts.push(Part { pieces, page, gap: None, more, last_of_portion: false, missing_since });
        self.parts.len() - 1
    }

    /// Waits for the next record of a part, and of those that take over slots from it: none of theirs comes before that.
    async fn pull(&mut self, at: usize) -> Result<(), Error> {
        let mut waiting = vec![at];
        while let Some(at) = waiting.pop() {
            match self.parts[at].next().await? {
                Next::End => {}
                Next::Record(record) => {
                    self.heads.insert((record.key.clone(), at), record);
                }
                Next::Gap(gap) => {
                    waiting.push(at);
                    waiting.extend(self.fill(gap, self.parts[at].missing_since).await?);
                }
            }
        }
        Ok(())
    }

    /// Asks for missing slots again, of whoever owns them by the newest map. Who is said to own them may not know it yet, so they
    /// can be missing again, until the deadline.
    async fn fill(&mut self, gap: Gap, since: Option<Instant>) -> Result<Vec<usize>, Error> {
        if let Some(since) = since {
            if since.elapsed() > self.crew.options.deadline {
                let message = format!("nobody answered for the slots {} before the deadline", gap.slots);
                return Err(Error::not_executed(message));
            }
            let seed = u64::try_from(self.parts.len()).unwrap_or_default();
            pause(Backoff::new(seed).draw()).await;
        }
        self.crew.fetch_map().await?;
        let map = self.map()?;
        let since = since.unwrap_or_else(Instant::now);
        let shards = owners(&map, &gap.slots);
        let read = |(shard, slots)| self.read(Some(shard), Some(slots), gap.rest.clone(), Some(since));
        Ok(shards.into_iter().map(read).collect())
    }

    fn map(&self) -> Result<Arc<ClusterMap>, Error> {
        let map = self.crew.chart.read(|routes| routes.map().cloned());
        map.ok_or_else(|| Error::not_executed("the cluster map is not known"))
    }
}

/// How many of so many records to ask of each shard first: its share, and some more, because keys are not spread quite evenly.
fn portion(limit: u64, shards: u64) -> u64 {
    let share = limit.div_ceil(shards.max(1));
    share.saturating_add(2 * share.isqrt() + 2).min(limit)
}

/// Who owns which of these slots.
fn owners(map: &ClusterMap, slots: &SlotSet) -> Vec<(ShardId, SlotSet)> {
    let shards = map.slots.counts().into_keys();
    let parts = shards.map(|shard| {
        let others = slots.difference(&map.slots_of(shard));
        (shard, slots.difference(&others))
    });
    parts.filter(|(_, slots)| !slots.is_empty()).collect()
}
