//! One shard's part of a scan: the page that is held, and how the next one is fetched.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use flotilla_proto::v1::scan_response::Outcome;
use flotilla_proto::v1::{self, KeyRecord, ScanPage, ScanRequest};
use flotilla_store::{Limits, Page, ScanRange};
use flotilla_topology::{ClusterMap, ShardId};
use tonic::{Code, Status};

use super::answers::{incomplete, lag, record, stamp_of_read, unexpected};
use super::front::{Front, Leader, Routed};
use super::refusals;
use crate::host::{Answer, Consistency, Served};
use crate::metrics::{Op, Outcome as Counted};
use crate::runtime::Input;

/// The most records of one page.
pub(super) const PAGE_RECORDS_MAX: usize = 1024;
/// The most bytes of one page, keys and values; one record may exceed it.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 20;
/// The most keys that are looked at for one page, deleted and expired ones included.
const PAGE_EXAMINED_MAX: usize = 16 * PAGE_RECORDS_MAX;
/// How often a page is asked for while its shard changes its leader: reading twice does no harm.
const ATTEMPTS_MAX: u32 = 20;

/// How a cursor asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) consistency: Consistency,
    pub(super) page_bytes_max: usize,
    /// How many records the next page may have; each may have twice as many as the one before.
    pub(super) page_records: usize,
}

/// One shard's part of a scan.
#[derive(Debug)]
pub(super) struct Cursor {
    shard: ShardId,
    ask: Ask,
    /// What is left to be fetched; `None`: nothing.
    range: Option<ScanRange>,
    /// How many records are still worth fetching.
    left: Option<u64>,
    records: VecDeque<KeyRecord>,
    lag: v1::Lag,
}

/// A page, or who has it.
pub(super) enum Fetched {
    Page(ScanPage),
    Elsewhere(v1::Redirect),
}

impl Cursor {
    pub(super) fn new(shard: ShardId, range: ScanRange, left: Option<u64>, ask: Ask) -> Self {
        Self { shard, ask, range: Some(range), left, records: VecDeque::new(), lag: v1::Lag::default() }
    }

    /// The key of the next record, if one is held.
    pub(super) fn key(&self) -> Option<&Bytes> {
        self.records.front().map(|record| &record.key)
    }

    pub(super) fn take(&mut self) -> Option<KeyRecord> {
        self.records.pop_front()
    }

    /// Whether the shard has nothing more.
    pub(super) fn is_done(&self) -> bool {
        self.records.is_empty() && self.range.is_none()
    }

    /// Whether there may be pages to fetch.
    pub(super) const fn has_more(&self) -> bool {
        self.range.is_some()
    }

    /// Whether nothing is held though there may be more.
    pub(super) fn is_dry(&self) -> bool {
        self.records.is_empty() && self.range.is_some()
    }

    pub(super) const fn lag(&self) -> v1::Lag {
        self.lag
    }

    /// Fetches pages until a record is held or there are no more.
    pub(super) async fn refill(&mut self, front: &Arc<Front>, map: &ClusterMap) -> Result<(), Status> {
        while self.is_dry() {
            let page = self.fetch(front, map).await?;
            self.records.extend(page.records);
            if let Some(lag) = page.lag {
                self.lag = lag;
            }
        }
        Ok(())
    }

    /// The next page, from wherever it is.
    pub(super) async fn fetch(&mut self, front: &Arc<Front>, map: &ClusterMap) -> Result<ScanPage, Status> {
        let mut attempt = 1;
        loop {
            let failure = match self.fetch_once(front, map).await {
                Ok(page) => return Ok(page),
                Err(failure) => failure,
            };
            let passes = matches!(failure.code(), Code::Unavailable | Code::Unknown);
            if !passes || attempt == ATTEMPTS_MAX {
                return Err(failure);
            }
            attempt += 1;
            let wait = flotilla_proto::status::detail(&failure).map_or(0, |detail| detail.retry_after_ms);
            tokio::time::sleep(std::time::Duration::from_millis(wait.max(20))).await;
        }
    }

    async fn fetch_once(&mut self, front: &Arc<Front>, map: &ClusterMap) -> Result<ScanPage, Status> {
        let leader = match self.ask_here(front, map).await? {
            Ok(page) => return Ok(self.fetched(page)),
            Err(leader) => leader,
        };
        let Some(request) = self.request() else { return Ok(ScanPage::default()) };
        let send = |address: String| {
            let request = request.clone();
            async move {
                let mut pages = front.backends.kv(&address)?.scan(request).await?.into_inner();
                let Some(response) = pages.message().await? else { return Err(incomplete()) };
                match response.outcome {
                    Some(Outcome::Result(page)) => Ok(Routed::Done(page)),
                    Some(Outcome::Redirect(redirect)) => Ok(Routed::Elsewhere(redirect)),
                    None => Err(incomplete()),
                }
            }
        };
        let routed = front.forward(map, self.shard, leader, send).await;
        let counted = routed.as_ref().map_or_else(Counted::of, |_| Counted::Forwarded);
        front.counters(self.shard, leader).count(Op::Scan, counted);
        match routed? {
            Routed::Done(page) => Ok(self.fetched(page)),
            Routed::Elsewhere(_) => Err(refusals::no_leader(self.shard)),
        }
    }

    /// The next page of our own replica, or who has it.
    pub(super) async fn fetch_here(
        &mut self,
        front: &Arc<Front>,
        map: &ClusterMap,
    ) -> Result<Fetched, Status> {
        match self.ask_here(front, map).await? {
            Ok(page) => Ok(Fetched::Page(self.fetched(page))),
            Err(leader) => {
                front.counters(self.shard, leader).count(Op::Scan, Counted::Redirected);
                Ok(Fetched::Elsewhere(front.redirect(map, None, self.shard, leader)))
            }
        }
    }

    async fn ask_here(
        &self,
        front: &Arc<Front>,
        map: &ClusterMap,
    ) -> Result<Result<ScanPage, Leader>, Status> {
        let Some(range) = self.range.clone() else { return Ok(Ok(ScanPage::default())) };
        let (shard, consistency, limits) = (self.shard, self.ask.consistency, self.limits());
        let bytes = range.from.len() + range.to.as_ref().map_or(0, Bytes::len);
        let question = |token| Input::Scan { shard, token, range, limits, consistency };
        let answer = front.runtime.ask(shard, bytes, question).await.map_err(|_| refusals::ended(shard))?;
        let ops = front.ops().of(shard);
        match front.own(shard, answer).inspect_err(|failure| ops.count(Op::Scan, Counted::of(failure)))? {
            Ok(Answer::Page(served, page)) => {
                ops.count(Op::Scan, Counted::Ok);
                Ok(Ok(self.page(map, served, page)))
            }
            Ok(answer) => Err(unexpected(&answer)),
            Err(leader) => Ok(Err(leader)),
        }
    }

    fn limits(&self) -> Limits {
        let wanted = self.left.map_or(PAGE_RECORDS_MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        Limits {
            records_max: wanted.min(self.ask.page_records).clamp(1, PAGE_RECORDS_MAX),
            bytes_max: self.ask.page_bytes_max,
            examined_max: PAGE_EXAMINED_MAX,
        }
    }

    fn request(&self) -> Option<ScanRequest> {
        let range = self.range.clone()?;
        let consistency = match self.ask.consistency {
            Consistency::Linearizable => v1::Consistency::Linearizable,
            Consistency::Stale => v1::Consistency::Stale,
        };
        Some(ScanRequest {
            from: range.from,
            to: range.to.unwrap_or_default(),
            reverse: range.reverse,
            // One page is taken of the answer; the limit keeps the other node from preparing much more.
            limit: self.limits().records_max as u64,
            shard: Some(self.shard.0),
            route_mode: v1::RouteMode::Redirect.into(),
            consistency: consistency.into(),
        })
    }

    /// A page of our own replica, as it goes over the wire.
    fn page(&self, map: &ClusterMap, served: Served, page: Page) -> ScanPage {
        let slots = map.slots_of(self.shard);
        let range = |range: &flotilla_topology::SlotRange| v1::SlotRange {
            first: u32::from(range.first().number()),
            last: u32::from(range.last().number()),
        };
        ScanPage {
            records: page
                .records
                .into_iter()
                .map(|(key, found)| KeyRecord { key, record: Some(record(found)) })
                .collect(),
            slots: slots.ranges().iter().map(range).collect(),
            epoch: map.epoch.0,
            next: page.next.unwrap_or_default(),
            lag: lag(served),
            stamp: Some(stamp_of_read(served)),
        }
    }

    /// Goes on after a page.
    fn fetched(&mut self, page: ScanPage) -> ScanPage {
        let got = page.records.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(got));
        self.ask.page_records = self.ask.page_records.saturating_mul(2).min(PAGE_RECORDS_MAX);
        let range = self.range.take().filter(|_| self.left != Some(0) && !page.next.is_empty());
        self.range = range.map(|range| range.resume(page.next.clone()));
        page
    }
}
