//! Leaders are killed and frozen, nodes and the router restarted, while clients of all kinds go on; what they saw is judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flotilla_client::{Client, Error, Swap};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use tokio::task::JoinHandle;

use crate::logbook::Logbook;
use crate::patience::{breath, until};
use crate::router::Router;
use crate::sailors::{Crew, Way};
use crate::stage::{Fleet, Plan};

/// Longer than an election and a restart.
const PATIENT: Duration = Duration::from_secs(20);

/// Shorter than the SDK's own deadline by default, so that outcomes stay unknown now and then.
const HASTY: Duration = Duration::from_millis(1_500);

/// So many operations are answered between two faults.
const CALM: usize = 300;

/// For how long faults are made, in seconds; `FLOTILLA_HISTORY_SECONDS` says otherwise.
const SECONDS: u64 = 25;

/// How often a leader is killed or frozen, in ms, ready or not; `FLOTILLA_FAULT_EVERY_MS` says so. 0: one fault is
/// overcome before the next.
const EVERY_MS: u64 = 0;

/// The key that is only ever incremented.
const COUNTER: &str = "counter";

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_saw_is_linearizable_while_leaders_die_and_freeze() {
    let (seed, seconds) = (number("FLOTILLA_SEED", 1), number("FLOTILLA_HISTORY_SECONDS", SECONDS));
    println!("FLOTILLA_SEED={seed} FLOTILLA_HISTORY_SECONDS={seconds}");
    let mut fleet = Plan::new(3).flag("--flush-interval-ms", "500").start().await;
    let mut router = Router::start(&fleet).await;
    let client = fleet.client(PATIENT).await;
    let logbook = Arc::new(Logbook::new(&client));
    let nodes: Vec<String> = fleet.ids().into_iter().map(|id| fleet.address(id)).collect();
    let ways = vec![
        Way::Sdk(fleet.client(HASTY).await),
        Way::Sdk(fleet.client(HASTY).await),
        Way::Sdk(router.client(HASTY).await),
        Way::Sdk(router.client(HASTY).await),
        Way::Bare(nodes.clone()),
        Way::Bare(nodes),
        Way::Bare(vec![router.address()]),
        Way::Bare(vec![router.address()]),
    ];
    let crew = Crew::set_out(&logbook, ways, seed);
    let counters = Counters::start([fleet.client(HASTY).await, router.client(HASTY).await]);
    let mut random = Pcg64::seed_from_u64(seed);
    let how_long = Duration::from_secs(seconds);
    let faults = match number("FLOTILLA_FAULT_EVERY_MS", EVERY_MS) {
        0 => trouble(&mut fleet, &mut router, &logbook, &mut random, how_long).await,
        every_ms => beats(&mut fleet, &mut random, Duration::from_millis(every_ms), how_long).await,
    };
    crew.come_home().await;
    let (acknowledged, unknown) = counters.stop().await;
    fleet.ready().await;
    logbook.read_all(&client).await;

    let counted = read_counter(&client).await.unwrap().0;
    println!("{faults:?}; counter {counted}: {acknowledged} increments acknowledged, {unknown} unknown");
    assert!(acknowledged > 0, "nobody counted");
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&counted),
        "an increment was lost, or applied twice"
    );
    tokio::task::spawn_blocking(move || logbook.judge(seed)).await.unwrap();
}

/// What an environment variable says.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// How many of each fault there were.
#[derive(Debug, Default)]
struct Faults {
    killed: u32,
    frozen: u32,
    restarted: u32,
    routers: u32,
}

/// One fault after the other, each undone before the next: never more than a minority is away.
async fn trouble(
    fleet: &mut Fleet,
    router: &mut Router,
    logbook: &Logbook,
    random: &mut Pcg64,
    how_long: Duration,
) -> Faults {
    let begun = Instant::now();
    let mut faults = Faults::default();
    while begun.elapsed() < how_long {
        calm(logbook).await;
        // The meta shard's leader too.
        let shards: Vec<u64> = fleet.shards().collect();
        let shard = shards[(random.next_u64() % shards.len() as u64) as usize];
        let old = fleet.leader(shard).await.node;
        match random.next_u64() % 8 {
            0..3 => {
                fleet.kill(old);
                fleet.led_by_another(shard, old).await;
                calm(logbook).await;
                fleet.restart(old);
                faults.killed += 1;
            }
            3..6 => {
                fleet.freeze(old);
                fleet.led_by_another(shard, old).await;
                calm(logbook).await;
                fleet.thaw(old);
                faults.frozen += 1;
            }
            6 => {
                let follower = fleet.ids().into_iter().find(|id| *id != old).unwrap();
                fleet.kill(follower);
                fleet.restart(follower);
                faults.restarted += 1;
            }
            _ => {
                router.replace().await;
                faults.routers += 1;
            }
        }
        fleet.ready().await;
    }
    faults
}

/// A leader is killed, and started again at once, or frozen for half a beat, at every beat: whether or not the fleet is over
/// the fault before. Now and then there is no majority, for a moment.
async fn beats(fleet: &mut Fleet, random: &mut Pcg64, every: Duration, how_long: Duration) -> Faults {
    let begun = Instant::now();
    let mut faults = Faults::default();
    let mut half = tokio::time::interval(every / 2);
    while begun.elapsed() < how_long {
        half.tick().await;
        let shards: Vec<u64> = fleet.shards().collect();
        let leader = fleet.leader_now(shards[(random.next_u64() % shards.len() as u64) as usize]).await;
        match leader.map(|leader| leader.node) {
            Some(node) if random.next_u64().is_multiple_of(2) => {
                fleet.kill(node);
                fleet.restart(node);
                faults.killed += 1;
                half.tick().await;
            }
            Some(node) => {
                fleet.freeze(node);
                faults.frozen += 1;
                half.tick().await;
                fleet.thaw(node);
            }
            None => {}
        }
    }
    faults
}

/// Life goes on for a while.
async fn calm(logbook: &Logbook) {
    let goal = logbook.answered() + CALM;
    until("operations are answered", async || (logbook.answered() >= goal).then_some(())).await;
}

/// Who counts, by comparing and swapping; nothing is written down but how often it was done.
struct Counters {
    tasks: Vec<JoinHandle<(u64, u64)>>,
    stop: Arc<AtomicBool>,
}

impl Counters {
    fn start(clients: [Client; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = |client: Client| tokio::spawn(count(client, Arc::clone(&stop)));
        Self { tasks: clients.into_iter().map(count).collect(), stop }
    }

    /// How many increments were acknowledged, and of how many nobody knows.
    async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = (0, 0);
        for task in self.tasks {
            let (acknowledged, unknown) = task.await.unwrap();
            all = (all.0 + acknowledged, all.1 + unknown);
        }
        all
    }
}

async fn count(client: Client, stop: Arc<AtomicBool>) -> (u64, u64) {
    let (mut acknowledged, mut unknown) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        // Nobody needs more than a few of these: the sailors are the load.
        breath().await;
        let Ok((counted, version)) = read_counter(&client).await else { continue };
        match client.compare_and_swap(COUNTER, version, (counted + 1).to_string()).await {
            Ok(Swap::Swapped(_)) => acknowledged += 1,
            Ok(Swap::Conflict(_)) | Err(Error::NotExecuted { .. }) => {}
            Err(Error::Unknown { .. }) => unknown += 1,
            Err(error @ Error::Invalid { .. }) => panic!("{error}"),
        }
    }
    (acknowledged, unknown)
}

/// The number, and its version.
async fn read_counter(client: &Client) -> Result<(u64, u64), Error> {
    let found = client.get(COUNTER).await?;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse().unwrap();
    Ok(found.map_or((0, 0), |found| (text(&found.bytes), found.version)))
}
