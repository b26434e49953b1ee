//! Real partitions: every node on a host of its own, links cut in one direction or in both, and healed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flotilla_proto::v1::{Consistency, RouteMode};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::ledger::Writers;
use crate::linearizable::number;
use crate::logbook::Logbook;
use crate::network::{Cut, Network, story};
use crate::patience::{breath, until};
use crate::process::program;
use crate::questions::{self, Read, get};
use crate::sailors::{Crew, Way};
use crate::stage::{Fleet, Plan};

/// Longer than an election, and than TCP's patience with a link that was cut for a while.
const PATIENT: Duration = Duration::from_secs(20);

/// So that outcomes stay unknown now and then.
const HASTY: Duration = Duration::from_millis(1_500);

/// How often the leader of the day is cut off.
const ROUNDS: u64 = 3;

/// How many clients ask the old leader at a time.
const ASKERS: usize = 8;

/// How many reads are begun at the old leader after the majority acknowledged a newer value.
const ASKED: u64 = 100;

/// How long one of them waits for an answer.
const ANSWER: Duration = Duration::from_millis(500);

/// For how long links are cut and healed in the recorded story, in seconds; `FLOTILLA_PARTITION_SECONDS` says otherwise.
const SECONDS: u64 = 15;

/// So many operations are answered between two faults.
const CALM: usize = 200;

const KEY: &str = "captain";

#[test]
fn a_leader_cut_off_never_answers_with_the_past() {
    story(3, async |network| {
        let mut fleet = Plan::new(3).shards(1).across(&network).start().await;
        let client = fleet.client(PATIENT).await;
        let mut newest = 0;
        for _ in 0..ROUNDS {
            newest += 1;
            client.put(KEY, newest.to_string()).await.unwrap();
            let old = fleet.leader(1).await.node;
            let asked = Arc::new(Asked::since(newest));
            let minority = askers(&network, &fleet, old, &asked);
            until("the leader serves those beside it", async || asked.some(&asked.values)).await;

            network.cut(old, Cut::Both);
            fleet.led_by_another(1, old).await;
            newest += 1;
            client.put(KEY, newest.to_string()).await.unwrap();
            asked.know(newest);
            let goal = asked.begun.load(Ordering::Relaxed) + ASKED;
            let enough = async || (asked.begun.load(Ordering::Relaxed) >= goal).then_some(());
            until("the old leader was asked", enough).await;
            // It stands, it is reached, and it has the old value: only that it is asked for the newest keeps it silent.
            until("a stale read is answered", async || asked.some(&asked.stale)).await;
            let address = fleet.address(old);
            network.ashore(old, async move || refused(&address)).await.unwrap();

            network.heal(old);
            fleet.converged().await;
            let healed = asked.values.load(Ordering::Relaxed) + asked.sent_on.load(Ordering::Relaxed);
            let serves = async || {
                let answers = asked.values.load(Ordering::Relaxed) + asked.sent_on.load(Ordering::Relaxed);
                (answers > healed).then_some(())
            };
            until("who was cut off serves again", serves).await;
            asked.stop.store(true, Ordering::Relaxed);
            minority.await.unwrap();
            println!("host {old}: {asked:?}");
            let found = client.get(KEY).await.unwrap().unwrap();
            assert_eq!(found.bytes, newest.to_string(), "what the minority was given took effect");
        }
    });
}

/// What clients of one node asked, and were answered.
#[derive(Debug, Default)]
struct Asked {
    /// The newest value of which it is known that it was acknowledged.
    newest: AtomicU64,
    /// Linearizable reads that were begun since then.
    begun: AtomicU64,
    values: AtomicU64,
    sent_on: AtomicU64,
    failed: AtomicU64,
    silent: AtomicU64,
    /// Stale reads that were answered with a value that is not the newest.
    stale: AtomicU64,
    stop: AtomicBool,
}

impl Asked {
    fn since(newest: u64) -> Self {
        Self { newest: newest.into(), ..Self::default() }
    }

    fn know(&self, newest: u64) {
        self.newest.store(newest, Ordering::Relaxed);
    }

    fn some(&self, count: &AtomicU64) -> Option<()> {
        (count.load(Ordering::Relaxed) > 0).then_some(())
    }

    /// One linearizable read, judged, and one that may be stale.
    async fn ask(&self, channel: Channel) {
        let mut kv = questions::kv(channel);
        let floor = self.newest.load(Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        let answer = tokio::time::timeout(ANSWER, kv.get(get(KEY, RouteMode::Redirect))).await;
        let count = match answer.map(Read::from) {
            Ok(Read::Value(value)) => {
                let value: u64 = value.expect("the key is there").parse().unwrap();
                assert!(
                    value >= floor,
                    "a stale read: {value}, but {floor} was acknowledged before it began"
                );
                &self.values
            }
            Ok(Read::Redirected(_)) => &self.sent_on,
            Ok(Read::Failed(_)) => &self.failed,
            Err(_) => &self.silent,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let mut request = get(KEY, RouteMode::Redirect);
        request.consistency = Consistency::Stale.into();
        let answer = tokio::time::timeout(ANSWER, kv.get(request)).await;
        if let Ok(Read::Value(Some(value))) = answer.map(Read::from)
            && value.parse::<u64>().unwrap() < floor
        {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Clients who live beside a node, and ask it over and over.
fn askers(network: &Arc<Network>, fleet: &Fleet, id: u64, asked: &Arc<Asked>) -> tokio::task::JoinHandle<()> {
    let (address, asked) = (fleet.address(id), Arc::clone(asked));
    network.ashore(id, async move || {
        let ask = async || {
            let channel = questions::connect(&address).await.expect("the node is on this very host");
            while !asked.stop.load(Ordering::Relaxed) {
                asked.ask(channel.clone()).await;
                // A refusal comes at once, and the machine has other things to do.
                breath().await;
            }
        };
        futures_util::future::join_all((0..ASKERS).map(|_| ask())).await;
    })
}

/// `kvctl` beside a node of the minority gets nothing, and nothing is written.
fn refused(address: &str) {
    for verb in [&["get", KEY][..], &["put", KEY, "0"]] {
        let mut command = program();
        command.args(["--endpoint", address, "--timeout", "1s"]).args(verb);
        let output = command.output().unwrap();
        let code = output.status.code();
        assert!(matches!(code, Some(3 | 4)), "{verb:?}: {code:?}, {output:?}");
        assert!(output.stdout.is_empty(), "{verb:?}: {output:?}");
    }
}

#[test]
fn a_leader_that_is_deaf_or_mute_is_replaced() {
    story(3, async |network| {
        let mut fleet = Plan::new(3).across(&network).start().await;
        let client = fleet.client(PATIENT).await;
        let writers = Writers::start(&client, "link", 8);
        for (shard, cut) in [(1, Cut::Deaf), (2, Cut::Mute), (3, Cut::Both), (0, Cut::Deaf)] {
            writers.progress(200).await;
            let old = fleet.leader(shard).await;
            let begun = Instant::now();
            network.cut(old.node, cut);
            let new = fleet.led_by_another(shard, old.node).await;
            assert!(new.term > old.term, "shard {shard}: {old:?}, then {new:?}");
            let led = begun.elapsed();
            writers.progress(200).await;
            let written = begun.elapsed();
            network.heal(old.node);
            let begun = Instant::now();
            fleet.ready().await;
            println!("{cut:?}: led in {led:?}, 200 writes in {written:?}, healed in {:?}", begun.elapsed());
        }
        let promises = writers.stop().await;
        println!("{} keys, {} operations failed", promises.kept(), promises.failed);
        fleet.converged().await;
        promises.check(&client).await;
    });
}

#[test]
fn what_clients_on_all_sides_of_partitions_saw_is_linearizable() {
    let (seed, seconds) = (number("FLOTILLA_SEED", 1), number("FLOTILLA_PARTITION_SECONDS", SECONDS));
    println!("FLOTILLA_SEED={seed} FLOTILLA_PARTITION_SECONDS={seconds}");
    story(3, async move |network| {
        let mut fleet = Plan::new(3).across(&network).flag("--flush-interval-ms", "500").start().await;
        let client = fleet.client(PATIENT).await;
        let logbook = Arc::new(Logbook::new(&client));
        let nodes: Vec<String> = fleet.ids().into_iter().map(|id| fleet.address(id)).collect();
        let ways = vec![Way::Sdk(fleet.client(HASTY).await), Way::Bare(nodes.clone()), Way::Bare(nodes)];
        let crew = Crew::set_out(&logbook, ways, seed);
        // And one beside each node, who knows no other.
        let (home, ashore) = watch::channel(());
        let beside = fleet.ids().into_iter().map(|id| {
            let (address, logbook, mut ashore) = (fleet.address(id), Arc::clone(&logbook), ashore.clone());
            network.ashore(id, async move || {
                let crew = Crew::set_out(&logbook, vec![Way::Bare(vec![address])], seed + 100 * id);
                // An error: whoever called them home is gone.
                drop(ashore.changed().await);
                crew.come_home().await;
            })
        });
        let beside: Vec<_> = beside.collect();
        let mut random = Pcg64::seed_from_u64(seed);
        let faults = trouble(&mut fleet, &network, &logbook, &mut random, Duration::from_secs(seconds)).await;
        home.send(()).unwrap();
        crew.come_home().await;
        for crew in beside {
            crew.await.unwrap();
        }
        println!("{faults:?}");
        fleet.converged().await;
        logbook.read_all(&client).await;
        tokio::task::spawn_blocking(move || logbook.judge(seed)).await.unwrap();
    });
}

/// How many of each fault there were.
#[derive(Debug, Default)]
struct Faults {
    off: u32,
    between: u32,
    one_way: u32,
}

/// One link after the other is cut and healed; the leader of a shard is at one end of it.
async fn trouble(
    fleet: &mut Fleet,
    network: &Network,
    logbook: &Logbook,
    random: &mut Pcg64,
    how_long: Duration,
) -> Faults {
    let mut draw = |below: u64| random.next_u64() % below;
    let begun = Instant::now();
    let mut faults = Faults::default();
    while begun.elapsed() < how_long {
        calm(logbook).await;
        let shard = draw(5);
        let old = fleet.leader(shard).await.node;
        let peers: Vec<u64> = fleet.ids().into_iter().filter(|id| *id != old).collect();
        let cut = [Cut::Both, Cut::Deaf, Cut::Mute][draw(3) as usize];
        faults.one_way += u32::from(cut != Cut::Both);
        match draw(4) {
            // From everybody, but for its neighbour on the host.
            0 => {
                network.cut(old, cut);
                fleet.led_by_another(shard, old).await;
                faults.off += 1;
            }
            // From its peers; clients reach all of them.
            1 | 2 => {
                peers.iter().for_each(|peer| network.part(old, cut, *peer));
                fleet.led_by_another(shard, old).await;
                faults.between += 1;
            }
            // From one of them: a majority remains on both sides of the link, and whoever leads may go on.
            _ => {
                network.part(old, cut, peers[draw(2) as usize]);
                faults.between += 1;
            }
        }
        calm(logbook).await;
        network.heal(old);
        fleet.ready().await;
    }
    faults
}

/// Life goes on for a while.
async fn calm(logbook: &Logbook) {
    let goal = logbook.answered() + CALM;
    until("operations are answered", async || (logbook.answered() >= goal).then_some(())).await;
}
