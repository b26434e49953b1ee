//! One simulated node: its disk, its base, its clocks, and, while it runs, its workers, its log and its flusher.
//!
//! Workers, log, state machine and recovery are those of the product. What threads do in a real node is done here by
//! events: the log thread (`runtime/log_thread.rs`), the flusher (`runtime/flusher.rs`) and the readers each take their time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flotilla_node::host::{
    Answer, BaseJob, BatchTicket, Input, Now, Quarantine, ReadJob, Reply, Restart, SupportOptions, Supports,
    Worker, ended, recover,
};
use flotilla_node::runtime::{spent, worker_of};
use flotilla_raft::Time;
use flotilla_store::memory::{Memory, MemoryView};
use flotilla_store::{Base, BaseError, Error, Machine, snapshot};
use flotilla_topology::{ClusterMap, NodeId, ShardId};
use flotilla_wal::simulated::SimulatedDisk;
use flotilla_wal::{AppendError, Batch, CollectError, Log, OpenError, Recovered, Step};

use crate::clock::Clock;
use crate::rounds::Rounds;
use crate::scenario::Scenario;

/// How many keys a purge removes before it makes room for other work.
const PURGE_STEP_KEYS: usize = 100;
/// After so many appends without a pause the log gets a step of housekeeping all the same.
const APPENDS_PER_STEP: u64 = 16;

/// See the module.
pub struct Node {
    /// Its name.
    pub id: NodeId,
    seed: u64,
    /// Its log's disk.
    pub disk: SimulatedDisk,
    /// Its base.
    pub base: Memory,
    /// Its clocks.
    pub clock: Clock,
    /// How often it was started.
    pub boot: u64,
    /// The newest cluster map that it knows …
    pub map: Arc<ClusterMap>,
    /// … and the one in its directory, which it knows when it starts.
    pub cached_map: Arc<ClusterMap>,
    /// The longest support that it may have promised, as its disk remembers it.
    longest_promise: Duration,
    /// The flusher hangs.
    pub stalled: bool,
    /// Until then nothing happens here: the process is stopped.
    pub paused_until_us: u64,
    /// The sectors that an earlier life left on the disk unsynced, in files that mean nothing any more.
    pub left_unsynced: u64,
    /// Of what waits while the process is stopped, it hears one thing after the other.
    pub wakes_slowly: bool,
    /// How much longer a log write takes than it should.
    pub slow_us: u64,
    /// How much longer a reader of the base takes than it should, at most.
    pub slow_reads_us: u64,
    /// What runs, if it runs.
    pub running: Option<Running>,
    /// Why it will never start again.
    pub dead: Option<String>,
}

/// A node that runs.
pub struct Running {
    /// The promises between this node and others.
    pub supports: Supports,
    /// What is out of service on this node.
    pub quarantine: Quarantine,
    /// The rounds of its controller.
    pub rounds: Rounds,
    /// When what it promised before this start will have run out, if that was longer than what it promises now; and that.
    pub shortens: Option<(Time, Duration)>,
    workers: Vec<Worker<Memory>>,
    /// What has reached each worker and waits for its turn.
    pub inboxes: Vec<Vec<Input>>,
    log: Log<SimulatedDisk>,
    /// Batches that wait for the write under way to end.
    pub queued: Vec<Waiting>,
    /// The batches being written.
    pub writing: Vec<Waiting>,
    /// Since when the write under way finds the disk full.
    pub full_since_us: Option<u64>,
    appends: u64,
    base_jobs: VecDeque<BaseJob>,
    flusher_free_us: u64,
    wakes_us: Vec<Option<u64>>,
}

/// A batch on its way to the log.
pub type Waiting = (usize, BatchTicket, Batch);

/// What came of a log write.
pub enum Written {
    /// It is durable: the newest ticket of each worker that has one.
    Durable(Vec<(usize, BatchTicket)>),
    /// The disk is full, and nothing was written.
    Full,
    /// The log takes nothing more: the process has to end.
    Broken,
}

/// What came of a job of the flusher.
pub enum Job {
    /// It is done; perhaps a worker has to hear of it.
    Done(Option<Input>),
    /// The base failed: the same job again, later.
    Again,
    /// A sync failed: the process has to end.
    Fatal,
}

impl Node {
    /// A node that never ran.
    pub fn new(id: NodeId, seed: u64, clock: Clock, map: Arc<ClusterMap>) -> Self {
        let (disk, base) = (SimulatedDisk::new(seed), Memory::new());
        Self {
            id,
            seed,
            disk,
            base,
            clock,
            boot: 0,
            map: Arc::clone(&map),
            cached_map: map,
            longest_promise: Duration::ZERO,
            stalled: false,
            paused_until_us: 0,
            left_unsynced: 0,
            wakes_slowly: false,
            slow_us: 0,
            slow_reads_us: 0,
            running: None,
            dead: None,
        }
    }

    /// Opens the log, recovers every replica, and begins. What the log held.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn start(&mut self, now: Now, scenario: &Scenario) -> Result<Recovered, OpenError> {
        self.boot += 1;
        self.map = Arc::clone(&self.cached_map);
        let options = flotilla_wal::Options {
            segment_bytes: scenario.segment_bytes,
            ..flotilla_wal::Options::default()
        };
        let directory = u128::from(self.id.0);
        // As a real node, which refuses where nobody else has what was lost.
        let consent = |_: &_| scenario.replicas > 1;
        let spent = spent(&self.map, self.id);
        let opened = Log::open_quarantining(self.disk.clone(), options, directory, &spent, consent);
        let (log, found) = opened?;
        self.left_unsynced = self.disk.unsynced_sectors();
        let workers = scenario.workers;
        let (supports, shortens) = self.promise(now, scenario);
        let quarantine = Quarantine::new(found.quarantined.clone());
        let worker = |number: usize| {
            let seed = self.seed ^ (self.boot << 8) ^ number as u64;
            let worker = Worker::new(self.id, scenario.options.clone(), self.base.clone(), seed);
            worker.supported(supports.clone()).quarantining(quarantine.clone())
        };
        let mut running = Running {
            supports: supports.clone(),
            quarantine: quarantine.clone(),
            rounds: Rounds::default(),
            shortens,
            workers: (0..workers).map(worker).collect(),
            inboxes: (0..workers).map(|_| Vec::new()).collect(),
            log,
            queued: Vec::new(),
            writing: Vec::new(),
            full_since_us: None,
            appends: 0,
            base_jobs: VecDeque::new(),
            flusher_free_us: 0,
            wakes_us: vec![None; workers],
        };
        for (shard, replica) in &found.tombstones {
            running.workers[worker_of(*shard, workers)].remember(*shard, *replica);
        }
        for shard in found.quarantined.keys() {
            let unused = snapshot::unused_generation(&self.base.view(), *shard);
            let generation = unused.unwrap_or_else(|error| panic!("{} has no base: {error}", self.id));
            running.workers[worker_of(*shard, workers)].keep_out(*shard, generation);
        }
        let is_known = |shard| found.shards.contains_key(&shard) || found.quarantined.contains_key(&shard);
        let buried = ended(&self.base, is_known);
        for (shard, generation) in buried.unwrap_or_else(|error| panic!("{} has no base: {error}", self.id)) {
            running.workers[worker_of(shard, workers)].bury(shard, generation);
        }
        for (shard, state) in &found.shards {
            let recovered = recover(&self.base, *shard, state.clone());
            let recovered = recovered.unwrap_or_else(|error| panic!("{} cannot recover: {error}", self.id));
            running.workers[worker_of(*shard, workers)].adopt(now, recovered);
        }
        self.running = Some(running);
        Ok(found)
    }

    /// As `runtime/start.rs` does. At some starts an operator has chosen a shorter support.
    fn promise(&mut self, now: Now, scenario: &Scenario) -> (Supports, Option<(Time, Duration)>) {
        let is_short = (self.seed ^ self.boot).is_multiple_of(4);
        let support = if is_short { scenario.support / 2 } else { scenario.support };
        let restart = Restart::plan(self.longest_promise, support);
        self.longest_promise = restart.lengthen.unwrap_or(self.longest_promise);
        let restart_until = now.time + restart.wait;
        let clock_drift_ppm_max = scenario.clock_drift_ppm_max;
        let options = SupportOptions { boot: self.boot, support, clock_drift_ppm_max, restart_until };
        (Supports::new(options), restart.shorten.map(|longest| (restart_until, longest)))
    }

    /// With which support it is started next: the one of its world, or a shorter one.
    pub const fn choose_support(&mut self, shorter: bool) {
        let next = self.boot + 1;
        self.seed = (self.seed & !3) | (if shorter { next } else { next ^ 1 } & 3);
    }

    /// What it promised before it was started has run out.
    pub fn shorten_promise(&mut self) {
        if let Some((_, longest)) = self.up().shortens {
            self.longest_promise = longest;
        }
    }

    /// The process ends; what it had written is in the kernel's hands.
    pub fn killed(&mut self) -> Option<Running> {
        self.stalled = false;
        self.paused_until_us = 0;
        let running = self.running.take()?;
        self.disk.kill();
        self.base.set_failing(false);
        // It cannot fail: the fault is over.
        drop(self.base.reopen());
        Some(running)
    }

    /// The power fails: what was not synced is kept, lost, torn or garbled. How many batches the base lost.
    pub fn power_cut(&mut self, seed: u64) -> u64 {
        drop(self.killed());
        self.disk.crash();
        self.base.crash(seed)
    }

    /// What of a node runs.
    pub fn up(&mut self) -> &mut Running {
        let id = self.id;
        self.running.as_mut().unwrap_or_else(|| unreachable!("{id} does not run"))
    }

    /// The flusher has had its time. Does its oldest job.
    pub fn run_base_job(&mut self) -> Job {
        let base = self.base.clone();
        let running = self.up();
        let Some(job) = running.base_jobs.front() else { return Job::Done(None) };
        match carry_out(&base, job) {
            Ok(input) => {
                running.base_jobs.pop_front();
                Job::Done(input)
            }
            Err(Error::Base(BaseError::Unsynced(_))) => Job::Fatal,
            Err(Error::Generation { .. }) => {
                running.base_jobs.pop_front();
                Job::Done(None)
            }
            Err(Error::Base(_)) => {
                // As the flusher does: reopen, try again. While it fails, it fails again.
                drop(base.reopen());
                Job::Again
            }
            Err(damage) => panic!("the base is damaged: {damage}"),
        }
    }
}

impl Running {
    /// The worker of a shard.
    pub fn worker_of(&self, shard: ShardId) -> usize {
        worker_of(shard, self.workers.len())
    }

    /// All workers.
    pub fn workers(&mut self) -> &mut [Worker<Memory>] {
        &mut self.workers
    }

    /// Whether a wake-up at this moment must be announced: none that comes earlier has been.
    pub fn wakes_at(&mut self, worker: usize, at_us: u64) -> bool {
        let known = &mut self.wakes_us[worker];
        let new = known.is_none_or(|known| at_us < known);
        if new {
            *known = Some(at_us);
        }
        new
    }

    /// The announced wake-up came.
    pub fn woken(&mut self, worker: usize) {
        self.wakes_us[worker] = None;
    }

    /// Begins a write of all that is queued, unless one is under way.
    pub fn start_log_write(&mut self) -> bool {
        if !self.writing.is_empty() || self.queued.is_empty() {
            return false;
        }
        self.writing = std::mem::take(&mut self.queued);
        true
    }

    /// The write under way ends. Whatever comes of it, `writing` still holds what it was.
    pub fn finish_log_write(&mut self) -> Written {
        let batches: Vec<Batch> = self.writing.iter().map(|(_, _, batch)| batch.clone()).collect();
        match self.log.append(&batches) {
            Ok(()) => {}
            Err(AppendError::NoSpace(_)) => return Written::Full,
            Err(AppendError::Disk { .. } | AppendError::Poisoned) => return Written::Broken,
        }
        self.full_since_us = None;
        self.appends += 1;
        let mut stable: Vec<Option<BatchTicket>> = vec![None; self.workers.len()];
        for (worker, ticket, _) in &self.writing {
            stable[*worker] = Some(*ticket);
        }
        let stable = stable.into_iter().enumerate();
        Written::Durable(stable.filter_map(|(worker, ticket)| Some((worker, ticket?))).collect())
    }

    /// Whether the log is due for a step of housekeeping although it is busy.
    pub const fn housekeeping_due(&self) -> bool {
        self.appends.is_multiple_of(APPENDS_PER_STEP)
    }

    /// Housekeeping until there is nothing to do. How many steps there were; nothing: the log is broken.
    pub fn tidy_up(&mut self) -> Option<u64> {
        let mut steps = 0;
        loop {
            match self.log.collect() {
                Ok(Step::Idle) | Err(CollectError::Append(AppendError::NoSpace(_))) => return Some(steps),
                Ok(_) => steps += 1,
                Err(CollectError::Append(_)) => return None,
                // What is rotten is still in the memory of the replicas: it goes on, and the next start takes them out.
                Err(CollectError::Rot { .. } | CollectError::Read { .. }) => return Some(steps),
            }
        }
    }

    /// The log states that all it holds is durable. Whether it is still good.
    pub fn state_durable(&mut self) -> bool {
        matches!(self.log.idle(), Ok(_) | Err(AppendError::NoSpace(_)))
    }

    /// Hands a job to the flusher, which does one after the other. When it will be done.
    pub fn queue_base_job(&mut self, job: BaseJob, done_us: u64) -> u64 {
        self.base_jobs.push_back(job);
        self.flusher_free_us = self.flusher_free_us.max(done_us) + 1;
        self.flusher_free_us
    }

    /// How many jobs wait for the flusher.
    pub fn base_jobs(&self) -> usize {
        self.base_jobs.len()
    }
}

/// Does a job of the flusher.
fn carry_out(base: &Memory, job: &BaseJob) -> Result<Option<Input>, Error> {
    match job {
        BaseJob::Flush { shard, flush } => {
            Ok(Some(Input::Flushed { shard: *shard, flushed: flush.run(base)? }))
        }
        BaseJob::Activate { shard, generation, genesis, .. } => {
            snapshot::activate(base, *shard, *generation)?;
            let machine = Machine::open(*shard, &base.view(), genesis)?;
            Ok(Some(Input::Activated { machine: Box::new(machine) }))
        }
        BaseJob::Forget { shard } => {
            while !snapshot::purge_shard(base, *shard, PURGE_STEP_KEYS)? {}
            base.sync()?;
            Ok(Some(Input::Forgotten { shard: *shard }))
        }
        BaseJob::Purge { shard, generation } => {
            while !snapshot::purge(base, *shard, *generation, PURGE_STEP_KEYS)? {}
            Ok(None)
        }
    }
}

/// What a reader says.
pub enum Read {
    /// To who asked.
    Reply(Box<Reply>),
    /// To the worker.
    Input(Box<Input>),
}

/// Does a job of a reader.
pub fn run_read(job: ReadJob<MemoryView>) -> Read {
    let damaged = |error: Error| -> ! { panic!("the base cannot be read: {error}") };
    match job {
        ReadJob::Get { token, served, read, view } => {
            let record = read.run(&view).unwrap_or_else(|error| damaged(error));
            Read::Reply(Box::new(Reply { token, answer: Answer::Got(served, record) }))
        }
        ReadJob::Scan { token, served, slice, view } => {
            let page = slice.run(&view).unwrap_or_else(|error| damaged(error));
            Read::Reply(Box::new(Reply { token, answer: Answer::Page(served, page) }))
        }
        ReadJob::Load { shard, generation, reads, view } => {
            let read = |(key, read): (_, flotilla_store::BaseRead)| {
                (key, read.run(&view).unwrap_or_else(|error| damaged(error)))
            };
            let records = reads.into_iter().map(read).collect();
            Read::Input(Box::new(Input::Loaded { shard, generation, records }))
        }
    }
}
