//! Writes on the way: the steady load on all shards, and the probe on one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flotilla_client::Client;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::demo::gap::Acknowledged;
use crate::demo::keys::{self, Tag};
use crate::demo::ledger::Ledger;

/// Between two writes of the steady load: 1,000 in a second, spread over all shards.
const LOAD_INTERVAL: Duration = Duration::from_millis(1);

/// Between two writes of the probe: what a gap is measured in.
const PROBE_INTERVAL: Duration = Duration::from_millis(2);

/// Writes under way at once: during a failover they pile up.
const IN_FLIGHT_MAX: usize = 4096;

/// What all writers share.
#[derive(Debug)]
pub struct Writers {
    client: Client,
    ledger: Ledger,
    number: AtomicU64,
    in_flight: Semaphore,
}

impl Writers {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(client: Client) -> Arc<Self> {
        let (number, in_flight) = (AtomicU64::new(1), Semaphore::new(IN_FLIGHT_MAX));
        Arc::new(Self { client, ledger: Ledger::default(), number, in_flight })
    }

    /// What they have achieved.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Through which they write.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Writes one fresh key of this tag.
    async fn write(&self, tag: &Tag) -> Option<Acknowledged> {
        let Ok(_permit) = self.in_flight.acquire().await else { return None };
        let key = tag.key(self.number.fetch_add(1, Ordering::Relaxed));
        let began = Instant::now();
        match self.client.put(key.clone(), keys::value(&key)).await {
            Ok(_) => {
                let ended = Instant::now();
                self.ledger.acknowledge(key);
                Some(Acknowledged { began, ended })
            }
            Err(flotilla_client::Error::Unknown { .. }) => {
                self.ledger.wonder();
                None
            }
            Err(_) => {
                self.ledger.refuse();
                None
            }
        }
    }

    /// Writes to these tags in turn, at the pace of `every`, whether or not earlier writes have been answered: until `stop`
    /// fires. Then waits for what is under way.
    async fn pace(
        self: Arc<Self>,
        tags: Vec<Tag>,
        every: Duration,
        mut stop: oneshot::Receiver<()>,
        acknowledged: Option<mpsc::UnboundedSender<Acknowledged>>,
    ) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut under_way = JoinSet::new();
        for tag in tags.iter().cycle() {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = &mut stop => break,
            }
            let (writers, tag, acknowledged) = (Arc::clone(&self), tag.clone(), acknowledged.clone());
            under_way.spawn(async move {
                if let (Some(write), Some(acknowledged)) = (writers.write(&tag).await, acknowledged) {
                    // A closed receiver wants no more moments; the ledger has the write.
                    let _ = acknowledged.send(write);
                }
            });
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
    }
}

/// Writers on their way, until they are stopped or dropped.
#[derive(Debug)]
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// The steady load on all shards.
    #[must_use]
    pub fn load(writers: &Arc<Writers>, tags: Vec<Tag>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(Arc::clone(writers).pace(tags, LOAD_INTERVAL, stopped, None)) }
    }

    /// The probe on one shard, and the moments of its acknowledged writes.
    #[must_use]
    pub fn probe(writers: &Arc<Writers>, tag: Tag) -> (Self, mpsc::UnboundedReceiver<Acknowledged>) {
        let (stop, stopped) = oneshot::channel();
        let (sender, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(Arc::clone(writers).pace(vec![tag], PROBE_INTERVAL, stopped, Some(sender)));
        (Self { stop, task }, receiver)
    }

    /// Starts no more writes, and waits until those under way have ended.
    pub async fn stop(self) {
        drop(self.stop);
        // It fails only by a panic of a writer, which has been reported on stderr.
        let _ = self.task.await;
    }
}
