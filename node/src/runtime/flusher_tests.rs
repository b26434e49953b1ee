//! The flusher over a base in memory whose every call is watched, and can be made to fail.

use std::io;
use std::sync::mpsc;

use bytes::Bytes;
use flotilla_raft::{Configuration, Index, LogId, ReplicaId, Term};
use flotilla_store::memory::{Memory, MemoryView};
use flotilla_store::{Action, Command, Genesis, Operation, Scope, View};
use flotilla_topology::Epoch;

use super::*;

const SHARD: ShardId = ShardId(1);

/// What is asked of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Commit,
    Sync,
    Reopen,
}

/// A base that asks before it does anything.
#[derive(Clone)]
struct Watched {
    memory: Memory,
    watch: Arc<dyn Fn(Call) -> Result<(), BaseError> + Send + Sync>,
}

impl Base for Watched {
    type View = MemoryView;

    fn view(&self) -> MemoryView {
        self.memory.view()
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), BaseError> {
        (self.watch)(Call::Commit)?;
        self.memory.commit(batch)
    }

    fn sync(&self) -> Result<(), BaseError> {
        (self.watch)(Call::Sync)?;
        self.memory.sync()
    }

    fn reopen(&self) -> Result<(), BaseError> {
        (self.watch)(Call::Reopen)?;
        self.memory.reopen()
    }
}

/// A queue, an inbox, and where the reason of an end arrives.
struct Bench {
    queue: Arc<FlusherQueue>,
    inbox: Arc<Inbox>,
    memory: Memory,
    ended: mpsc::Receiver<String>,
    fatal: Fatal,
}

impl Bench {
    fn new() -> Self {
        let (sender, ended) = mpsc::channel();
        let fatal = Fatal::new(move |reason| sender.send(reason).expect("the test waits"));
        let (queue, inbox) = (Arc::default(), Arc::new(Inbox::new(1, 1)));
        Self { queue, inbox, memory: Memory::new(), ended, fatal }
    }

    /// Does everything that is queued, and ends.
    fn run(&self, watch: impl Fn(Call) -> Result<(), BaseError> + Send + Sync + 'static) {
        let base = Watched { memory: self.memory.clone(), watch: Arc::new(watch) };
        self.queue.close();
        Flusher::new(base, Arc::clone(&self.queue), vec![Arc::clone(&self.inbox)], self.fatal.clone()).run();
    }

    /// How many flushes the worker has been told of.
    fn flushed(&self) -> usize {
        let mut inputs = Vec::new();
        self.inbox.take(&mut inputs);
        inputs.iter().filter(|input| matches!(input, Input::Flushed { shard: SHARD, .. })).count()
    }

    fn push_part(&self) -> oneshot::Receiver<Result<(), String>> {
        let (committed, answer) = oneshot::channel();
        let mut batch = WriteBatch::new();
        batch.put(Bytes::from_static(b"part"), Bytes::from_static(b"of a snapshot"));
        self.queue.push_batch(batch, committed);
        answer
    }
}

/// The flush of a shard with one key.
fn flush() -> BaseJob {
    let configuration = Configuration { voters: [ReplicaId(1)].into(), ..Configuration::default() };
    let genesis = Genesis { scope: Scope::Meta, epoch: Epoch(1), configuration };
    let mut machine = Machine::create(SHARD, 1, &genesis);
    let key = Bytes::from_static(b"\0flotilla/k");
    let action = Action::Put { key, value: Bytes::from_static(b"v"), ttl_ms: None };
    let command = Command { stamp_ms: 1, operations: vec![Operation { request: None, action }] };
    machine.apply(LogId::new(Index(1), Term(1)), &command);
    BaseJob::Flush { shard: SHARD, flush: machine.freeze().expect("something was applied") }
}

fn unsynced() -> BaseError {
    BaseError::Unsynced(io::Error::other("the kernel dropped a page"))
}

/// A part that was only written can vanish when a later write fails and the base is reopened; then a snapshot with a hole would
/// become current.
#[test]
fn a_part_of_a_snapshot_is_durable_before_it_is_answered() {
    for seed in 0..16 {
        let bench = Bench::new();
        let answer = Arc::new(Mutex::new(bench.push_part()));
        let calls = Arc::new(Mutex::new(Vec::new()));
        bench.run({
            let (answer, calls) = (Arc::clone(&answer), Arc::clone(&calls));
            move |call| {
                calls.lock().unwrap().push(call);
                let early = answer.lock().unwrap().try_recv();
                assert_eq!(early, Err(oneshot::error::TryRecvError::Empty), "answered before {call:?}");
                Ok(())
            }
        });
        assert_eq!(answer.lock().unwrap().try_recv(), Ok(Ok(())));
        assert_eq!(*calls.lock().unwrap(), [Call::Commit, Call::Sync]);
        bench.memory.crash(seed);
        assert!(bench.memory.view().get(b"part").unwrap().is_some(), "lost in crash {seed}");
    }
}

/// What a failed sync leaves behind is not known, and a later one that succeeds proves nothing.
#[test]
fn a_failed_sync_ends_the_process_and_nothing_is_acknowledged() {
    let bench = Bench::new();
    let mut answer = bench.push_part();
    bench.queue.push(flush());
    let syncs = Arc::new(Mutex::new(0));
    bench.run({
        let syncs = Arc::clone(&syncs);
        move |call| match call {
            Call::Sync => {
                *syncs.lock().unwrap() += 1;
                Err(unsynced())
            }
            Call::Commit => Ok(()),
            Call::Reopen => panic!("a base that may have lost data is not tried again"),
        }
    });
    for what in ["cannot stage a part of a snapshot", "cannot flush"] {
        let reason = bench.ended.try_recv().expect("the thread says why it ends the process");
        assert!(reason.starts_with(what) && reason.contains("the kernel dropped a page"), "{reason}");
    }
    assert_eq!(*syncs.lock().unwrap(), 2, "each was tried once");
    assert!(!matches!(answer.try_recv(), Ok(Ok(()))), "the part is not acknowledged");
    assert_eq!(bench.flushed(), 0, "the flush is not acknowledged: the log must keep its entries");
}

#[test]
fn a_failed_write_is_tried_again_on_the_reopened_base_and_told_once() {
    let bench = Bench::new();
    bench.queue.push(flush());
    let calls = Arc::new(Mutex::new(Vec::new()));
    let base = Watched {
        memory: bench.memory.clone(),
        watch: Arc::new({
            let (calls, queue) = (Arc::clone(&calls), Arc::clone(&bench.queue));
            move |call| {
                let mut calls = calls.lock().unwrap();
                calls.push(call);
                match calls.len() {
                    1 => Err(BaseError::Io(io::Error::other("out of luck"))),
                    // Closed only now: a queue that is closed is not waited for.
                    2 => {
                        queue.close();
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        }),
    };
    Flusher::new(base, Arc::clone(&bench.queue), vec![Arc::clone(&bench.inbox)], bench.fatal.clone()).run();
    assert_eq!(*calls.lock().unwrap(), [Call::Commit, Call::Reopen, Call::Commit, Call::Sync]);
    assert_eq!(bench.flushed(), 1);
    assert!(bench.ended.try_recv().is_err(), "nothing to end the process for");
}

#[test]
fn a_base_that_fails_for_ever_does_not_keep_the_node_from_ending() {
    let bench = Bench::new();
    let mut answer = bench.push_part();
    bench.queue.push(flush());
    bench.run(|_| Err(BaseError::Io(io::Error::other("out of luck"))));
    assert_eq!(bench.flushed(), 0);
    assert!(matches!(answer.try_recv(), Ok(Err(_))), "who streams is told");
    assert!(bench.ended.try_recv().is_err(), "nothing is lost: the log has it");
}
