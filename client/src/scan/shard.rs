//! Reads the records of one shard, page by page; after a break it goes on where the last page ended.
//!
//! Of a scan with a limit it asks for a portion, since most of the limit will come of other shards. The next portion, twice as
//! large, is asked for when the merge has used up this one.

use std::sync::Arc;
use std::time::Duration;

use flotilla_proto::v1;
use flotilla_proto::v1::scan_response::Outcome;
use flotilla_raft::Term;
use flotilla_topology::{ShardId, Slot, SlotRange, SlotSet};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::call::kv;
use crate::connections::Connection;
use crate::crew::Crew;
use crate::dispatch::{Effect, Failure, Operation, Target};
use crate::wire_map::slot;
use crate::{Error, ScanRange};

type Sender = mpsc::Sender<Result<Piece, Error>>;

/// What is read, and how.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// This shard; nothing: all of them, merged by the node that is asked.
    pub(super) shard: Option<ShardId>,
    /// The slots to cover; nothing: whatever is sent.
    pub(super) want: Option<SlotSet>,
    /// As on the wire.
    pub(super) consistency: i32,
    /// How many records to ask for first; nothing: whatever the range says.
    pub(super) portion: Option<u64>,
    /// Told that another portion is wanted.
    pub(super) more: Arc<Notify>,
}

/// A page, cut down to what is wanted.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) page: v1::ScanPage,
    /// What the page should have spoken for and did not.
    pub(super) gap: Option<Gap>,
    /// The next one is read when it is asked for.
    pub(super) last_of_portion: bool,
}

/// Slots that somebody else must be asked for.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) slots: SlotSet,
    /// What was not read of them: from where the page without them began.
    pub(super) rest: ScanRange,
}

/// Reads until the end of the range, an error, or nobody listens.
pub(super) async fn read(crew: Arc<Crew>, ask: Ask, range: ScanRange, sender: Sender) {
    let mut reader = Reader { crew, ask, rest: range, due: None, done: false };
    if let Err(error) = reader.read(&sender).await {
        // The reader may be gone; then nobody needs to know.
        let _ = sender.send(Err(error)).await;
    }
}

struct Reader {
    crew: Arc<Crew>,
    ask: Ask,
    /// What was not read yet.
    rest: ScanRange,
    /// How many records are still to come of the portion that was asked for; nothing: no portion was.
    due: Option<u64>,
    done: bool,
}

/// A stream of pages and where it comes from.
struct Pages {
    from: Arc<str>,
    connection: Connection,
    stream: Streaming<v1::ScanResponse>,
}

/// What one message of the stream meant.
enum Turn {
    Page(v1::ScanPage),
    Redirect(v1::Redirect),
    /// The stream ended, though the last page said that there is more.
    End,
}

impl Reader {
    async fn read(&mut self, sender: &Sender) -> Result<(), Error> {
        let mut operation = self.operation();
        while !self.done {
            if self.due == Some(0) {
                self.ask.more.notified().await;
                self.due = None;
                self.ask.portion = self.ask.portion.map(|portion| portion.saturating_mul(2));
                operation = self.operation();
            }
            let (to, patience) = self.crew.next(&mut operation).await?;
            let opened = self.open(to, patience).await;
            let broken = match opened {
                Ok(mut pages) => self.follow(&mut pages, patience, &mut operation, sender).await?,
                Err(failure) => Some(failure),
            };
            if let Some(failure) = broken {
                self.crew.failed(&mut operation, &failure);
            }
        }
        Ok(())
    }

    /// The deadline is for each page: a long scan is not a slow one.
    fn operation(&self) -> Operation {
        // Any node can merge. Those of the map are tried before the endpoints, which may be gone by now.
        let target = Target::Shard(self.ask.shard.unwrap_or(ShardId::META));
        self.crew.operation(self.crew.aim(target), Effect::Read).growing()
    }

    async fn open(&mut self, from: Arc<str>, patience: Duration) -> Result<Pages, Failure> {
        let connection = self.crew.connections.get(&from).await.map_err(Failure::not_sent)?;
        // Nobody leads all shards, so there is nobody to be redirected to.
        self.due = self.ask.portion.map(|portion| self.rest.limit.map_or(portion, |left| left.min(portion)));
        let proxy = v1::RouteMode::Proxy.into();
        let route_mode = self.ask.shard.map_or(proxy, |_| self.crew.route_mode());
        let message = v1::ScanRequest {
            from: self.rest.from.clone(),
            to: self.rest.to.clone().unwrap_or_default(),
            reverse: self.rest.reverse,
            limit: self.due.or(self.rest.limit).unwrap_or_default(),
            shard: self.ask.shard.map(|shard| shard.0),
            route_mode,
            consistency: self.ask.consistency,
        };
        // No deadline in the headers: it would be one for the whole stream.
        let mut client = kv(connection.channel.clone());
        match timeout(patience, client.scan(message)).await {
            Ok(Ok(response)) => Ok(Pages { from, connection, stream: response.into_inner() }),
            Ok(Err(status)) => Err(self.broken(&from, &connection, &status).await),
            Err(_) => Err(Failure::lost(format!("{from}: no answer within {} ms", patience.as_millis()))),
        }
    }

    /// Takes pages until the portion or the range ends. Returns how the stream broke, if it did.
    async fn follow(
        &mut self,
        pages: &mut Pages,
        patience: Duration,
        operation: &mut Operation,
        sender: &Sender,
    ) -> Result<Option<Failure>, Error> {
        while !self.done && self.due != Some(0) {
            let page = match self.turn(pages, patience).await {
                Ok(Turn::Page(page)) => page,
                Ok(Turn::Redirect(redirect)) => {
                    self.crew.redirected(operation, redirect);
                    return Ok(None);
                }
                Ok(Turn::End) => {
                    return Ok(Some(Failure::lost(format!("{}: the scan broke off", pages.from))));
                }
                Err(failure) => return Ok(Some(failure)),
            };
            // A stale page may come from any replica.
            if let (Some(stamp), None) = (&page.stamp, &page.lag) {
                let (shard, term) = (ShardId(stamp.shard), Term(stamp.term));
                self.crew.chart.change(|routes| operation.answered(shard, term, routes));
            }
            let piece = self.take(page);
            if sender.send(Ok(piece)).await.is_err() {
                self.done = true;
            }
            *operation = self.operation();
        }
        Ok(None)
    }

    async fn turn(&self, pages: &mut Pages, patience: Duration) -> Result<Turn, Failure> {
        match timeout(patience, pages.stream.message()).await {
            Ok(Ok(Some(v1::ScanResponse { outcome: Some(Outcome::Result(page)) }))) => Ok(Turn::Page(page)),
            Ok(Ok(Some(v1::ScanResponse { outcome: Some(Outcome::Redirect(it)) }))) => Ok(Turn::Redirect(it)),
            Ok(Ok(Some(v1::ScanResponse { outcome: None }) | None)) => Ok(Turn::End),
            Ok(Err(status)) => Err(self.broken(&pages.from, &pages.connection, &status).await),
            Err(_) => {
                Err(Failure::lost(format!("{}: no page within {} ms", pages.from, patience.as_millis())))
            }
        }
    }

    async fn broken(&self, from: &str, connection: &Connection, status: &Status) -> Failure {
        if flotilla_proto::status::detail(status).is_none() {
            self.crew.connections.forget(from, connection).await;
        }
        Failure::from_status(status)
    }

    /// Cuts a page down to the wanted slots, and takes note of what it lacks. Without that keys would silently be left out, or
    /// come twice, when slots move during the scan.
    fn take(&mut self, mut page: v1::ScanPage) -> Piece {
        let mut gap = None;
        self.due = self.due.map(|due| due.saturating_sub(page.records.len() as u64));
        if let Some(want) = &mut self.ask.want {
            let range = |range: &v1::SlotRange| SlotRange::new(slot(range.first)?, slot(range.last)?);
            let covered: SlotSet = page.slots.iter().filter_map(range).collect();
            if covered != *want {
                let missing = want.difference(&covered);
                *want = want.difference(&missing);
                page.records.retain(|record| want.contains(Slot::of(&record.key)));
                gap = (!missing.is_empty()).then(|| Gap { slots: missing, rest: self.rest.clone() });
            }
        }
        self.advance(&page);
        self.done |= self.ask.want.as_ref().is_some_and(SlotSet::is_empty);
        Piece { page, gap, last_of_portion: !self.done && self.due == Some(0) }
    }

    /// Takes note of a page; what is left begins where it ended.
    fn advance(&mut self, page: &v1::ScanPage) {
        if let Some(left) = &mut self.rest.limit {
            *left = left.saturating_sub(page.records.len() as u64);
        }
        if self.rest.reverse {
            self.rest.to = Some(page.next.clone());
        } else {
            self.rest.from.clone_from(&page.next);
        }
        self.done = page.next.is_empty() || self.rest.is_empty();
    }
}
