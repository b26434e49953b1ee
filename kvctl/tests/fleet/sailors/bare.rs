//! By gRPC itself: any node or router is asked to forward (PROXY), and what was not answered is asked again of another, under
//! the same request id. The stamps of the answers are written down too.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flotilla_history::{Answer, Call, Done, OperationId, Outcome, RequestId, Seen, Stamp, Version};
use flotilla_proto::status;
use flotilla_proto::v1::{
    self, compare_and_swap_response as swapped, delete_response as deleted, get_response as got,
    put_response as put, scan_response as scanned,
};
use rand_core::Rng;
use rand_pcg::Pcg64;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::logbook::Logbook;
use crate::patience::breath;
use crate::questions;

/// An attempt at a process that stands still ends after this.
const ATTEMPT: Duration = Duration::from_millis(1_000);

/// So often is one operation tried.
const ATTEMPTS_MAX: usize = 4;

/// A write is good for so long.
const GOOD_FOR_MS: u64 = 20_000;

/// Speaks gRPC.
pub struct Bare {
    client: u128,
    sequence: u64,
    addresses: Vec<String>,
    channels: BTreeMap<String, Channel>,
}

impl Bare {
    pub fn new(client: u128, addresses: Vec<String>) -> Self {
        Self { client, sequence: 0, addresses, channels: BTreeMap::new() }
    }

    /// Asks until it is answered, but not for ever; each attempt is written down.
    pub async fn execute(
        &mut self,
        logbook: &Logbook,
        random: &mut Pcg64,
        who: u64,
        key: &Bytes,
        shard: u64,
        call: &Call,
    ) -> Outcome {
        self.sequence += 1;
        let request = RequestId { client: self.client, sequence: self.sequence };
        let request_id = v1::RequestId {
            client: Some(self.client.into()),
            sequence: self.sequence,
            // One at a time: all before have been answered or given up.
            acknowledged: self.sequence - 1,
            deadline_ms: wall_ms() + GOOD_FOR_MS,
        };
        let mut outcome = Outcome::NotExecuted;
        for _ in 0..ATTEMPTS_MAX {
            let address = &self.addresses[(random.next_u64() % self.addresses.len() as u64) as usize];
            let address = address.clone();
            let id = logbook.ask(who, key, call.clone(), Some(request));
            outcome = self.attempt(logbook, id, &address, shard, request_id, call).await;
            if matches!(outcome, Outcome::Done(_)) {
                return outcome;
            }
            breath().await;
        }
        outcome
    }

    async fn attempt(
        &mut self,
        logbook: &Logbook,
        id: OperationId,
        address: &str,
        shard: u64,
        request_id: v1::RequestId,
        call: &Call,
    ) -> Outcome {
        let outcome = match self.channel(address).await {
            // Nothing was sent.
            None => Outcome::NotExecuted,
            Some(channel) => {
                let asked = tokio::time::timeout(ATTEMPT, ask(channel, shard, request_id, call)).await;
                let asked = asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
                match asked {
                    Ok(done) => Outcome::Done(done),
                    Err(refused) if status::definite(&refused) => Outcome::NotExecuted,
                    Err(_) => {
                        self.channels.remove(address);
                        Outcome::Unknown
                    }
                }
            }
        };
        logbook.answer(id, outcome.clone());
        outcome
    }

    async fn channel(&mut self, address: &str) -> Option<Channel> {
        if !self.channels.contains_key(address) {
            self.channels.insert(address.to_owned(), questions::connect(address).await?);
        }
        self.channels.get(address).cloned()
    }
}

async fn ask(channel: Channel, shard: u64, id: v1::RequestId, call: &Call) -> Result<Done, Status> {
    let mut kv = questions::kv(channel);
    let request = Some(id);
    match call.clone() {
        Call::Get { key } => {
            match kv.get(v1::GetRequest { key, ..Default::default() }).await?.into_inner().outcome {
                Some(got::Outcome::Result(it)) => {
                    Ok(stamped(Answer::Got(it.record.map(seen)), it.stamp, true))
                }
                other => Err(unexpected(&other)),
            }
        }
        Call::Put { key, value } => {
            let asked = v1::PutRequest { key, value, request, ..Default::default() };
            match kv.put(asked).await?.into_inner().outcome {
                Some(put::Outcome::Result(it)) => {
                    Ok(stamped(Answer::Written(Some(Version(it.version))), it.stamp, false))
                }
                other => Err(unexpected(&other)),
            }
        }
        Call::Delete { key } => {
            let asked = v1::DeleteRequest { key, request, ..Default::default() };
            match kv.delete(asked).await?.into_inner().outcome {
                Some(deleted::Outcome::Result(it)) => {
                    let made = it.stamp.filter(|_| it.existed).map(|stamp| Version(stamp.version));
                    let answer = Answer::Deleted { existed: it.existed, version: made };
                    Ok(stamped(answer, it.stamp, !it.existed))
                }
                other => Err(unexpected(&other)),
            }
        }
        Call::CompareAndSwap { key, expected, value } => {
            let expected_version = expected.0;
            let asked =
                v1::CompareAndSwapRequest { key, value, expected_version, request, ..Default::default() };
            match kv.compare_and_swap(asked).await?.into_inner().outcome {
                Some(swapped::Outcome::Result(it)) => Ok(swap(it)),
                other => Err(unexpected(&other)),
            }
        }
        Call::Scan { from, to } => {
            let asked = v1::ScanRequest {
                from: from.clone(),
                to: to.clone().unwrap_or_default(),
                shard: Some(shard),
                ..Default::default()
            };
            let mut pages = kv.scan(Request::new(asked)).await?.into_inner();
            match pages.message().await?.and_then(|page| page.outcome) {
                Some(scanned::Outcome::Result(page)) => Ok(first_page(page, from, to)),
                other => Err(unexpected(&other)),
            }
        }
        Call::Txn(_) => unreachable!("transactions are asked by the SDK"),
    }
}

fn swap(it: v1::CompareAndSwapResult) -> Done {
    let answer = match it.current {
        _ if it.swapped => Answer::Written(Some(Version(it.version))),
        None if it.version > 0 => {
            Answer::Conflict(Some(Seen { value: None, version: Some(Version(it.version)) }))
        }
        current => Answer::Conflict(current.map(seen)),
    };
    // The stamp of a conflict tells the record's version, not where the counter stood.
    stamped(answer, it.stamp, false)
}

/// The first page is one moment of the shard, up to where the next one begins.
fn first_page(page: v1::ScanPage, from: Bytes, to: Option<Bytes>) -> Done {
    let to = if page.next.is_empty() { to } else { Some(page.next) };
    let record = |it: v1::KeyRecord| (it.key, seen(it.record.unwrap()));
    let records = page.records.into_iter().map(record).collect();
    stamped(Answer::Scanned { from, to, records }, page.stamp, true)
}

fn seen(record: v1::Record) -> Seen {
    Seen { value: Some(record.value), version: Some(Version(record.version)) }
}

/// `counts`: the stamp's version is where the shard's counter stood.
fn stamped(answer: Answer, stamp: Option<v1::Stamp>, counts: bool) -> Done {
    let stamp =
        stamp.map(|stamp| Stamp { term: stamp.term, counter: counts.then_some(Version(stamp.version)) });
    Done { answer, stamp }
}

/// A redirect, or nothing: not what PROXY promises. Without our detail it counts as unknown.
fn unexpected<T: std::fmt::Debug>(outcome: &Option<T>) -> Status {
    Status::internal(format!("an answer that is none: {outcome:?}"))
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
