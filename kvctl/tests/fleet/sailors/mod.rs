//! Clients that ask for this and that without end, and write everything down.
//!
//! Each does one thing after the other, so as many are under way as there are sailors. Half of them use the SDK (its own
//! retries are one operation to us), half speak gRPC themselves, to any node or the router, and send what was not answered
//! again under the same request id.

mod bare;
mod sdk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flotilla_client::Client;
use flotilla_history::{Answer, Call, Compare, Condition, Outcome, Seen, Txn, TxnAnswer, TxnStep, Version};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use tokio::task::JoinHandle;

use crate::logbook::{Logbook, Place};
use crate::stage::Fleet;
use bare::Bare;

/// Places with one key each, and after them places whose keys are written together.
const LONE_PLACES: usize = 3;
const PLACES: usize = 4;

/// Keys that are written together.
const TOGETHER: usize = 3;

/// How a sailor speaks to the fleet.
pub enum Way {
    /// By the SDK.
    Sdk(Client),
    /// By gRPC, to any of these addresses.
    Bare(Vec<String>),
}

/// Two sailors of each kind, for a story that is about something else.
pub struct Voyage {
    logbook: Arc<Logbook>,
    crew: Crew,
    seed: u64,
}

impl Voyage {
    /// They set out, to the nodes that are there now.
    pub async fn begin(fleet: &Fleet, deadline: Duration, seed: u64) -> Self {
        let logbook = Arc::new(Logbook::new(&fleet.client(deadline).await));
        let addresses: Vec<String> = fleet.ids().into_iter().map(|id| fleet.address(id)).collect();
        let mut ways = vec![Way::Bare(addresses.clone()), Way::Bare(addresses)];
        for _ in 0..2 {
            ways.push(Way::Sdk(fleet.client(deadline).await));
        }
        let crew = Crew::set_out(&logbook, ways, seed);
        Self { logbook, crew, seed }
    }

    /// They come home. What they saw must be linearizable.
    pub async fn end(self, client: &Client) {
        let Self { logbook, crew, seed } = self;
        crew.come_home().await;
        logbook.read_all(client).await;
        tokio::task::spawn_blocking(move || logbook.judge(seed)).await.unwrap();
    }
}

enum Voice {
    Sdk(Client),
    Bare(Bare),
}

/// Sailors under way.
pub struct Crew {
    tasks: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Crew {
    /// They set out, one for each way.
    pub fn set_out(logbook: &Arc<Logbook>, ways: Vec<Way>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sail = |(number, way): (usize, Way)| {
            let number = number as u64 + 1;
            let voice = match way {
                Way::Sdk(client) => Voice::Sdk(client),
                Way::Bare(addresses) => {
                    Voice::Bare(Bare::new(u128::from(seed) << 64 | u128::from(number), addresses))
                }
            };
            let random = Pcg64::seed_from_u64(seed.wrapping_mul(1000) + number);
            let (logbook, stop) = (Arc::clone(logbook), Arc::clone(&stop));
            let seen = BTreeMap::new();
            tokio::spawn(Sailor { number, voice, logbook, random, seen, written: 0 }.sail(stop))
        };
        Self { tasks: ways.into_iter().enumerate().map(sail).collect(), stop }
    }

    /// They end what they are at.
    pub async fn come_home(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

struct Sailor {
    number: u64,
    voice: Voice,
    logbook: Arc<Logbook>,
    random: Pcg64,
    /// The last version that it saw of each key.
    seen: BTreeMap<Bytes, Version>,
    written: u64,
}

impl Sailor {
    async fn sail(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let place = self.draw(PLACES);
            let place = self.logbook.visit(place, if place < LONE_PLACES { 1 } else { TOGETHER });
            let call = self.choose(&place);
            let (number, key) = (self.number, &place.keys[0]);
            let outcome = match &mut self.voice {
                Voice::Sdk(client) => {
                    let id = self.logbook.ask(number, key, call.clone(), None);
                    let outcome = sdk::execute(client, &call).await;
                    self.logbook.answer(id, outcome.clone());
                    outcome
                }
                Voice::Bare(bare) => {
                    let shard = self.logbook.shard(key);
                    bare.execute(&self.logbook, &mut self.random, number, key, shard, &call).await
                }
            };
            if let Outcome::Done(done) = outcome {
                self.note(&call, &done.answer);
            }
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        (self.random.next_u64() % below as u64) as usize
    }

    /// One that nobody else writes.
    fn value(&mut self) -> Bytes {
        self.written += 1;
        format!("{}-{}", self.number, self.written).into()
    }

    fn choose(&mut self, place: &Place) -> Call {
        let together = place.keys.len() > 1;
        let at = self.draw(place.keys.len());
        let key = place.keys[at].clone();
        // Mostly the version that is there, as far as this one knows.
        let expected = self.seen.get(&key).copied().unwrap_or_default();
        let value = self.value();
        match self.draw(if together { 16 } else { 10 }) {
            0..4 => Call::Get { key },
            4..7 => Call::Put { key, value },
            7 | 8 => Call::CompareAndSwap { key, expected, value },
            9 => Call::Delete { key },
            _ if matches!(self.voice, Voice::Bare(_)) => {
                let from = place.keys[0].clone();
                let past = [place.keys[place.keys.len() - 1].as_ref(), b"~"].concat();
                Call::Scan { from, to: Some(past.into()) }
            }
            _ => Call::Txn(self.txn(place, key, expected, value)),
        }
    }

    fn txn(&mut self, place: &Place, key: Bytes, expected: Version, value: Bytes) -> Txn {
        let all =
            |value: &Bytes| place.keys.iter().map(|key| TxnStep::Put(key.clone(), value.clone())).collect();
        let reads: Vec<TxnStep> = place.keys.iter().map(|key| TxnStep::Get(key.clone())).collect();
        let compare = |condition| vec![Compare { key: key.clone(), condition }];
        match self.draw(4) {
            // All of them at once, whatever is there.
            0 => Txn { then: all(&value), ..Txn::default() },
            // All of them if one is as it was seen; else look.
            1 => Txn { compares: compare(Condition::Version(expected)), then: all(&value), otherwise: reads },
            // One goes away if it is there.
            2 => Txn {
                compares: compare(Condition::Exists(true)),
                then: vec![TxnStep::Delete(key.clone())],
                otherwise: vec![TxnStep::Put(key.clone(), value)],
            },
            _ => Txn { then: reads, ..Txn::default() },
        }
    }

    /// Remembers what it saw, to compare with it later.
    fn note(&mut self, call: &Call, answer: &Answer) {
        let version = |seen: &Option<Seen>| seen.as_ref().and_then(|seen| seen.version).unwrap_or_default();
        match (call, answer) {
            (Call::Get { key }, Answer::Got(seen))
            | (Call::CompareAndSwap { key, .. }, Answer::Conflict(seen)) => {
                self.seen.insert(key.clone(), version(seen));
            }
            (Call::Put { key, .. } | Call::CompareAndSwap { key, .. }, Answer::Written(Some(made))) => {
                self.seen.insert(key.clone(), *made);
            }
            (Call::Delete { key }, Answer::Deleted { .. }) => {
                self.seen.insert(key.clone(), Version(0));
            }
            (Call::Txn(txn), Answer::Txn { succeeded, results, .. }) => {
                let steps = if *succeeded { &txn.then } else { &txn.otherwise };
                for (step, result) in steps.iter().zip(results) {
                    if let (TxnStep::Get(key), TxnAnswer::Got(seen)) = (step, result) {
                        self.seen.insert(key.clone(), version(seen));
                    }
                }
            }
            _ => {}
        }
    }
}
