//! `Scan`: the records of a range of keys, in the order of the keys, page by page.
//!
//! Keys are spread over all shards by their hash, so a range touches every shard. The node that is asked merges:
//!
//! ```text
//!   shard 1 ─ page ─┐
//!   shard 2 ─ page ─┼─► the least (or greatest) first ─► pages ─► client
//!   shard 3 ─ page ─┘
//! ```
//!
//! Of each shard one page is held, so memory does not grow with the range. Pages are fetched when the client has taken
//! the ones before; when it goes away, nothing more is fetched, and what is being fetched is given up, wherever it waits: a client
//! that asks again must not find its old questions before it. Each page shows one moment of its shard; the pages of
//! one scan may show different moments.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use flotilla_proto::v1::scan_response::Outcome;
use flotilla_proto::v1::{self, KeyRecord, ScanPage, ScanRequest, ScanResponse};
use flotilla_store::ScanRange;
use flotilla_topology::{ClusterMap, SLOTS, ShardId};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::cursor::{Ask, Cursor, Fetched, PAGE_BYTES_MAX, PAGE_RECORDS_MAX};
use super::front::Front;
use super::gate;
use crate::config::Limits;
use crate::host::Consistency;

/// The pages of a scan.
pub type Pages = Pin<Box<dyn Stream<Item = Result<ScanResponse, Status>> + Send>>;

/// How many pages wait for a client that reads slowly.
const PAGES_AHEAD: usize = 1;

/// The cursors of all shards together hold about so many bytes.
const CURSORS_BYTES_MAX: usize = 16 << 20;

/// The least that a page may hold, however many shards there are, in bytes.
const PAGE_BYTES_MIN: usize = 16 << 10;

/// A scan as it was asked for.
struct Scan {
    range: ScanRange,
    /// How many records are still wanted; `None`: all.
    left: Option<u64>,
    consistency: Consistency,
    route_mode: v1::RouteMode,
}

impl Scan {
    /// Bytes become types here, once.
    fn parse(limits: &Limits, request: ScanRequest) -> Result<Self, Status> {
        Ok(Self {
            consistency: gate::consistency(request.consistency)?,
            route_mode: gate::route_mode(request.route_mode)?,
            left: (request.limit > 0).then_some(request.limit),
            range: ScanRange {
                from: gate::bound(limits, "from", request.from)?,
                to: Some(gate::bound(limits, "to", request.to)?).filter(|to| !to.is_empty()),
                reverse: request.reverse,
            },
        })
    }
}

/// What a node with these limits makes of a scan before it asks any shard: the range that each would be asked for.
///
/// # Errors
/// The refusal that the client gets.
pub fn examine_scan(limits: &Limits, request: ScanRequest) -> Result<ScanRange, Status> {
    Ok(Scan::parse(limits, request)?.range)
}

type Sender = mpsc::Sender<Result<ScanResponse, Status>>;

pub(super) async fn scan(front: &Arc<Front>, request: ScanRequest) -> Result<Response<Pages>, Status> {
    let map = front.map()?;
    let shard = request.shard.map(ShardId);
    let scan = Scan::parse(&front.limits, request)?;
    let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
    let front = Arc::clone(front);
    match shard {
        Some(shard) => {
            let known = shard != ShardId::META && map.shards.contains_key(&shard);
            if !known {
                return Err(flotilla_proto::status::invalid(
                    "shard",
                    format!("there is no {shard} with keys"),
                ));
            }
            tokio::spawn(async move {
                tokio::select! {
                    () = one_shard(&front, &map, shard, scan, &sender) => {}
                    () = sender.closed() => {}
                }
            });
        }
        None => {
            tokio::spawn(async move {
                let ended = tokio::select! {
                    ended = all_shards(&front, &map, scan, &sender) => ended,
                    () = sender.closed() => return,
                };
                if let Err(failure) = ended {
                    // The client went away meanwhile: nobody is left to be told.
                    drop(sender.send(Err(failure)).await);
                }
            });
        }
    }
    Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
}

/// The pages of one shard, each as it comes. A Redirect ends it where another node leads.
async fn one_shard(front: &Arc<Front>, map: &ClusterMap, shard: ShardId, scan: Scan, sender: &Sender) {
    let ask =
        Ask { consistency: scan.consistency, page_bytes_max: PAGE_BYTES_MAX, page_records: PAGE_RECORDS_MAX };
    let mut cursor = Cursor::new(shard, scan.range, scan.left, ask);
    loop {
        let fetched = match scan.route_mode {
            v1::RouteMode::Redirect => cursor.fetch_here(front, map).await,
            v1::RouteMode::Proxy => cursor.fetch(front, map).await.map(Fetched::Page),
        };
        let (outcome, going_on) = match fetched {
            Ok(Fetched::Page(page)) => (Ok(Outcome::Result(page)), cursor.has_more()),
            Ok(Fetched::Elsewhere(redirect)) => (Ok(Outcome::Redirect(redirect)), false),
            Err(failure) => (Err(failure), false),
        };
        let response = outcome.map(|outcome| ScanResponse { outcome: Some(outcome) });
        if sender.send(response).await.is_err() || !going_on {
            return;
        }
    }
}

/// The records of all shards in one order.
async fn all_shards(front: &Arc<Front>, map: &ClusterMap, scan: Scan, sender: &Sender) -> Result<(), Status> {
    let shards: Vec<ShardId> = map.shards.keys().copied().filter(|shard| *shard != ShardId::META).collect();
    let share = (CURSORS_BYTES_MAX / shards.len().max(1)).clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX);
    let page_records = scan.left.map_or(PAGE_RECORDS_MAX, |left| first_records(left, shards.len()));
    let ask = Ask { consistency: scan.consistency, page_bytes_max: share, page_records };
    let mut cursors: Vec<Cursor> =
        shards.into_iter().map(|shard| Cursor::new(shard, scan.range.clone(), scan.left, ask)).collect();
    let mut left = scan.left.unwrap_or(u64::MAX);
    loop {
        // Together, not one after the other: keys are spread evenly, so cursors run out together too.
        let refills = cursors.iter_mut().map(|cursor| cursor.refill(front, map));
        futures_util::future::try_join_all(refills).await?;
        let (records, lag) = merge(&mut cursors, scan.range.reverse, left);
        left -= records.len() as u64;
        let done = left == 0 || cursors.iter().all(Cursor::is_done);
        // Who reached its limit may go on from here; only who saw the end of all shards knows that nothing is left.
        let finished = done && left > 0;
        let next = if finished { Bytes::new() } else { after(&records, scan.range.reverse) };
        let page = ScanPage {
            records,
            slots: vec![v1::SlotRange { first: 0, last: u32::from(SLOTS) - 1 }],
            epoch: map.epoch.0,
            next,
            lag: (scan.consistency == Consistency::Stale).then_some(lag),
            stamp: None,
        };
        let response = ScanResponse { outcome: Some(Outcome::Result(page)) };
        if sender.send(Ok(response)).await.is_err() || done {
            return Ok(());
        }
    }
}

/// How many of so many records to ask of each shard first: its share, and some more, because keys are not spread quite evenly.
fn first_records(left: u64, shards: usize) -> usize {
    let share = usize::try_from(left).unwrap_or(usize::MAX).div_ceil(shards.max(1));
    share.saturating_add(2 * share.isqrt() + 2).min(PAGE_RECORDS_MAX)
}

/// Takes records in order from all cursors, until a page is full or a cursor must be refilled first.
fn merge(cursors: &mut [Cursor], reverse: bool, left: u64) -> (Vec<KeyRecord>, v1::Lag) {
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut lag = v1::Lag::default();
    while records.len() < PAGE_RECORDS_MAX && (records.len() as u64) < left && bytes < PAGE_BYTES_MAX {
        // A cursor without records that is not done may hold the next one in its next page.
        if cursors.iter().any(Cursor::is_dry) {
            break;
        }
        let first = cursors.iter_mut().filter(|cursor| cursor.key().is_some()).reduce(|best, cursor| {
            let before = if reverse { cursor.key() > best.key() } else { cursor.key() < best.key() };
            if before { cursor } else { best }
        });
        let Some(record) = first.and_then(Cursor::take) else { break };
        bytes += record.key.len() + record.record.as_ref().map_or(0, |record| record.value.len());
        records.push(record);
    }
    for cursor in cursors.iter() {
        let behind = cursor.lag();
        lag.entries = lag.entries.max(behind.entries);
        lag.silence_ms = lag.silence_ms.max(behind.silence_ms);
    }
    (records, lag)
}

/// Where a scan goes on after these records: `from`, or the excluded `to` when reversed.
fn after(records: &[KeyRecord], reverse: bool) -> Bytes {
    let Some(last) = records.last() else { return Bytes::new() };
    if reverse {
        return last.key.clone();
    }
    let mut next = BytesMut::with_capacity(last.key.len() + 1);
    next.put_slice(&last.key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
