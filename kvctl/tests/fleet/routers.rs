//! Two routers side by side in front of one fleet. Clients of all kinds use both at once, while each router in turn is killed and
//! the other serves, and a leader is killed while only one router lives. What the clients saw is judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flotilla_client::Client;
use flotilla_history::{Answer, Call, Done, OperationId, Outcome, Seen, Version};
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome as Told;
use flotilla_proto::v1::{self, RouteMode, get_response, put_response};
use tokio::task::JoinHandle;

use crate::logbook::Logbook;
use crate::patience::{breath, until};
use crate::pipelines::Pipeline;
use crate::questions::{self, Read, get, put, written};
use crate::router::Router;
use crate::sailors::{Crew, Way};
use crate::stage::{Fleet, Plan};

/// Longer than an election and a restart: no error is truthful for a client who can wait so long and has a living router.
const PATIENT: Duration = Duration::from_secs(20);

/// So short that outcomes stay unknown now and then.
const HASTY: Duration = Duration::from_millis(1_500);

/// So many more operations of each kind are answered between two faults.
const CALM: u64 = 100;

/// Places of the sea that only pipelines visit, past those of the sailors.
const PIPED_PLACES: std::ops::Range<usize> = 10..14;

/// A patient client goes around so many keys.
const STEADY_KEYS: u64 = 50;

/// Clients under way beside the sailors, and how far each kind has come.
struct Company {
    stop: Arc<AtomicBool>,
    /// Answered operations of each.
    counts: Vec<Arc<AtomicU64>>,
    steady: Vec<JoinHandle<BTreeMap<String, u64>>>,
    piped: Vec<JoinHandle<()>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_side_by_side_outlive_each_other_and_a_leader() {
    let mut fleet = Plan::new(3).flag("--flush-interval-ms", "500").start().await;
    let mut routers = [Router::start(&fleet).await, Router::start(&fleet).await];
    let addresses: Vec<String> = routers.iter().map(Router::address).collect();
    let direct = fleet.client(PATIENT).await;
    let logbook = Arc::new(Logbook::new(&direct));
    let ways = vec![
        Way::Sdk(through(&addresses, HASTY).await),
        Way::Sdk(through(&addresses, PATIENT).await),
        Way::Bare(addresses.clone()),
        Way::Bare(addresses.clone()),
        Way::Bare(vec![addresses[0].clone()]),
        Way::Bare(vec![addresses[1].clone()]),
    ];
    let crew = Crew::set_out(&logbook, ways, 1);
    let company = Company::start(&logbook, &addresses).await;
    for (round, shard) in [(0, 1), (1, 2)] {
        company.progress().await;
        each_reads_what_the_other_wrote(&addresses, round).await;
        routers[round].kill();
        company.progress().await;
        let old = fleet.leader(shard).await.node;
        fleet.kill(old);
        fleet.led_by_another(shard, old).await;
        company.progress().await;
        fleet.restart(old);
        routers[round].restart().await;
        fleet.ready().await;
    }
    company.progress().await;
    each_reads_what_the_other_wrote(&addresses, 2).await;
    crew.come_home().await;
    company.end(&fleet).await;
    logbook.read_all(&direct).await;
    tokio::task::spawn_blocking(move || logbook.judge(1)).await.unwrap();
}

/// A client that knows both routers and nothing else.
async fn through(routers: &[String], deadline: Duration) -> Client {
    let builder = Client::builder(routers.to_vec()).through_endpoints(true);
    builder.deadline(deadline).build().await.unwrap()
}

/// Both serve at this moment, and neither keeps anything to itself.
async fn each_reads_what_the_other_wrote(routers: &[String], round: usize) {
    for (writer, reader) in [(0, 1), (1, 0)] {
        for number in 0..16 {
            let (key, value) = (format!("between-{writer}-{number}"), format!("round {round}"));
            let kv = async |at: usize| questions::kv(questions::connect(&routers[at]).await.unwrap());
            written(kv(writer).await.put(put(key.clone(), value.clone())).await);
            let read = Read::from(kv(reader).await.get(get(&key, RouteMode::Proxy)).await);
            assert_eq!(read, Read::Value(Some(value)), "{key} by way of {}", routers[reader]);
        }
    }
}

impl Company {
    /// Two patient clients, each with both routers, and two streams, one to each.
    async fn start(logbook: &Arc<Logbook>, routers: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Vec<_> = (0..4).map(|_| Arc::<AtomicU64>::default()).collect();
        let mut company = Self { stop, counts, steady: Vec::new(), piped: Vec::new() };
        for at in 0..2 {
            let client = through(routers, PATIENT).await;
            let (count, stop) = (Arc::clone(&company.counts[at]), Arc::clone(&company.stop));
            company.steady.push(tokio::spawn(steady(client, at, count, stop)));
            let mut routers = routers.to_vec();
            routers.rotate_left(at);
            let piper = Piper { who: 100 + at as u64, logbook: Arc::clone(logbook), routers };
            let (count, stop) = (Arc::clone(&company.counts[2 + at]), Arc::clone(&company.stop));
            company.piped.push(tokio::spawn(piper.pipe(count, stop)));
        }
        company
    }

    /// Waits until every one of them has come further.
    async fn progress(&self) {
        for (at, count) in self.counts.iter().enumerate() {
            let goal = count.load(Ordering::Relaxed) + CALM;
            let reached = async || {
                // One that has failed says so at once, not when patience is over.
                let ended = self.steady.iter().any(JoinHandle::is_finished)
                    || self.piped.iter().any(JoinHandle::is_finished);
                assert!(!ended, "a client has ended");
                (count.load(Ordering::Relaxed) >= goal).then_some(())
            };
            until(&format!("client {at} is answered"), reached).await;
        }
    }

    /// Lets them end, and reads what the patient ones wrote, past all routers.
    async fn end(self, fleet: &Fleet) {
        self.stop.store(true, Ordering::Relaxed);
        for piped in self.piped {
            piped.await.unwrap();
        }
        let direct = fleet.client(PATIENT).await;
        for steady in self.steady {
            for (key, number) in steady.await.unwrap() {
                let found = direct.get(key.clone()).await.unwrap().map(|found| found.bytes);
                assert_eq!(found.as_deref(), Some(number.to_string().as_bytes()), "{key}");
            }
        }
    }
}

/// Writes and reads back without end. It has a living router all the time, and keeps its request ids over the death of the other:
/// every operation is answered.
async fn steady(
    client: Client,
    who: usize,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> BTreeMap<String, u64> {
    let mut written = BTreeMap::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("steady-{who}-{}", number % STEADY_KEYS);
        let made = client.put(key.clone(), number.to_string()).await;
        let version = made.unwrap_or_else(|error| panic!("put {number} of {key}: {error}"));
        let found = client.get(key.clone()).await.unwrap_or_else(|error| panic!("get of {key}: {error}"));
        let found = found.unwrap_or_else(|| panic!("{key} is gone"));
        assert_eq!((&found.bytes[..], found.version), (number.to_string().as_bytes(), version), "{key}");
        written.insert(key, number);
        count.fetch_add(1, Ordering::Relaxed);
    }
    written
}

/// Speaks `Kv.Pipeline` itself: to the first router, and when the stream ends to the next.
struct Piper {
    who: u64,
    logbook: Arc<Logbook>,
    routers: Vec<String>,
}

impl Piper {
    async fn pipe(mut self, count: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            if let Some(mut pipeline) = Pipeline::try_open(&self.routers[0]).await {
                while !stop.load(Ordering::Relaxed) && self.round(&mut pipeline, round, &count).await {
                    round += 1;
                }
            }
            // A round that was not answered is not the next one's: its values are written once.
            round += 1;
            self.routers.rotate_left(1);
            breath().await;
        }
    }

    /// One message: a write and a read of each place. Whether the stream answered all of it.
    async fn round(&self, pipeline: &mut Pipeline, round: u64, count: &AtomicU64) -> bool {
        let mut asked: BTreeMap<u64, OperationId> = BTreeMap::new();
        let mut batch = Vec::new();
        for place in PIPED_PLACES {
            let value = format!("{}-{round}-{place}", self.who);
            for writes in [true, false] {
                let key = self.logbook.visit(place, 1).keys.remove(0);
                let name = String::from_utf8(key.to_vec()).unwrap();
                let (call, operation) = if writes {
                    let call = Call::Put { key: key.clone(), value: value.clone().into() };
                    (call, Operation::Put(put(key.clone(), value.clone())))
                } else {
                    (Call::Get { key: key.clone() }, Operation::Get(get(&name, RouteMode::Proxy)))
                };
                let id = batch.len() as u64;
                asked.insert(id, self.logbook.ask(self.who * 1000 + id, &key, call, None));
                batch.push((id, operation));
            }
        }
        let mut told = pipeline.try_ask(batch).await;
        let all = told.len() == asked.len();
        for (id, operation) in asked {
            let outcome = told.remove(&id).map_or(Outcome::Unknown, outcome);
            count.fetch_add(u64::from(matches!(outcome, Outcome::Done(_))), Ordering::Relaxed);
            self.logbook.answer(operation, outcome);
        }
        all
    }
}

fn outcome(told: Told) -> Outcome {
    match told {
        Told::Put(v1::PutResponse { outcome: Some(put_response::Outcome::Result(it)) }) => {
            Outcome::Done(Done::of(Answer::Written(Some(Version(it.version)))))
        }
        Told::Get(v1::GetResponse { outcome: Some(get_response::Outcome::Result(it)) }) => {
            let seen = |record: v1::Record| Seen {
                value: Some(record.value),
                version: Some(Version(record.version)),
            };
            Outcome::Done(Done::of(Answer::Got(it.record.map(seen))))
        }
        Told::Failure(failure) if failure.detail.as_ref().is_some_and(|detail| detail.definite) => {
            Outcome::NotExecuted
        }
        Told::Failure(_) => Outcome::Unknown,
        other => panic!("not what PROXY promises: {other:?}"),
    }
}
