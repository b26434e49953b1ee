//! The threads and workers of a node: they carry inputs to the workers, and effects to where they belong.
//!
//! ```text
//!                          ┌───────────────────────────────┐
//!   api ── ask ──► inbox ──┤ worker's task (shards id % n) ├──► log thread ──► Persisted ──► inbox
//!   peers ───────► inbox ──┤   turn(now, inputs) → effects ├──► flusher ─────► Flushed ────► inbox
//!                          └──────────┬────────────────────┘
//!                                     ├──► reader pool ──► answers, Loaded
//!                                     ├──► transport ────► messages, snapshots
//!                                     └──► tokens ───────► whoever asked
//! ```
//!
//! Workers never wait but for inputs, so they are tasks on the threads that serve the network (tokio): what a frame brings
//! reaches its worker without waking another thread. Everything that may block has a thread of its own kind: the log,
//! the base's one writer, the base's readers.
//!
//! Reading order: `inbox.rs`, `worker_task.rs`, `log_thread.rs`, `flusher.rs`, `readers.rs`, `tokens.rs`, `lanes.rs`,
//! `leaders.rs`, `gathered.rs`, `clock.rs`, `peers.rs` (what the transport says), `start.rs` (how a node comes up), `known.rs` (what a rotten log may have lost), `map_record.rs` (the cluster map in the meta shard), `fleet.rs` (its keeper).
//!
//! What it does not do: it decides nothing about data. Which of the effects may wait for which is the host's contract.

mod arrivals;
mod births;
mod clock;
mod complaints;
mod fleet;
mod flusher;
mod gathered;
mod inbox;
mod known;
mod lanes;
mod leaders;
mod log_thread;
mod map_record;
pub(crate) mod options;
mod peers;
mod readers;
mod start;
mod tokens;
mod worker_task;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flotilla_raft::Term;
use flotilla_store::Base;
use flotilla_store::disk::Room;
use flotilla_topology::{NodeId, ShardId};
use tokio::runtime::Handle;

use crate::host;
pub use crate::host::Input;
use crate::host::{Answer, Quarantine, Refusal, ReplicaStatus, Token};
use crate::metrics::NodeMetrics;

pub use arrivals::Arrivals;
pub use births::{birth, told_of_map};
pub use clock::Clock;
pub use fleet::{FleetKeeper, NewestMap};
pub use gathered::Gathered;
pub use inbox::{Full, Inbox};
pub use known::spent;
pub use lanes::{Asker, QUESTION_BITS, Question, value_bytes};
pub use map_record::{MAP_KEY, MapRecord, NotChanged, StoredMap, swap_of};
pub use start::{StartError, Started, start};
pub use tokens::{Ended, Tokens};

use flusher::FlusherQueue;
use leaders::Leaders;
pub use leaders::Unled;
use log_thread::LogQueue;
use readers::Readers;

/// The base of a real node.
pub type NodeBase = flotilla_store::disk::Disk;
/// A view of it.
pub type BaseView = <NodeBase as Base>::View;
/// What they want done.
pub type Effects = host::Effects<NodeBase>;

/// Room that an input takes beside its keys and values, in bytes.
const INPUT_BYTES: usize = 128;
/// What is full when clients ask too much.
const INBOX: &str = "the inbox of its worker";

/// Called when the node cannot go on. In a real node it writes one line and ends the process; it may return only in
/// tests.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(String) + Send + Sync>);

impl Fatal {
    /// Calls this.
    pub fn new(call: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    /// The node cannot go on, because of this.
    pub fn call(&self, reason: String) {
        (self.0)(reason);
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal")
    }
}

/// The worker of a shard.
#[must_use]
pub fn worker_of(shard: ShardId, workers: usize) -> usize {
    usize::try_from(shard.0 % workers as u64).unwrap_or(0)
}

/// What waits in the queues of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// What clients and peers sent to the workers, in bytes.
    pub inbox_bytes: usize,
    /// Questions that no worker has answered yet.
    pub requests_waiting: usize,
    /// Jobs for the reader pool.
    pub reads_queued: usize,
    /// Jobs for the flusher.
    pub flush_jobs: usize,
    /// Batches for the log.
    pub log_batches: usize,
}

/// The running threads of a node, and the way to ask them.
pub struct Runtime {
    inboxes: Vec<Arc<Inbox>>,
    tokens: Arc<Tokens>,
    log: Arc<LogQueue>,
    flusher: Arc<FlusherQueue>,
    readers: Arc<Readers>,
    leaders: Arc<Leaders>,
    quarantine: Quarantine,
    base: NodeBase,
    metrics: Arc<NodeMetrics>,
    /// Where the workers run.
    handle: Handle,
    threads: Mutex<Threads>,
}

/// The threads, in the order in which they must end.
#[derive(Debug, Default)]
struct Threads {
    workers: Vec<tokio::task::JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    flusher: Option<JoinHandle<()>>,
    log: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Asks the worker of a shard on behalf of a client. `bytes` is what the question carries; when the worker's inbox
    /// is full the answer is a refusal, at once.
    ///
    /// # Errors
    /// The node ended before it answered.
    pub async fn ask(
        &self,
        shard: ShardId,
        bytes: usize,
        question: impl FnOnce(Token) -> Input + Send,
    ) -> Result<Answer, Ended> {
        let waiting = self.tokens.draw();
        let input = question(waiting.token());
        if self.inbox(shard).offer_client(bytes.saturating_add(INPUT_BYTES), input).is_err() {
            return Ok(Answer::Refused(Refusal::Overloaded { shard, what: INBOX }));
        }
        waiting.await
    }

    /// Opens a lane, for a client with many questions at once.
    #[must_use]
    pub fn open_lane(&self) -> Asker {
        self.tokens.open_lane()
    }

    /// Asks everything that was gathered on behalf of a client. What finds no room in the inbox of its worker is
    /// answered with a refusal, at once.
    pub fn ask_all(&self, gathered: &mut Gathered) {
        gathered.offer(&self.inboxes, |shard, token| {
            let refusal = Refusal::Overloaded { shard, what: INBOX };
            self.tokens.answer(token, Answer::Refused(refusal));
        });
    }

    /// An empty collection of questions for the workers of this node.
    #[must_use]
    pub fn gather(&self) -> Gathered {
        Gathered::new(self.inboxes.len())
    }

    /// How many answers clients and the node itself wait for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.tokens.waiting()
    }

    /// Asks the worker of a shard on behalf of the node itself: always let in.
    ///
    /// # Errors
    /// The node ended before it answered.
    pub async fn order(
        &self,
        shard: ShardId,
        question: impl FnOnce(Token) -> Input + Send,
    ) -> Result<Answer, Ended> {
        let waiting = self.tokens.draw();
        let input = question(waiting.token());
        if self.inbox(shard).deliver(input) { waiting.await } else { Err(Ended) }
    }

    /// Tells the worker of a shard something that is not answered.
    pub fn tell(&self, shard: ShardId, input: Input) {
        self.inbox(shard).deliver(input);
    }

    /// All replicas of this node, by their shards.
    ///
    /// # Errors
    /// The node ended before it answered.
    pub async fn replicas(&self) -> Result<Vec<ReplicaStatus>, Ended> {
        let asked: Vec<_> = self
            .inboxes
            .iter()
            .map(|inbox| {
                let waiting = self.tokens.draw();
                inbox.deliver(Input::Inspect { token: waiting.token() }).then_some(waiting).ok_or(Ended)
            })
            .collect();
        let mut replicas = Vec::new();
        for waiting in asked {
            match waiting?.await? {
                Answer::Status(found) => replicas.extend(found),
                other => unreachable!("a worker answered an inspection with {other:?}"),
            }
        }
        replicas.sort_by_key(|replica| replica.shard);
        Ok(replicas)
    }

    /// The same on behalf of a client, as [`Runtime::ask`]: `Answer::Status`, or a refusal.
    ///
    /// # Errors
    /// The node ended before it answered.
    pub async fn inspect(&self) -> Result<Answer, Ended> {
        let mut replicas = Vec::new();
        for worker in 0..self.inboxes.len() as u64 {
            // The worker with this number has the shard with this number, if there is one.
            match self.ask(ShardId(worker), 0, |token| Input::Inspect { token }).await? {
                Answer::Status(found) => replicas.extend(found),
                refused => return Ok(refused),
            }
        }
        replicas.sort_by_key(|replica| replica.shard);
        Ok(Answer::Status(replicas))
    }

    /// Who leads a shard that has a replica here, as that replica said last: a hint that costs no worker's time.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Option<(Term, Option<NodeId>)> {
        self.leaders.of(shard)
    }

    /// The first of these shards that has no known leader, by what workers told last.
    #[must_use]
    pub fn first_unled(&self, shards: impl IntoIterator<Item = ShardId>) -> Option<Unled> {
        self.leaders.first_unled(shards)
    }

    /// As long as this is the same number, so is what is known of leaders.
    #[must_use]
    pub fn leader_news(&self) -> u64 {
        self.leaders.news()
    }

    /// What is out of service on this node.
    #[must_use]
    pub const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// What this node counts.
    #[must_use]
    pub fn metrics(&self) -> &NodeMetrics {
        &self.metrics
    }

    /// What waits in its queues now.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            inbox_bytes: self.inboxes.iter().map(|inbox| inbox.bytes()).sum(),
            requests_waiting: self.tokens.waiting(),
            reads_queued: self.readers.queued(),
            flush_jobs: self.flusher.queued(),
            log_batches: self.log.queued(),
        }
    }

    /// A view of the base as it is now.
    #[must_use]
    pub fn view(&self) -> BaseView {
        self.base.view()
    }

    /// The room of the base's file system. Blocks on the disk.
    ///
    /// # Errors
    /// The file system fails.
    pub fn room(&self) -> io::Result<Room> {
        self.base.room()
    }

    /// Ends all threads, in an order in which none leaves work for one that has ended. Blocks until they have.
    pub fn end(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        self.inboxes.iter().for_each(|inbox| inbox.close());
        for worker in threads.workers.drain(..) {
            drop(self.handle.block_on(worker));
        }
        self.readers.close();
        threads.readers.drain(..).for_each(join);
        self.flusher.close();
        threads.flusher.take().into_iter().for_each(join);
        self.log.close();
        threads.log.take().into_iter().for_each(join);
        self.tokens.end();
    }

    fn inbox(&self, shard: ShardId) -> &Inbox {
        &self.inboxes[worker_of(shard, self.inboxes.len())]
    }
}

/// Waits for a thread. One that panicked has said so itself.
fn join(thread: JoinHandle<()>) {
    drop(thread.join());
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("workers", &self.inboxes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Runtime {
    /// A runtime with these inboxes, which nobody empties.
    pub(crate) fn without_threads(base: NodeBase, inboxes: &[Arc<Inbox>]) -> Self {
        let tokens = Arc::<Tokens>::default();
        let fatal = Fatal::new(|reason| panic!("{reason}"));
        let readers = Readers::new(1, base.clone(), Arc::clone(&tokens), inboxes.to_vec(), fatal);
        Self {
            inboxes: inboxes.to_vec(),
            tokens,
            log: Arc::default(),
            flusher: Arc::default(),
            readers: Arc::new(readers),
            leaders: Arc::default(),
            quarantine: Quarantine::default(),
            base,
            metrics: Arc::new(NodeMetrics::new()),
            handle: Handle::current(),
            threads: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {

    use flotilla_store::disk;
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_worker_whose_inbox_is_full_is_not_inspected_for_clients() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = NodeBase::open(directory.path(), disk::Options::default()).expect("a new base");
        let inbox = Arc::new(Inbox::new(INPUT_BYTES, 1));
        let runtime = Runtime::without_threads(base, &[Arc::clone(&inbox)]);
        let work = || Input::PeerLost { node: NodeId(7) };
        inbox.offer_client(INPUT_BYTES, work()).expect("an empty inbox has room");

        let asked = runtime.inspect().await.expect("the node runs");
        assert!(matches!(asked, Answer::Refused(Refusal::Overloaded { .. })), "{asked:?}");
        assert_eq!(runtime.waiting(), 0, "nobody waits for what was refused");

        assert!(runtime.replicas().now_or_never().is_none(), "the node itself waits for its worker");
        let mut inputs = Vec::new();
        inbox.take(&mut inputs);
        assert!(matches!(inputs[..], [Input::PeerLost { .. }, Input::Inspect { .. }]), "{inputs:?}");
    }
}
