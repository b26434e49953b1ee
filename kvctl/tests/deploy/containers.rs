//! The story of the compose fleet: written to through its routers while a node loses its network, and while every node in turn is
//! stopped and started.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flotilla_client::{Client, Error};
use tokio::task::JoinHandle;

use crate::compose::{Compose, SERVICES};
use crate::images::docker;
use crate::tools::skip;

/// What an operation of the SDK may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The user of the Dockerfile.
const USER: &str = "10001";

/// The image holds Debian and three programs, in bytes.
const IMAGE_BYTES_MAX: u64 = 250 << 20;

/// How many writers there are, and how many keys each goes around.
const WRITERS: u64 = 8;
const KEYS: u64 = 50;

/// The longest wait for more writes.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_of_containers_outlives_a_lost_network_and_a_rolling_restart() {
    let begun = Instant::now();
    let fleet = match Compose::start() {
        Ok(fleet) => fleet,
        Err(reason) => return skip("containers", &reason),
    };
    println!("built and started after {:?}", begun.elapsed());
    for service in SERVICES {
        fleet.healthy(service).await;
    }
    println!("all healthy after {:?}", begun.elapsed());
    image_is_small_and_not_of_root(&fleet);

    let builder = Client::builder(fleet.routers()).through_endpoints(true).deadline(DEADLINE);
    let client = builder.build().await.unwrap();
    let mut writers = Writers::start(&client, "calm");
    writers.progress(500).await;
    // Nothing was restarted or lost so far.
    assert_eq!(writers.failed(), 0);

    fleet.disconnect("node2");
    println!("disconnected after {:?}", begun.elapsed());
    writers.progress(500).await;
    println!("500 more were written after {:?}, {} failed", begun.elapsed(), writers.failed());
    fleet.connect("node2");
    fleet.converged().await;
    println!("reconnected, and the same everywhere, after {:?}", begun.elapsed());
    writers.stop().await.check(&client).await;

    writers = Writers::start(&client, "rolling");
    writers.progress(200).await;
    for service in SERVICES.iter().filter(|service| service.starts_with("node")) {
        fleet.restart(service);
        fleet.healthy(service).await;
        fleet.converged().await;
        writers.progress(200).await;
        println!("{service} was restarted after {:?}, {} failed", begun.elapsed(), writers.failed());
    }
    assert_eq!(writers.failed(), 0, "a rolling restart is not noticed within {DEADLINE:?}");
    writers.stop().await.check(&client).await;
    for service in SERVICES {
        assert_eq!(fleet.health(service), "healthy", "{service}");
    }
    println!("done after {:?}", begun.elapsed());
}

fn image_is_small_and_not_of_root(fleet: &Compose) {
    let bytes: u64 = docker(&["image", "inspect", "--format", "{{.Size}}", fleet.image()]).parse().unwrap();
    println!("the image has {} MiB", bytes >> 20);
    assert!(bytes < IMAGE_BYTES_MAX, "{bytes}");
    for service in SERVICES {
        assert_eq!(docker(&["exec", fleet.container(service), "id", "-u"]), USER, "{service}");
    }
}

/// Writers who go on until they are stopped; each has keys of its own.
struct Writers {
    tasks: Vec<JoinHandle<Kept>>,
    written: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// By key: the last acknowledged number, and later ones that may have been written too.
#[derive(Default)]
struct Kept(BTreeMap<String, (Option<u64>, Vec<u64>)>);

impl Writers {
    fn start(client: &Client, round: &str) -> Self {
        let (written, failed, stop) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let write = |writer| {
            let (client, prefix) = (client.clone(), format!("{round}-{writer}"));
            let (written, failed, stop) = (Arc::clone(&written), Arc::clone(&failed), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut kept = Kept::default();
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let key = format!("{prefix}-{}", number % KEYS);
                    let (acknowledged, unclear) = kept.0.entry(key.clone()).or_default();
                    match client.put(key.clone(), number.to_string()).await {
                        Ok(_) => {
                            *acknowledged = Some(number);
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            println!("{key}: {error}");
                            failed.fetch_add(1, Ordering::Relaxed);
                            if matches!(error, Error::Unknown { .. }) {
                                unclear.push(number);
                            }
                        }
                    }
                }
                kept
            })
        };
        Self { tasks: (0..WRITERS).map(write).collect(), written, failed, stop }
    }

    /// How many writes were refused, or are unclear.
    fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    async fn progress(&self, more: u64) {
        let goal = self.written.load(Ordering::Relaxed) + more;
        let reached = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            while self.written.load(Ordering::Relaxed) < goal {
                look.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{more} more writes in vain"));
    }

    async fn stop(self) -> Kept {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Kept::default();
        for task in self.tasks {
            all.0.extend(task.await.unwrap().0);
        }
        all
    }
}

impl Kept {
    /// Every key holds what was acknowledged last, or one that was unclear after it.
    async fn check(&self, client: &Client) {
        assert!(self.0.len() as u64 == WRITERS * KEYS, "every key was written: {}", self.0.len());
        for (key, (acknowledged, unclear)) in &self.0 {
            let found = client.get(key.clone()).await.unwrap();
            let found = found.map(|found| std::str::from_utf8(&found.bytes).unwrap().parse::<u64>().unwrap());
            let may = found == *acknowledged || found.is_some_and(|found| unclear.contains(&found));
            assert!(may, "{key}: {found:?} is there, {acknowledged:?} was acknowledged, {unclear:?} unclear");
        }
    }
}
