//! How the threads of a node come up: base, log, recovery, workers.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use flotilla_daemon::causes::Causes;
use flotilla_raft::Time;
use flotilla_store::{Base, BaseError, disk, snapshot};
use flotilla_tls::Tls;
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::{Log, OpenError, Recovered, RotAt};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::flusher::{Flusher, FlusherQueue};
use super::known::Known;
use super::leaders::Leaders;
use super::log_thread::{LogQueue, LogThread};
use super::peers::PeerDesk;
use super::readers::Readers;
use super::worker_task::{Outlets, WorkerTask};
use super::{Arrivals, Clock, Fatal, Inbox, NodeBase, Runtime, Threads, Tokens, options, worker_of};
use crate::config::Config;
use crate::host::{
    BaseJob, Quarantine, RecoveryError, Restart, SupportOptions, Supports, Worker, ended, recover,
};
use crate::metrics::NodeMetrics;
use crate::storage::{Chance, DataDirectory, DirectoryError, RealDisk};
use crate::transport::{Identity, Pulse, Transport};

/// Why the threads could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The base.
    #[error("cannot open the base in {path}: {source}")]
    Base {
        /// Where it lives.
        path: String,
        /// Why.
        source: BaseError,
    },
    /// The base was opened but cannot be read.
    #[error("cannot read the base: {0}")]
    Read(#[from] flotilla_store::Error),
    /// Rot in the shared log took what a shard had been promised that has no other replica.
    #[error(
        "segment {}: rot at byte {} of the log took what was promised to {}, and nobody else has it: this is the only replica. \
         Nothing was changed; `kvnode wal inspect DIR` shows what is there", .at.segment, .at.offset, names(.shards)
    )]
    Alone {
        /// Where the first damage is.
        at: RotAt,
        /// The shards.
        shards: Vec<ShardId>,
    },
    /// The shared log.
    #[error("cannot open the log: {0}")]
    Log(#[from] OpenError),
    /// A replica.
    #[error("cannot recover: {0}")]
    Recovery(#[from] RecoveryError),
    /// The log does not know a shard that the base holds.
    #[error("the base holds {shard}, but the log knows nothing of it: the log was lost, and votes with it")]
    LogLost {
        /// The shard.
        shard: ShardId,
    },
    /// The operating system.
    #[error("cannot start a thread or draw a random number: {0}")]
    System(#[from] std::io::Error),
}

/// What runs, and what its maker still needs.
#[derive(Debug)]
pub struct Started {
    /// The threads.
    pub runtime: Arc<Runtime>,
    /// The line to the peers.
    pub transport: Transport,
    /// Told of writes in the meta shard.
    pub map_changed: Arc<Notify>,
    /// Maps that other nodes send.
    pub maps: Arc<Arrivals>,
}

/// What lies on the disk of a node.
struct Found {
    base: NodeBase,
    log: Log<RealDisk>,
    recovered: Recovered,
}

/// Opens what the directory holds, recovers all replicas, and starts the threads. Blocks on the disk.
///
/// # Errors
/// The node must not start; the text says why.
pub fn start(
    config: &Config,
    directory: &Arc<DataDirectory>,
    identity: Identity,
    tls: Option<Tls>,
    chance: &mut dyn Chance,
    metrics: &Arc<NodeMetrics>,
    fatal: &Fatal,
) -> Result<Started, StartError> {
    let handle = Handle::current();
    let found = open(config, directory, metrics)?;
    check_base(&found)?;
    let count = config.memory.workers();
    let inbox = || {
        let memory = &config.memory;
        Arc::new(Inbox::new(memory.inbox_bytes_max.as_usize(), memory.peer_inbox_bytes_max.as_usize()))
    };
    let inboxes: Vec<Arc<Inbox>> = (0..count).map(|_| inbox()).collect();
    let tokens = Arc::new(Tokens::default());
    let flusher = Arc::new(FlusherQueue::default());
    let maps = Arc::new(Arrivals::default());
    let desk = PeerDesk {
        inboxes: inboxes.clone(),
        flusher: Arc::clone(&flusher),
        tokens: Arc::clone(&tokens),
        maps: Arc::clone(&maps),
        handle: handle.clone(),
    };
    let clock = Clock::start();
    let pulse = pulse(config, directory, clock)?;
    let supports = pulse.supports.clone();
    let entered = handle.enter();
    let line = options::transport(config, tls);
    let transport = Transport::start(line, identity.clone(), desk.events(), pulse);
    drop(entered);
    let jobs_max = usize::try_from(config.memory.reads_queued_max).unwrap_or(usize::MAX);
    let readers =
        Readers::new(jobs_max, found.base.clone(), Arc::clone(&tokens), inboxes.clone(), fatal.clone());
    let outlets = Outlets {
        transport: transport.clone(),
        log: Arc::new(LogQueue::default()),
        flusher,
        readers: Arc::new(readers),
        tokens,
        leaders: Arc::new(Leaders::default()),
        map_changed: Arc::new(Notify::new()),
        metrics: Arc::clone(metrics),
    };
    purge_leftovers(&found.base, &outlets.flusher)?;
    let quarantine = Quarantine::new(found.recovered.quarantined.clone());
    let map_changed = Arc::clone(&outlets.map_changed);
    let hosts = workers(
        config,
        identity.node,
        &found.base,
        found.recovered,
        (clock, &supports, &quarantine),
        chance,
    )?;
    let found = (found.base, found.log, hosts);
    let runtime = spawn(config, found, clock, inboxes, (outlets, quarantine), fatal)?;
    Ok(Started { runtime: Arc::new(runtime), transport, map_changed, maps })
}

fn open(config: &Config, directory: &DataDirectory, metrics: &NodeMetrics) -> Result<Found, StartError> {
    let path = directory.base_path();
    let cache_bytes = config.memory.base_cache_bytes.0;
    let base = disk::Disk::open(&path, disk::Options { cache_bytes, ..disk::Options::default() })
        .map_err(|source| StartError::Base { path: path.display().to_string(), source })?;
    let id = directory.stamp().directory.0;
    let disk = directory.wal()?.measured(metrics.log.fsync_seconds.clone());
    let options =
        flotilla_wal::Options { must_exist: directory.held_log(), ..flotilla_wal::Options::default() };
    let known = Known::read(directory)?;
    let mut alone = None;
    let opened = Log::open_quarantining(disk, options, id, &known.spent(config.id), |rot| {
        alone = known.alone(config.id, rot);
        alone.is_none() && known.is_there()
    });
    let (log, recovered) = match (opened, alone) {
        (Err(OpenError::Rot { .. }), Some((at, shards))) => return Err(StartError::Alone { at, shards }),
        (opened, _) => opened?,
    };
    tell_of_rot(&recovered);
    directory.log_opened()?;
    if let Some(torn) = recovered.torn {
        info!(segment = torn.segment, offset = torn.offset, "an unfinished write was cut from the log");
    }
    Ok(Found { base, log, recovered })
}

/// What is out of service, and where its log is damaged.
fn tell_of_rot(recovered: &Recovered) {
    if let Some(rot) = &recovered.rot {
        let RotAt { segment, offset } = rot.at;
        let shards: Vec<ShardId> = rot.shards.keys().copied().collect();
        error!(
            segment,
            offset,
            shards = names(&shards),
            "rot in the log: these shards are out of service here and will be replaced; all others go on"
        );
    }
    for (shard, out) in &recovered.quarantined {
        let (segment, offset) = (out.at.segment, out.at.offset);
        warn!(%shard, segment, offset, spent = %out.replica, "out of service: the log lost what it had been promised");
    }
}

/// As a sentence names them.
fn names(shards: &[ShardId]) -> String {
    if shards.is_empty() {
        return "none".to_owned();
    }
    shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The promises between this node and others. What it promised before it was started may still stand; how long is in the directory,
/// where the length of what it will promise is before anybody hears of it.
fn pulse(config: &Config, directory: &Arc<DataDirectory>, clock: Clock) -> Result<Pulse, StartError> {
    let timing = &config.timing;
    let support = Duration::from_millis(timing.support_ms);
    let restart = Restart::plan(directory.longest_promise()?, support);
    if let Some(longest) = restart.lengthen {
        directory.remember_promise(longest)?;
    }
    let restart_until = clock.time() + restart.wait;
    if let Some(longest) = restart.shorten {
        Handle::current().spawn(shorten(Arc::downgrade(directory), clock, restart_until, longest));
    }
    let options = SupportOptions {
        boot: directory.boot().number,
        support,
        clock_drift_ppm_max: timing.clock_drift_ppm_max,
        restart_until,
    };
    let interval = Duration::from_millis(timing.beat_interval_ms);
    Ok(Pulse { supports: Supports::new(options), clock, interval })
}

/// When what was promised before the start has run out, a shorter promise is all that need be remembered. On the clock of the workers:
/// the timer's own does not count suspend, so at its end little may be left to wait, and that is waited too.
async fn shorten(directory: Weak<DataDirectory>, clock: Clock, restart_until: Time, longest: Duration) {
    while clock.time() < restart_until {
        sleep_until(Instant::now() + clock.until(restart_until)).await;
    }
    // A node that has ended has left its directory to the next life.
    let Some(directory) = directory.upgrade() else { return };
    let write = spawn_blocking(move || directory.remember_promise(longest)).await;
    if let Ok(Err(failure)) = write {
        warn!(reason = %Causes(&failure), "the longest promise stays: the next start waits for it once more");
    }
}

/// The birth of every replica goes to the log before anything of it goes to the base.
fn check_base(found: &Found) -> Result<(), StartError> {
    let known = &found.recovered;
    for shard in snapshot::shards_in(&found.base.view())? {
        if !known.shards.contains_key(&shard) && !known.tombstones.contains_key(&shard) {
            return Err(StartError::LogLost { shard });
        }
    }
    Ok(())
}

/// Snapshots that were being staged, and states that they replaced, are cleared away when there is time.
fn purge_leftovers(base: &NodeBase, flusher: &FlusherQueue) -> Result<(), StartError> {
    let view = base.view();
    for shard in snapshot::shards_in(&view)? {
        for generation in snapshot::leftovers(&view, shard)? {
            flusher.push(BaseJob::Purge { shard, generation });
        }
    }
    Ok(())
}

/// The workers, with the replicas that were found.
fn workers(
    config: &Config,
    node: NodeId,
    base: &NodeBase,
    recovered: Recovered,
    (clock, supports, quarantine): (Clock, &Supports, &Quarantine),
    chance: &mut dyn Chance,
) -> Result<Vec<Worker<NodeBase>>, StartError> {
    let count = config.memory.workers();
    let mut workers = Vec::with_capacity(count);
    for _ in 0..count {
        let seed = chance.draw()?.to_be_bytes();
        let seed =
            u64::from_be_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7]]);
        let worker = Worker::new(node, options::host(config), base.clone(), seed);
        workers.push(worker.supported(supports.clone()).quarantining(quarantine.clone()));
    }
    for (shard, replica) in recovered.tombstones {
        workers[worker_of(shard, count)].remember(shard, replica);
    }
    let is_out = |shard: &ShardId| recovered.quarantined.contains_key(shard);
    for shard in recovered.quarantined.keys() {
        let generation = snapshot::unused_generation(&base.view(), *shard)?;
        workers[worker_of(*shard, count)].keep_out(*shard, generation);
    }
    for (shard, generation) in ended(base, |shard| recovered.shards.contains_key(&shard) || is_out(&shard))? {
        workers[worker_of(shard, count)].bury(shard, generation);
    }
    let mut found = BTreeMap::new();
    for (shard, state) in recovered.shards {
        let replica = recover(base, shard, state)?;
        found.insert(shard, replica.recovered.entries.len());
        workers[worker_of(shard, count)].adopt(clock.now(), replica);
    }
    if !found.is_empty() {
        info!(replicas = found.len(), entries = found.values().sum::<usize>(), "recovered");
    }
    Ok(workers)
}

fn spawn(
    config: &Config,
    (base, log, workers): (NodeBase, Log<RealDisk>, Vec<Worker<NodeBase>>),
    clock: Clock,
    inboxes: Vec<Arc<Inbox>>,
    (outlets, quarantine): (Outlets, Quarantine),
    fatal: &Fatal,
) -> Result<Runtime, StartError> {
    let handle = Handle::current();
    let mut threads = Threads::default();
    let log_thread = LogThread::new(
        log,
        Arc::clone(&outlets.log),
        inboxes.clone(),
        fatal.clone(),
        outlets.metrics.log.clone(),
    );
    threads.log = Some(named("log", fatal, move || log_thread.run())?);
    let flusher = Flusher::new(base.clone(), Arc::clone(&outlets.flusher), inboxes.clone(), fatal.clone());
    let flusher = flusher.measured(outlets.metrics.flush_seconds.clone());
    threads.flusher = Some(named("flusher", fatal, move || flusher.run())?);
    for number in 0..config.memory.readers {
        let readers = Arc::clone(&outlets.readers);
        threads.readers.push(named(&format!("reader-{number}"), fatal, move || readers.run())?);
    }
    for (number, worker) in workers.into_iter().enumerate() {
        let inbox = Arc::clone(&inboxes[number]);
        let task = WorkerTask::new(number, worker, inbox, clock, outlets.clone());
        threads.workers.push(handle.spawn(watched(number, fatal.clone(), task.run())));
    }
    Ok(Runtime {
        inboxes,
        tokens: outlets.tokens,
        log: outlets.log,
        flusher: outlets.flusher,
        readers: outlets.readers,
        leaders: outlets.leaders,
        quarantine,
        base,
        metrics: outlets.metrics,
        handle,
        threads: Mutex::new(threads),
    })
}

/// A worker, as [`named`] watches over a thread.
async fn watched(number: usize, fatal: Fatal, run: impl Future<Output = ()>) {
    if AssertUnwindSafe(run).catch_unwind().await.is_err() {
        warn!(worker = number, "panicked");
        fatal.call(format!("worker {number} panicked"));
    }
}

/// A thread of this name. A panic in it (a broken invariant) ends the node: without one of its threads it would look
/// alive and serve nothing.
fn named(
    name: &str,
    fatal: &Fatal,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, std::io::Error> {
    let fatal = fatal.clone();
    let label = name.to_string();
    Builder::new().name(name.to_string()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            warn!(thread = label, "panicked");
            fatal.call(format!("the thread {label} panicked"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SystemChance;

    #[tokio::test]
    async fn a_longer_promise_is_forgotten_when_it_was_waited_out_and_not_before() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Arc::new(DataDirectory::open(parent.path(), NodeId(1), &mut SystemChance).unwrap());
        let (clock, short) = (Clock::start(), Duration::from_millis(10));
        directory.remember_promise(Duration::from_millis(90)).unwrap();
        let until = clock.time() + Duration::from_millis(40);
        let shortened = tokio::spawn(shorten(Arc::downgrade(&directory), clock, until, short));
        let before = directory.longest_promise().unwrap();
        assert!(before == Duration::from_millis(90) || clock.time() >= until, "{before:?}");
        shortened.await.unwrap();
        assert!(clock.time() >= until);
        assert_eq!(directory.longest_promise().unwrap(), short);
    }

    /// The next life may have been started already.
    #[tokio::test]
    async fn who_has_ended_forgets_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Arc::new(DataDirectory::open(parent.path(), NodeId(1), &mut SystemChance).unwrap());
        directory.remember_promise(Duration::from_millis(90)).unwrap();
        let ended = Arc::downgrade(&directory);
        drop(directory);
        let clock = Clock::start();
        shorten(ended, clock, clock.time(), Duration::ZERO).await;
        let next = DataDirectory::open(parent.path(), NodeId(1), &mut SystemChance).unwrap();
        assert_eq!(next.longest_promise().unwrap(), Duration::from_millis(90));
    }
}
