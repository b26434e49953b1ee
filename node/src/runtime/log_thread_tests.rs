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
        self.inboxes[worker].take(&mut inputs);
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

/// More than any machine takes: only a test that hangs waits so long.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn workers_that_were_told_take_their_turn_before_the_next_write() {
    let queue = Arc::new(LogQueue { turn_patience: LONG, ..LogQueue::default() });
    queue.tell([0, 1].into_iter());
    queue.push(0, BatchTicket(7), batch(7));
    let (sender, taken) = mpsc::channel();
    let log = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || sender.send(queue.take(None))
    });
    // A log that does not wait answers at once.
    let early = taken.recv_timeout(Duration::from_millis(50));
    assert!(early.is_err(), "the log wrote while two workers were about to leave something");
    queue.turned(0);
    queue.push(1, BatchTicket(3), batch(3));
    queue.turned(1);
    match taken.recv_timeout(LONG) {
        Ok(Found::Batches(batches)) => assert_eq!(batches.len(), 2, "both are written together"),
        _ => panic!("no batches"),
    }
    log.join().unwrap().unwrap();
}

#[test]
fn a_worker_that_gets_no_processor_is_not_waited_for_long() {
    let queue = LogQueue { turn_patience: Duration::from_millis(1), ..LogQueue::default() };
    queue.tell([0].into_iter());
    queue.push(1, BatchTicket(7), batch(7));
    assert!(matches!(queue.take(None), Found::Batches(batches) if batches.len() == 1));
    queue.push(1, BatchTicket(8), batch(8));
    queue.turned(0);
    assert!(
        matches!(queue.take(None), Found::Batches(batches) if batches.len() == 1),
        "nobody is told twice"
    );
}
