//! A scrape: gauges are brought up to date, then everything is written down.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flotilla_daemon::causes::Causes;
use flotilla_store::disk::Room;
use flotilla_topology::ShardId;
use tokio::sync::{Mutex, watch};

use super::last_answer::LastAnswer;
use super::{NodeMetrics, Stored};
use crate::host::ReplicaStatus;
use crate::runtime::{NewestMap, Runtime};
use crate::transport::Transport;

/// How long a scrape waits for the workers; then it shows what they said last time.
const WORKERS_PATIENCE: Duration = Duration::from_secs(1);

/// Answers scrapes. Can be asked from the first moment of a node; before its threads run it shows only the process.
#[derive(Clone, Debug)]
pub struct Scraper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Arc<NodeMetrics>,
    sources: OnceLock<Sources>,
    base: LastAnswer<BTreeMap<ShardId, Stored>>,
    room: LastAnswer<Option<Room>>,
    /// One scrape at a time: a second one waits, and then finds everything fresh.
    turn: Mutex<()>,
}

/// Whom a scrape asks.
#[derive(Debug)]
struct Sources {
    runtime: Arc<Runtime>,
    transport: Transport,
    map: watch::Receiver<NewestMap>,
}

impl Scraper {
    /// A scraper of a node without threads.
    #[must_use]
    pub fn new(metrics: Arc<NodeMetrics>) -> Self {
        let (base, room) = (LastAnswer::of("the base"), LastAnswer::of("the disk"));
        let (sources, turn) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Shared { metrics, sources, base, room, turn }))
    }

    /// The node runs. Only the first call counts.
    pub fn open(&self, runtime: Arc<Runtime>, transport: Transport, map: watch::Receiver<NewestMap>) {
        drop(self.0.sources.set(Sources { runtime, transport, map }));
    }

    /// The text of a scrape.
    pub async fn scrape(&self) -> String {
        let shared = &self.0;
        let _turn = shared.turn.lock().await;
        shared.metrics.process.refresh();
        if let Some(sources) = shared.sources.get() {
            shared.refresh(sources).await;
        }
        let metrics = Arc::clone(&shared.metrics);
        // With many replicas the text is long: it is not written on a thread that serves.
        let text = tokio::task::spawn_blocking(move || metrics.registry.render()).await;
        text.unwrap_or_else(|failure| panic!("rendering: {failure}"))
    }
}

impl Shared {
    async fn refresh(&self, sources: &Sources) {
        let metrics = &self.metrics;
        let epoch = sources.map.borrow().as_ref().map_or(0, |map| map.epoch.0);
        metrics.show_load(sources.runtime.load(), epoch);
        metrics.show_peers(&sources.transport.peers());
        metrics.snapshots.show(sources.transport.snapshot_counts());
        metrics.quarantine.show(&sources.runtime.quarantine().all());
        let runtime = Arc::clone(&sources.runtime);
        let room = self.room.read(move || runtime.room().map(Some).map_err(|error| error.to_string()));
        metrics.load.show_room(room.await);
        // An error says that the node ends; the last numbers stand.
        let asked = tokio::time::timeout(WORKERS_PATIENCE, sources.runtime.replicas()).await;
        let Ok(Ok(replicas)) = asked else { return };
        let stored = self.stored(sources, &replicas).await;
        let dirty: usize = replicas.iter().map(|replica| replica.overlay_bytes).sum();
        metrics.load.overlay_bytes.set(dirty as f64);
        metrics.show_sleep(&replicas);
        metrics.shards.show(&replicas, &stored, &metrics.ops);
    }

    async fn stored(&self, sources: &Sources, replicas: &[ReplicaStatus]) -> BTreeMap<ShardId, Stored> {
        let shards: Vec<ShardId> = replicas.iter().map(|replica| replica.shard).collect();
        let runtime = Arc::clone(&sources.runtime);
        self.base.read(move || read_shards(&runtime, shards)).await
    }
}

fn read_shards(runtime: &Runtime, shards: Vec<ShardId>) -> Result<BTreeMap<ShardId, Stored>, String> {
    let view = runtime.view();
    let mut numbers = BTreeMap::new();
    for shard in shards {
        let stats = flotilla_store::stats(&view, shard).map_err(|failure| Causes(&failure).to_string())?;
        // Before the first flush the base has nothing to say of a shard: it holds no key of it.
        let keys = stats.map(|stats| stats.keys);
        let stored = keys.map_or_else(Stored::default, |keys| Stored { keys: keys.keys, bytes: keys.bytes });
        numbers.insert(shard, stored);
    }
    Ok(numbers)
}
