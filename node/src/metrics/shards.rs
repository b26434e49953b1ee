//! The series of the replicas that live here. Each replica has a scope, so that they vanish with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flotilla_daemon::metrics::{Registry, Scope};
use flotilla_raft::ReplicaId;
use flotilla_topology::ShardId;
use metrics::{Counter, Gauge, Histogram};

use super::ops::{Op, OpCounters, OpTable, Outcome};
use crate::host::{Event, ReplicaStatus};

/// What the base says of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// How many keys.
    pub keys: u64,
    /// Their bytes and those of their values.
    pub bytes: u64,
}

/// What a worker counts of one of its replicas. Clones count into the same series.
#[derive(Clone, Debug)]
pub struct ShardEvents {
    proposals: Counter,
    commit_seconds: Histogram,
    elections: Counter,
    campaigns: Counter,
    handovers: Counter,
    reads_by_lease: Counter,
    reads_by_round: Counter,
    snapshots_sent: Counter,
    snapshots_received: Counter,
}

/// All replicas that are shown.
#[derive(Debug)]
pub struct Shards {
    registry: Registry,
    shown: Mutex<BTreeMap<ShardId, Shown>>,
    /// Grows when a replica is no longer shown: handles that were taken before may count into nothing.
    generation: AtomicU64,
}

#[derive(Debug)]
struct Shown {
    scope: Scope,
    events: ShardEvents,
    gauges: Gauges,
    ops: OpSeries,
    /// How far the followers are, while this replica leads. Each has a scope: a leader that steps down says nothing more.
    lags: BTreeMap<ReplicaId, (Scope, Gauge)>,
}

#[derive(Debug)]
struct Gauges {
    leader: Gauge,
    term: Gauge,
    commit: Gauge,
    applied: Gauge,
    durable: Gauge,
    slots: Gauge,
    overlay: Gauge,
    stored: Option<(Gauge, Gauge)>,
}

impl ShardEvents {
    fn new(scope: &Scope, shard: ShardId) -> Self {
        let label = [("shard", shard.0.to_string())];
        let snapshots = |direction: &str| {
            let labels = [("shard", shard.0.to_string()), ("direction", direction.to_string())];
            scope.counter("kv_shard_snapshots_total", &labels)
        };
        let reads = |confirmed: &str| {
            let labels = [("shard", shard.0.to_string()), ("confirmed", confirmed.to_string())];
            scope.counter("kv_shard_read_batches_total", &labels)
        };
        Self {
            proposals: scope.counter("kv_shard_proposals_total", &label),
            commit_seconds: scope.histogram("kv_shard_commit_seconds", &label),
            elections: scope.counter("kv_shard_elections_total", &label),
            campaigns: scope.counter("kv_shard_campaigns_total", &label),
            reads_by_lease: reads("lease"),
            reads_by_round: reads("round"),
            handovers: scope.counter("kv_shard_handovers_total", &label),
            snapshots_sent: snapshots("sent"),
            snapshots_received: snapshots("received"),
        }
    }

    /// Counts what a worker saw.
    pub fn count(&self, event: Event) {
        match event {
            Event::Proposed => self.proposals.increment(1),
            Event::Applied { after } => self.commit_seconds.record(after),
            Event::Campaigned => self.campaigns.increment(1),
            Event::Elected => self.elections.increment(1),
            Event::ReadsAsked { by_lease: true } => self.reads_by_lease.increment(1),
            Event::ReadsAsked { by_lease: false } => self.reads_by_round.increment(1),
            Event::HandsOver => self.handovers.increment(1),
            Event::SnapshotSent => self.snapshots_sent.increment(1),
            Event::SnapshotInstalled => self.snapshots_received.increment(1),
            // Counted per node: see `NodeMetrics`.
            Event::Slept | Event::Woke { .. } => {}
        }
    }
}

impl Shards {
    pub(super) fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), shown: Mutex::default(), generation: AtomicU64::new(0) }
    }

    /// The handles of a replica's series; they are there from now on. Takes a lock: whoever counts keeps them.
    pub fn events(&self, shard: ShardId) -> ShardEvents {
        let mut shown = self.lock();
        shown.entry(shard).or_insert_with(|| Shown::new(&self.registry, shard)).events.clone()
    }

    /// Another number than before says that kept handles should be taken anew.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Shows exactly these replicas, as they are now.
    pub fn show(&self, replicas: &[ReplicaStatus], stored: &BTreeMap<ShardId, Stored>, ops: &OpTable) {
        let mut shown = self.lock();
        let before = shown.len();
        let living: BTreeSet<ShardId> = replicas.iter().map(|replica| replica.shard).collect();
        shown.retain(|shard, _| living.contains(shard));
        if shown.len() < before {
            self.generation.fetch_add(1, Ordering::Release);
        }
        for replica in replicas {
            let shard = replica.shard;
            let series = shown.entry(shard).or_insert_with(|| Shown::new(&self.registry, shard));
            series.refresh(replica, stored.get(&shard), ops.of(shard), &self.registry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn new(registry: &Registry, shard: ShardId) -> Self {
        let scope = registry.scope();
        let label = [("shard", shard.0.to_string())];
        let gauge = |name| scope.gauge(name, &label);
        let gauges = Gauges {
            leader: gauge("kv_shard_leader"),
            term: gauge("kv_shard_term"),
            commit: gauge("kv_shard_commit_index"),
            applied: gauge("kv_shard_applied_index"),
            durable: gauge("kv_shard_durable_index"),
            slots: gauge("kv_shard_slots"),
            overlay: gauge("kv_shard_overlay_bytes"),
            stored: None,
        };
        let events = ShardEvents::new(&scope, shard);
        let ops = OpSeries::of_shard(shard);
        Self { events, gauges, ops, lags: BTreeMap::new(), scope }
    }

    fn refresh(
        &mut self,
        replica: &ReplicaStatus,
        stored: Option<&Stored>,
        ops: &OpCounters,
        registry: &Registry,
    ) {
        let gauges = &mut self.gauges;
        gauges.leader.set(f64::from(u8::from(replica.leads())));
        gauges.term.set(replica.term.0 as f64);
        gauges.commit.set(replica.commit.0 as f64);
        gauges.applied.set(replica.applied.index.0 as f64);
        gauges.durable.set(replica.durable.index.0 as f64);
        gauges.slots.set(replica.slots as f64);
        gauges.overlay.set(replica.overlay_bytes as f64);
        if let Some(stored) = stored {
            // Not before the base was read: a 0 that only means "not known yet" would look like lost data.
            let label = || [("shard", replica.shard.0.to_string())];
            let (keys, bytes) = gauges.stored.get_or_insert_with(|| {
                (self.scope.gauge("kv_shard_keys", &label()), self.scope.gauge("kv_shard_bytes", &label()))
            });
            keys.set(stored.keys as f64);
            bytes.set(stored.bytes as f64);
        }
        self.refresh_lags(replica, registry);
        self.ops.refresh(&self.scope, ops);
    }

    fn refresh_lags(&mut self, replica: &ReplicaStatus, registry: &Registry) {
        let followers = if replica.leads() { replica.followers.as_slice() } else { &[] };
        self.lags.retain(|known, _| followers.iter().any(|follower| follower.replica == *known));
        for follower in followers.iter().filter(|follower| follower.replica != replica.replica) {
            let (_, lag) = self.lags.entry(follower.replica).or_insert_with(|| {
                let scope = registry.scope();
                let labels =
                    [("shard", replica.shard.0.to_string()), ("replica", follower.replica.0.to_string())];
                let lag = scope.gauge("kv_shard_replica_lag_entries", &labels);
                (scope, lag)
            });
            lag.set(replica.last.0.saturating_sub(follower.matched.0) as f64);
        }
    }
}

/// The series of [`OpCounters`]. Those of an operation appear, all together, once it was asked: most shards never see
/// most of them.
#[derive(Debug)]
pub(super) struct OpSeries {
    name: &'static str,
    shard: Option<ShardId>,
    by_op: [Option<[Counter; Outcome::ALL.len()]>; Op::ALL.len()],
}

impl OpSeries {
    const fn of_shard(shard: ShardId) -> Self {
        let by_op = [const { None }; Op::ALL.len()];
        Self { name: "kv_shard_ops_total", shard: Some(shard), by_op }
    }

    pub(super) const fn unplaced() -> Self {
        Self { name: "kv_unplaced_ops_total", shard: None, by_op: [const { None }; Op::ALL.len()] }
    }

    pub(super) fn refresh(&mut self, scope: &Scope, counters: &OpCounters) {
        let (name, shard) = (self.name, self.shard);
        for op in Op::ALL {
            let series = &mut self.by_op[op as usize];
            if series.is_none() && !counters.asked(op) {
                continue;
            }
            let series = series.get_or_insert_with(|| {
                Outcome::ALL.map(|outcome| {
                    let mut labels: Vec<(&'static str, String)> =
                        shard.iter().map(|shard| ("shard", shard.0.to_string())).collect();
                    labels.push(("op", op.name().to_string()));
                    labels.push(("outcome", outcome.name().to_string()));
                    scope.counter(name, &labels)
                })
            });
            for outcome in Outcome::ALL {
                series[outcome as usize].absolute(counters.read(op, outcome));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use flotilla_raft::{Configuration, Index, LogId, ProgressKind, RoleKind, Term};

    use super::*;
    use crate::host::FollowerStatus;
    use crate::metrics::{NodeMetrics, WorkerMetrics};

    fn replica(shard: u64, role: RoleKind) -> ReplicaStatus {
        let follower = FollowerStatus {
            replica: ReplicaId(2),
            node: None,
            matched: Index(90),
            next: Index(91),
            state: ProgressKind::Replicate,
            active: true,
        };
        ReplicaStatus {
            shard: ShardId(shard),
            replica: ReplicaId(1),
            role,
            term: Term(3),
            vote: None,
            lease: None,
            leader: None,
            leader_node: None,
            watched: Vec::new(),
            commit: Index(95),
            applied: LogId::default(),
            durable: LogId::default(),
            last: Index(100),
            persisted: Index(100),
            compacted: Index(0),
            version: 0,
            time_ms: 0,
            slots: 5,
            overlay_bytes: 0,
            configuration: Configuration::default(),
            configuration_index: Index(0),
            settled: true,
            followers: vec![follower],
        }
    }

    /// The lines of a scrape with this text in them.
    fn lines(metrics: &NodeMetrics, text: &str) -> Vec<String> {
        metrics.registry().render().lines().filter(|line| line.contains(text)).map(str::to_string).collect()
    }

    #[test]
    fn the_series_of_a_removed_replica_vanish_and_a_new_one_is_counted_again() {
        let metrics = Arc::new(NodeMetrics::new());
        let mut worker = WorkerMetrics::new(Arc::clone(&metrics));
        let (first, second) = (replica(1, RoleKind::Follower), replica(2, RoleKind::Follower));
        let show = |replicas: &[ReplicaStatus]| metrics.shards.show(replicas, &BTreeMap::new(), &metrics.ops);
        show(&[first.clone(), second.clone()]);
        let applied = (ShardId(2), Event::Applied { after: Duration::from_millis(3) });
        worker.count(vec![(ShardId(2), Event::Proposed), applied]);
        metrics.ops.of(ShardId(2)).count(Op::Put, Outcome::Ok);
        show(&[first.clone(), second.clone()]);
        assert_eq!(
            lines(&metrics, "kv_shard_proposals_total{shard=\"2\"}"),
            ["kv_shard_proposals_total{shard=\"2\"} 1"]
        );
        assert_eq!(lines(&metrics, "kv_shard_commit_seconds_count{shard=\"2\"}").len(), 1);
        assert_eq!(lines(&metrics, "op=\"put\",outcome=\"ok\"").len(), 1);
        show(std::slice::from_ref(&first));
        assert_eq!(lines(&metrics, "shard=\"2\""), Vec::<String>::new());
        assert!(!lines(&metrics, "shard=\"1\"").is_empty());
        // The worker kept handles of the replica that is gone; those of its successor are others.
        worker.count(vec![(ShardId(2), Event::Proposed)]);
        show(&[first, second]);
        assert_eq!(
            lines(&metrics, "kv_shard_proposals_total{shard=\"2\"}"),
            ["kv_shard_proposals_total{shard=\"2\"} 1"]
        );
    }

    #[test]
    fn only_a_leader_says_how_far_the_others_are() {
        let metrics = NodeMetrics::new();
        let show = |role| metrics.shards.show(&[replica(1, role)], &BTreeMap::new(), &metrics.ops);
        show(RoleKind::Leader);
        let lag = "kv_shard_replica_lag_entries{shard=\"1\",replica=\"2\"} 10";
        assert_eq!(lines(&metrics, "kv_shard_replica_lag_entries{"), [lag]);
        assert_eq!(lines(&metrics, "kv_shard_leader{"), ["kv_shard_leader{shard=\"1\"} 1"]);
        show(RoleKind::Follower);
        assert_eq!(lines(&metrics, "kv_shard_replica_lag_entries"), Vec::<String>::new());
        assert_eq!(lines(&metrics, "kv_shard_leader{"), ["kv_shard_leader{shard=\"1\"} 0"]);
    }

    #[test]
    fn what_the_base_holds_is_shown_once_it_is_known() {
        let metrics = NodeMetrics::new();
        let replicas = [replica(1, RoleKind::Follower)];
        metrics.shards.show(&replicas, &BTreeMap::new(), &metrics.ops);
        assert_eq!(lines(&metrics, "kv_shard_keys{"), Vec::<String>::new());
        let stored = BTreeMap::from([(ShardId(1), Stored { keys: 3, bytes: 70 })]);
        metrics.shards.show(&replicas, &stored, &metrics.ops);
        assert_eq!(lines(&metrics, "kv_shard_keys{"), ["kv_shard_keys{shard=\"1\"} 3"]);
        assert_eq!(lines(&metrics, "kv_shard_bytes{"), ["kv_shard_bytes{shard=\"1\"} 70"]);
    }
}
