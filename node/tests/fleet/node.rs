//! One simulated node: its disk, its base, and, while it runs, its worker, its log and its flusher.

use std::collections::VecDeque;

use flotilla_node::host::{
    Answer, BaseJob, BatchTicket, Input, Now, Options, Quarantine, ReadJob, Reply, SnapshotJob,
    SupportOptions, Supports, Worker, ended, recover,
};
use flotilla_raft::SnapshotMeta;
use flotilla_store::memory::{Memory, MemoryView};
use flotilla_store::{Base, Machine, Stats, snapshot};
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::inspect::{self, Place};
use flotilla_wal::simulated::SimulatedDisk;
use flotilla_wal::{Batch, Log, Spent};

/// Small segments, so that a short test rotates, rewrites and recycles.
const SEGMENT_BYTES: u64 = 64 << 10;
/// Snapshots of small tests travel in several chunks.
const CHUNK_BYTES_MAX: usize = 2 << 10;

pub struct Node {
    id: NodeId,
    seed: u64,
    disk: SimulatedDisk,
    pub base: Memory,
    pub boot: u64,
    /// The flusher hangs: what it is given waits.
    stalled: bool,
    pub running: Option<Running>,
}

pub struct Running {
    pub supports: Supports,
    pub quarantine: Quarantine,
    worker: Worker<Memory>,
    log: Log<SimulatedDisk>,
    /// Batches that wait for the write under way to end.
    queued: Vec<(BatchTicket, Batch)>,
    /// The batches being written.
    writing: Vec<(BatchTicket, Batch)>,
    /// What the flusher has not done, oldest first.
    base_jobs: VecDeque<BaseJob>,
    /// When the flusher will be idle.
    flusher_free_us: u64,
    /// The earliest wake-up that has been announced.
    wake_us: Option<u64>,
}

impl Node {
    pub fn new(id: NodeId, seed: u64) -> Self {
        let (disk, base) = (SimulatedDisk::new(seed), Memory::new());
        Self { id, seed, disk, base, boot: 0, stalled: false, running: None }
    }

    /// Opens the log, recovers every replica, and begins. `spent`: the ids that its replicas may have.
    pub fn start(&mut self, now: Now, options: &Options, spent: &Spent) {
        self.boot += 1;
        let supports = Supports::new(SupportOptions { boot: self.boot, ..SupportOptions::default() });
        let segments = flotilla_wal::Options { segment_bytes: SEGMENT_BYTES, ..Default::default() };
        let directory = u128::from(self.id.0);
        let opened = Log::open_quarantining(self.disk.clone(), segments, directory, spent, |_| true);
        let (log, found) = opened.expect("the log opens");
        let quarantine = Quarantine::new(found.quarantined.clone());
        let worker = Worker::new(self.id, options.clone(), self.base.clone(), self.seed ^ self.boot);
        let mut worker = worker.supported(supports.clone()).quarantining(quarantine.clone());
        for (shard, replica) in found.tombstones {
            worker.remember(shard, replica);
        }
        for shard in found.quarantined.keys() {
            let unused = snapshot::unused_generation(&self.base.view(), *shard);
            worker.keep_out(*shard, unused.expect("the base works"));
        }
        let is_known = |shard| found.shards.contains_key(&shard) || found.quarantined.contains_key(&shard);
        let buried = ended(&self.base, is_known).expect("the base works");
        for (shard, generation) in buried {
            worker.bury(shard, generation);
        }
        for (shard, state) in found.shards {
            worker.adopt(now, recover(&self.base, shard, state).expect("the replica recovers"));
        }
        self.running = Some(Running {
            supports,
            quarantine,
            worker,
            log,
            queued: Vec::new(),
            writing: Vec::new(),
            base_jobs: VecDeque::new(),
            flusher_free_us: 0,
            wake_us: None,
        });
    }

    /// Flips a bit in the newest frame that names only this shard and surely had been durable.
    pub fn rot(&self, shard: ShardId) {
        let mut found = None;
        for number in inspect::segments(&self.disk).expect("the disk works") {
            let places = inspect::segment(&self.disk, number).expect("the disk works").places;
            for place in places.iter().rev().skip(2).rev() {
                if let Place::Frame { offset, bytes, shards, .. } = place
                    && *shards == [shard]
                {
                    found = Some((number, offset + bytes - 1));
                }
            }
        }
        let (number, byte) = found.expect("a frame that names only this shard");
        self.disk.flip(&format!("segment-{number:020}.log"), byte, 3);
    }

    /// The power fails. Whatever held the flusher up is over.
    pub fn crash(&mut self, seed: u64) {
        self.stalled = false;
        let Some(mut running) = self.running.take() else { return };
        // Half of the time the write under way had reached the disk, without anybody hearing of it.
        if seed.is_multiple_of(2) && !running.writing.is_empty() {
            running.write();
        }
        drop(running);
        self.disk.crash();
        self.base.crash(seed);
    }

    pub fn supports(&mut self) -> &Supports {
        &self.running.as_ref().expect("the node runs").supports
    }

    pub fn worker(&mut self) -> &mut Worker<Memory> {
        &mut self.running.as_mut().expect("the node runs").worker
    }

    /// Whether a wake-up at this moment must be announced: none that comes earlier has been.
    pub fn wakes_at(&mut self, at_us: u64) -> bool {
        let running = self.running.as_mut().expect("the node runs");
        let new = running.wake_us.is_none_or(|known| at_us < known);
        if new {
            running.wake_us = Some(at_us);
        }
        new
    }

    /// A wake-up came. Whether it is the one that is awaited.
    pub fn woken(&mut self, at_us: u64) -> bool {
        let awaited = &mut self.running.as_mut().expect("the node runs").wake_us;
        awaited.take_if(|awaited| *awaited == at_us).is_some()
    }

    pub fn queue_log_write(&mut self, ticket: BatchTicket, batch: Batch) {
        self.running.as_mut().expect("the node runs").queued.push((ticket, batch));
    }

    /// Begins a write of all that is queued, unless one is under way.
    pub fn start_log_write(&mut self) -> bool {
        let Some(running) = &mut self.running else { return false };
        if !running.writing.is_empty() || running.queued.is_empty() {
            return false;
        }
        running.writing = std::mem::take(&mut running.queued);
        true
    }

    /// The write under way has ended and is durable.
    pub fn finish_log_write(&mut self) -> Input {
        let running = self.running.as_mut().expect("the node runs");
        let ticket = running.writing.last().expect("a write is under way").0;
        running.write();
        while running.log.collect().expect("the disk works") != flotilla_wal::Step::Idle {}
        Input::Persisted { ticket }
    }

    /// Hands a job to the flusher, which does one after the other. When it will be done.
    pub fn queue_base_job(&mut self, job: BaseJob, done_us: u64) -> u64 {
        let running = self.running.as_mut().expect("the node runs");
        running.base_jobs.push_back(job);
        running.flusher_free_us = running.flusher_free_us.max(done_us) + 1;
        running.flusher_free_us
    }

    /// The flusher hangs in a write from here on.
    pub fn stall(&mut self) {
        self.stalled = true;
    }

    /// Every write of the base fails from here on.
    pub fn fail_disk(&mut self) {
        self.base.set_failing(true);
    }

    /// The flusher's disk works again, and the base is reopened. How many jobs wait.
    pub fn resume(&mut self) -> usize {
        self.stalled = false;
        self.base.set_failing(false);
        self.base.reopen().expect("the base works");
        self.running.as_ref().map_or(0, |running| running.base_jobs.len())
    }

    /// Whether what a peer streams can be written now.
    pub fn takes_snapshots(&self) -> bool {
        !self.stalled
    }

    /// The flusher had time for its oldest job. A failed one stays the oldest, as in the real flusher.
    pub fn run_base_job(&mut self) -> Option<Input> {
        if self.stalled {
            return None;
        }
        let running = self.running.as_mut().expect("the node runs");
        let done = carry_out(&self.base, running.base_jobs.front()?).ok()?;
        running.base_jobs.pop_front();
        done
    }

    /// Whether the base holds anything of a shard.
    pub fn base_holds(&self, shard: ShardId) -> bool {
        snapshot::shards_in(&self.base.view()).expect("the base works").contains(&shard)
    }

    /// What the base holds of a shard.
    pub fn stats(&self, shard: ShardId) -> Option<Stats> {
        flotilla_store::stats(&self.base.view(), shard).expect("the base works")
    }
}

impl Running {
    fn write(&mut self) {
        let batches: Vec<Batch> =
            std::mem::take(&mut self.writing).into_iter().map(|(_, batch)| batch).collect();
        self.log.append(&batches).expect("the disk works");
    }
}

/// Does a job of the flusher. Fails with the base.
fn carry_out(base: &Memory, job: &BaseJob) -> Result<Option<Input>, flotilla_store::Error> {
    match job {
        BaseJob::Flush { shard, flush } => {
            Ok(Some(Input::Flushed { shard: *shard, flushed: flush.run(base)? }))
        }
        BaseJob::Activate { shard, generation, genesis, .. } => {
            snapshot::activate(base, *shard, *generation)?;
            let machine = Machine::open(*shard, &base.view(), genesis).expect("the machine opens");
            Ok(Some(Input::Activated { machine: Box::new(machine) }))
        }
        BaseJob::Forget { shard } => {
            while !snapshot::purge_shard(base, *shard, 100)? {}
            base.sync()?;
            Ok(Some(Input::Forgotten { shard: *shard }))
        }
        BaseJob::Purge { shard, generation } => {
            while !snapshot::purge(base, *shard, *generation, 100)? {}
            Ok(None)
        }
    }
}

/// What the reader pool says.
pub enum ReadResult {
    Reply(Reply),
    Input(Box<Input>),
}

pub fn run_read(job: ReadJob<MemoryView>) -> ReadResult {
    match job {
        ReadJob::Get { token, served, read, view } => {
            let record = read.run(&view).expect("the base works");
            ReadResult::Reply(Reply { token, answer: Answer::Got(served, record) })
        }
        ReadJob::Scan { token, served, slice, view } => {
            let page = slice.run(&view).expect("the base works");
            ReadResult::Reply(Reply { token, answer: Answer::Page(served, page) })
        }
        ReadJob::Load { shard, generation, reads, view } => {
            let read =
                |(key, read): (_, flotilla_store::BaseRead)| (key, read.run(&view).expect("the base works"));
            let records = reads.into_iter().map(read).collect();
            ReadResult::Input(Box::new(Input::Loaded { shard, generation, records }))
        }
    }
}

/// What a snapshot job stands for.
pub fn snapshot_meta(job: &SnapshotJob<MemoryView>) -> SnapshotMeta {
    reader(job).meta()
}

fn reader(job: &SnapshotJob<MemoryView>) -> snapshot::Reader<MemoryView> {
    let reader = snapshot::Reader::new(job.view.clone(), job.shard).expect("the base works");
    reader.expect("a leader that compacted its log has flushed")
}

/// Streams a snapshot into a follower's base, all of it or, if the stream breaks, the first chunk. Each part is synced
/// before it is answered, as the real flusher does; a base that fails breaks the stream.
pub fn stage(
    base: &Memory,
    job: &SnapshotJob<MemoryView>,
    generation: u64,
    broken: bool,
) -> Option<SnapshotMeta> {
    let mut reader = reader(job);
    let mut writer = snapshot::Writer::new(job.shard, generation);
    while let Some(chunk) = reader.next_chunk(CHUNK_BYTES_MAX).expect("the base works") {
        base.commit(writer.chunk(chunk).expect("the chunk is whole")).ok()?;
        base.sync().ok()?;
        if broken {
            return None;
        }
    }
    let (batch, meta) = writer.finish().expect("the snapshot is whole");
    base.commit(batch).ok()?;
    base.sync().ok()?;
    Some(meta)
}
