//! What a node counts, and how it is shown.
//!
//! ```text
//!   worker's task ─ events of the host ─► ShardEvents (kept handles)  ┐
//!   api ─ what became of a request ─────► OpTable (an array)          ├─► Scraper: asks the workers and the transport
//!   log thread, flusher, disk ──────────► NodeMetrics (kept handles)  ┘   how they are, sets the gauges, renders
//! ```
//!
//! Counters are counted where they happen; a gauge that somebody knows anyway (a term, a queue's length) is asked for when
//! somebody scrapes, and costs nothing between. The deterministic host counts nothing: it says what happened, as data.
//!
//! Reading order: `ops.rs`, `shards.rs`, `scraper.rs`. Names and help texts stand in `daemon/src/metrics/families.rs`.
//!
//! What it does not do: it keeps no history and no rates. That is the work of whoever scrapes.

mod last_answer;
mod ops;
mod quarantine;
mod scraper;
mod shards;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use flotilla_daemon::metrics::{ProcessMetrics, Registry, Scope};
use flotilla_store::disk::Room;
use flotilla_topology::{NodeId, ShardId};
use metrics::{Counter, Gauge, Histogram};

pub use ops::{Op, OpCounters, OpTable, Outcome};
pub use scraper::Scraper;
pub use shards::{ShardEvents, Shards, Stored};

use crate::host::{Event, ReplicaStatus, Wakeup};
use crate::runtime::Load;
use crate::transport::PeerStatus;
use quarantine::QuarantineSeries;
use shards::OpSeries;
use snapshots::SnapshotMetrics;

/// All that one node counts.
#[derive(Debug)]
pub struct NodeMetrics {
    registry: Registry,
    process: ProcessMetrics,
    scope: Scope,
    /// What the log thread counts.
    pub log: LogMetrics,
    /// How long the flusher took to write an overlay into the base.
    pub flush_seconds: Histogram,
    /// What became of requests.
    pub ops: OpTable,
    /// The replicas.
    pub shards: Shards,
    quarantine: QuarantineSeries,
    sleep: SleepMetrics,
    snapshots: SnapshotMetrics,
    unplaced: Mutex<OpSeries>,
    peers: Mutex<BTreeMap<NodeId, PeerSeries>>,
    load: LoadGauges,
}

/// What is counted of the shared log.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    /// How long the syncs of its files took.
    pub fsync_seconds: Histogram,
    batch_bytes: Histogram,
    batch_shards: Histogram,
    segments: Gauge,
    bytes: Gauge,
    live_bytes: Gauge,
}

#[derive(Debug)]
struct LoadGauges {
    inbox_bytes: Gauge,
    overlay_bytes: Gauge,
    requests_waiting: Gauge,
    reads_queued: Gauge,
    flush_jobs: Gauge,
    log_batches: Gauge,
    epoch: Gauge,
    disk_free_bytes: Gauge,
    disk_total_bytes: Gauge,
}

/// The series of one peer: it may leave the map.
#[derive(Debug)]
struct PeerSeries {
    sent_bytes: Counter,
    sent_frames: Counter,
    received_bytes: Counter,
    received_frames: Counter,
    dropped: Counter,
    connected: Gauge,
    _scope: Scope,
}

impl NodeMetrics {
    /// The metrics of a node that starts now. May take 200 ms: see [`Registry::new`].
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let process = ProcessMetrics::new(&registry, crate::VERSION, crate::COMMIT);
        let scope = registry.scope();
        let gauge = |name| scope.gauge(name, &[]);
        Self {
            log: LogMetrics::new(&scope),
            flush_seconds: scope.histogram("kv_flush_seconds", &[]),
            ops: OpTable::default(),
            shards: Shards::new(&registry),
            quarantine: QuarantineSeries::new(&registry),
            sleep: SleepMetrics::new(&scope),
            snapshots: SnapshotMetrics::new(&scope),
            unplaced: Mutex::new(OpSeries::unplaced()),
            peers: Mutex::default(),
            load: LoadGauges {
                inbox_bytes: gauge("kv_inbox_bytes"),
                overlay_bytes: gauge("kv_overlay_bytes"),
                requests_waiting: gauge("kv_requests_waiting"),
                reads_queued: gauge("kv_reads_queued"),
                flush_jobs: gauge("kv_flush_queue_jobs"),
                log_batches: gauge("kv_wal_queue_batches"),
                epoch: gauge("kv_map_epoch"),
                disk_free_bytes: gauge("kv_disk_free_bytes"),
                disk_total_bytes: gauge("kv_disk_total_bytes"),
            },
            scope,
            process,
            registry,
        }
    }

    /// Where all series are, for whoever has more to show.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    fn show_load(&self, load: Load, epoch: u64) {
        let gauges = &self.load;
        gauges.inbox_bytes.set(load.inbox_bytes as f64);
        gauges.requests_waiting.set(load.requests_waiting as f64);
        gauges.reads_queued.set(load.reads_queued as f64);
        gauges.flush_jobs.set(load.flush_jobs as f64);
        gauges.log_batches.set(load.log_batches as f64);
        gauges.epoch.set(epoch as f64);
        let mut unplaced = self.unplaced.lock().unwrap_or_else(PoisonError::into_inner);
        unplaced.refresh(&self.scope, self.ops.unplaced());
    }

    fn show_sleep(&self, replicas: &[ReplicaStatus]) {
        self.sleep.asleep.set(replicas.iter().filter(|replica| replica.sleeps()).count() as f64);
    }

    fn show_peers(&self, peers: &[PeerStatus]) {
        let mut shown = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|node, _| peers.iter().any(|peer| peer.node == *node));
        for peer in peers {
            let series = shown.entry(peer.node).or_insert_with(|| PeerSeries::new(&self.registry, peer.node));
            series.refresh(peer);
        }
    }
}

impl Default for NodeMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl LoadGauges {
    fn show_room(&self, room: Option<Room>) {
        if let Some(room) = room {
            self.disk_free_bytes.set(room.free as f64);
            self.disk_total_bytes.set(room.total as f64);
        }
    }
}

/// What is counted of sleep: per node, because most of a thousand shards do nothing else.
#[derive(Debug)]
struct SleepMetrics {
    asleep: Gauge,
    slept: Counter,
    woken: [Counter; WAKEUPS.len()],
}

/// Every reason to wake, and its name.
const WAKEUPS: [(Wakeup, &str); 6] = [
    (Wakeup::Asked, "asked"),
    (Wakeup::Told, "told"),
    (Wakeup::Silent, "silent"),
    (Wakeup::Changed, "changed"),
    (Wakeup::Broken, "broken"),
    (Wakeup::Fallen, "fallen"),
];

impl SleepMetrics {
    fn new(scope: &Scope) -> Self {
        let woken = |why: &str| scope.counter("kv_wakeups_total", &[("why", why.to_string())]);
        Self {
            asleep: scope.gauge("kv_replicas_asleep", &[]),
            slept: scope.counter("kv_sleeps_total", &[]),
            woken: WAKEUPS.map(|(_, name)| woken(name)),
        }
    }

    fn count(&self, event: Event) {
        match event {
            Event::Slept => self.slept.increment(1),
            Event::Woke { why } => {
                let counters = WAKEUPS.iter().zip(&self.woken);
                counters
                    .filter(|((known, _), _)| *known == why)
                    .for_each(|(_, counter)| counter.increment(1));
            }
            _ => {}
        }
    }
}

impl LogMetrics {
    fn new(scope: &Scope) -> Self {
        Self {
            fsync_seconds: scope.histogram("kv_wal_fsync_seconds", &[]),
            batch_bytes: scope.histogram("kv_wal_batch_bytes", &[]),
            batch_shards: scope.histogram("kv_wal_batch_shards", &[]),
            segments: scope.gauge("kv_wal_segments", &[]),
            bytes: scope.gauge("kv_wal_bytes", &[]),
            live_bytes: scope.gauge("kv_wal_live_bytes", &[]),
        }
    }

    /// The log was appended to.
    pub fn appended(&self, before: flotilla_wal::Stats, after: flotilla_wal::Stats) {
        self.batch_bytes.record((after.written_bytes - before.written_bytes) as f64);
        self.batch_shards.record((after.named_shards - before.named_shards) as f64);
        self.sized(after);
    }

    /// The log has changed its size.
    pub fn sized(&self, now: flotilla_wal::Stats) {
        self.segments.set(now.segments as f64);
        self.bytes.set(now.bytes as f64);
        self.live_bytes.set(now.live_bytes as f64);
    }
}

impl PeerSeries {
    fn new(registry: &Registry, peer: NodeId) -> Self {
        let scope = registry.scope();
        let label = [("peer", peer.0.to_string())];
        let counter = |name, direction: &str| {
            scope.counter(name, &[("peer", peer.0.to_string()), ("direction", direction.to_string())])
        };
        Self {
            sent_bytes: counter("kv_peer_bytes_total", "sent"),
            sent_frames: counter("kv_peer_frames_total", "sent"),
            received_bytes: counter("kv_peer_bytes_total", "received"),
            received_frames: counter("kv_peer_frames_total", "received"),
            dropped: scope.counter("kv_peer_dropped_messages_total", &label),
            connected: scope.gauge("kv_peer_connected", &label),
            _scope: scope,
        }
    }

    fn refresh(&self, peer: &PeerStatus) {
        let counted = &peer.counters;
        self.sent_bytes.absolute(counted.sent_bytes);
        self.sent_frames.absolute(counted.sent_frames);
        self.received_bytes.absolute(counted.received_bytes);
        self.received_frames.absolute(counted.received_frames);
        self.dropped.absolute(counted.dropped_messages);
        self.connected.set(f64::from(u8::from(peer.connected)));
    }
}

/// What one worker counts: the handles of its replicas, kept.
#[derive(Debug)]
pub struct WorkerMetrics {
    node: Arc<NodeMetrics>,
    kept: BTreeMap<ShardId, ShardEvents>,
    generation: u64,
}

impl WorkerMetrics {
    /// Without handles yet.
    #[must_use]
    pub const fn new(node: Arc<NodeMetrics>) -> Self {
        Self { node, kept: BTreeMap::new(), generation: 0 }
    }

    /// Counts what happened in a turn.
    pub fn count(&mut self, events: Vec<(ShardId, Event)>) {
        if events.is_empty() {
            return;
        }
        let generation = self.node.shards.generation();
        if self.generation != generation {
            self.kept.clear();
            self.generation = generation;
        }
        for (shard, event) in events {
            if matches!(event, Event::Slept | Event::Woke { .. }) {
                self.node.sleep.count(event);
                continue;
            }
            self.kept.entry(shard).or_insert_with(|| self.node.shards.events(shard)).count(event);
        }
    }
}
