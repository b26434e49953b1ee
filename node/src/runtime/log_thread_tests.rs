//! The log thread over a simulated disk.

use std::sync::mpsc;

use flotilla_raft::ReplicaId;
use flotilla_topology::ShardId;
use flotilla_wal::simulated::{Faults, SimulatedDisk};
use flotilla_wal::{Options, Record};

use super::*;
use crate::metrics::NodeMetrics;

/// Small segments: the thread's housekeeping has something to do.
fn options() -> Options {
    Options { segment_bytes: 16 << 10, ..Options::default() }
}

fn open(disk: &SimulatedDisk) -> Log<SimulatedDisk> {
    let (log, _) = Log::open(disk.clone(), options(), 7).expect("the disk is good");
    log
}

fn batch(shard: u64) -> Batch {
    let mut batch = Batch::default();
    batch.push(ShardId(shard), Record::Tombstone { replica: ReplicaId(1) });
    batch
}

/// Two inboxes, a queue, and where the reason of an end arrives.
struct Bench {
    queue: Arc<LogQueue>,
    inboxes: Vec<Arc<Inbox>>,
    fatal: Fatal,
    ended: mpsc::Receiver<String>,
}

impl Bench {
    fn new() -> Self {
        let (sender, ended) = mpsc::channel();
        let fatal = Fatal::new(move |reason| sender.send(reason).expect("the test waits"));
        let inboxes = (0..2).map(|_| Arc::new(Inbox::new(1, 1))).collect();
        Self { queue: Arc::default(), inboxes, fatal, ended }
    }

    fn thread(&self, log: Log<SimulatedDisk>) -> LogThread<SimulatedDisk> {
        LogThread::new(
            log,
            Arc::clone(&self.queue),
            self.inboxes.clone(),
            self.fatal.clone(),
            NodeMetrics::new().log.clone(),
        )
    }

    /// The tickets that a worker has been told so far.
    fn told(&self, worker: usize) -> Vec<u64> {
        let mut inputs = Vec::new();
        self.inboxes[worker].wait(Some(Duration::ZERO), &mut inputs);
        let ticket = |input: &Input| match input {
            Input::Persisted { ticket } => ticket.0,
            other => panic!("the log thread said {other:?}"),
        };
        inputs.iter().map(ticket).collect()
    }
}

#[test]
fn what_has_arrived_is_written_at_once_and_each_worker_hears_of_its_newest() {
    let disk = SimulatedDisk::new(1);
    let bench = Bench::new();
    let thread = bench.thread(open(&disk));
    for (worker, ticket) in [(0, 7), (1, 3), (0, 8)] {
        bench.queue.push(worker, BatchTicket(ticket), batch(ticket));
    }
    bench.queue.close();
    let before = disk.syncs();
    thread.run();
    assert_eq!(bench.told(0), [8], "one completion stands for all before it");
    assert_eq!(bench.told(1), [3]);
    assert!(disk.syncs() > before, "nothing is told before it was synced");
    let (_, found) = Log::open(disk, options(), 7).expect("the log is good");
    assert_eq!(found.tombstones.len(), 3);
}

#[test]
fn a_log_that_cannot_be_written_tells_no_worker_anything() {
    let disk = SimulatedDisk::new(2);
    let bench = Bench::new();
    let thread = bench.thread(open(&disk));
    // The write goes well, its sync does not.
    disk.set_faults(Faults { crash_at_call: Some(disk.calls() + 2), ..Faults::default() });
    bench.queue.push(0, BatchTicket(1), batch(1));
    bench.queue.push(1, BatchTicket(1), batch(2));
    thread.run();
    let reason = bench.ended.recv().expect("the thread says why it ended");
    assert!(reason.starts_with("the log cannot be written"), "{reason}");
    assert!(bench.told(0).is_empty() && bench.told(1).is_empty());
}
