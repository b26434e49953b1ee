//! What goes into a worker and what comes out of it.
//!
//! A worker is a synchronous, deterministic state machine. Everything that it learns is an [`Input`]; everything that
//! it wants done is in [`Effects`]. The threads of a node carry one to the other, and so does the simulator: neither
//! can see a difference.
//!
//! The order in which a driver carries out the effects of one turn matters:
//!
//! ```text
//!   messages      at once, before the log write: a leader's appends overlap its own fsync
//!   batch         to the log thread; when its fdatasync has returned: Input::Persisted
//!   base_jobs     to the flusher, in order (it is the only writer of the base)
//!   reads         to the reader pool, in any order: each carries the view that it reads
//!   replies       to whoever waits on the token, at once
//!   events        to whoever counts, whenever there is time
//! ```
//!
//! Nothing here blocks and nothing here fails: what can fail (a disk, a peer) does so in the driver, which either
//! stops the process (the log) or says so with an input (a snapshot stream).

use std::time::Duration;

use bytes::Bytes;
use flotilla_raft::{Change, Impossible, Index, LogId, Message, ReplicaId, SnapshotMeta, Term, Time};
use flotilla_store::{
    Base, BaseRead, Flush, Flushed, Limits, Machine, Operation, Outcome, Record, Retired, ScanRange,
    ScanSlice,
};
use flotilla_topology::Slot;
use flotilla_topology::{NodeId, ShardId};

use super::birth::Birth;
pub use super::refusal::Refusal;
use super::sleep::Wakeup;
use super::status::ReplicaStatus;
use super::support::FallenLeader;

/// The moment of a turn. Read from the clocks *after* its inputs were taken in: a leader that checks its lease against a moment
/// before a read arrived could have slept in between, and answer it with what was true before another led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, which drives timers.
    pub time: Time,
    /// The wall clock in milliseconds since the Unix epoch, which a leader stamps into its commands.
    pub wall_ms: u64,
}

/// Names who waits for an answer. The driver chooses it; the worker hands it back once, with the [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Numbers the log batches of one worker, from 1, in the order in which they must be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchTicket(pub u64);

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// At least everything acknowledged before the read began. Only the leader answers.
    Linearizable,
    /// Whatever this replica has applied.
    Stale,
}

/// What a worker learns.
#[derive(Debug)]
pub enum Input {
    /// A Raft message arrived for a replica of this node.
    Peer {
        /// Its shard.
        shard: ShardId,
        /// The message; one whose addressee does not live here is dropped.
        message: Message,
    },
    /// The stream to a node broke: what was in flight may be lost.
    PeerLost {
        /// That node.
        node: NodeId,
    },
    /// The stream from a node broke: nothing more will be heard on it. Followers of leaders there need not wait for their
    /// election timeouts.
    PeerSilent {
        /// That node.
        node: NodeId,
    },
    /// A node is heard in another life, or promises under another number, than before. Only so that it is noticed at once.
    PairChanged {
        /// That node.
        node: NodeId,
    },
    /// The node of a leader says that it leads no more.
    LeaderFell {
        /// That node.
        node: NodeId,
        /// Who.
        leader: FallenLeader,
    },
    /// A client wants to write.
    Write {
        /// The shard that the caller believes to own the key; apply checks it.
        shard: ShardId,
        /// Who waits.
        token: Token,
        /// What to do.
        operation: Operation,
    },
    /// A client wants the record of one key.
    Get {
        /// The shard that the caller believes to own the key; the read checks it.
        shard: ShardId,
        /// Who waits.
        token: Token,
        /// The key.
        key: Bytes,
        /// How fresh.
        consistency: Consistency,
    },
    /// A client wants one page of a scan of one shard.
    Scan {
        /// The shard.
        shard: ShardId,
        /// Who waits.
        token: Token,
        /// Which keys, in which order.
        range: ScanRange,
        /// How much of them.
        limits: Limits,
        /// How fresh.
        consistency: Consistency,
    },
    /// The log batch with this ticket, and all before it, are on stable storage.
    Persisted {
        /// The newest such batch.
        ticket: BatchTicket,
    },
    /// The flusher finished a [`BaseJob::Flush`].
    Flushed {
        /// Whose.
        shard: ShardId,
        /// What it wrote.
        flushed: Flushed,
    },
    /// The reader pool finished a [`ReadJob::Load`].
    Loaded {
        /// Whose.
        shard: ShardId,
        /// The generation that was read.
        generation: u64,
        /// What stands in the base under each key.
        records: Vec<(Bytes, Option<Record>)>,
    },
    /// The flusher finished a [`BaseJob::Activate`].
    Activated {
        /// The state machine opened on the generation that is current now.
        machine: Box<Machine>,
    },
    /// A peer wants to stream a snapshot to us. Answered by [`Answer::Stage`].
    Stage {
        /// Its shard.
        shard: ShardId,
        /// Who waits.
        token: Token,
        /// The replica here that it is for.
        to: ReplicaId,
        /// The term of the leader that sends it.
        term: Term,
        /// The position of its last entry.
        last: LogId,
    },
    /// A staged snapshot is complete and verified in the base; `None` if its stream broke.
    Staged {
        /// Its shard.
        shard: ShardId,
        /// The generation named by [`Answer::Stage`].
        generation: u64,
        /// The leader's message, to be stepped now.
        snapshot: Option<Message>,
    },
    /// The stream of a [`SnapshotJob`] ended.
    SnapshotSent {
        /// Its shard.
        shard: ShardId,
        /// The follower.
        to: ReplicaId,
        /// The position delivered; `None` if it failed.
        delivered: Option<LogId>,
    },
    /// The cluster map says that a replica lives here. Ignored unless its id is greater than every id that this node ever hosted of the shard.
    Create {
        /// The shard.
        shard: ShardId,
        /// How it comes into the world.
        birth: Birth,
    },
    /// The cluster map says where the replicas of a shard live.
    Placed {
        /// The shard.
        shard: ShardId,
        /// Replica by replica.
        placement: Vec<(ReplicaId, NodeId)>,
    },
    /// An operator wants another leader. Answered by [`Answer::Transfer`] when it has been started or refused.
    Transfer {
        /// The shard.
        shard: ShardId,
        /// Who waits.
        token: Token,
        /// The node that shall lead; `None`: whichever follower is furthest.
        to: Option<NodeId>,
    },
    /// Somebody wants other members. Answered by [`Answer::Changing`] when it has been proposed or refused; it is in effect
    /// when [`ReplicaStatus::configuration_index`] says so.
    Change {
        /// The shard.
        shard: ShardId,
        /// Who waits.
        token: Token,
        /// What shall become of the members.
        change: Change,
        /// The index of the configuration on which that was decided.
        derived_from: Index,
    },
    /// A replica that lives here is no member any more, and [`ReplicaStatus::settled`] says that nobody needs it: it ends, and
    /// its id is spent. Ignored if another one lives here, or none.
    Retire {
        /// The shard.
        shard: ShardId,
        /// The replica.
        replica: ReplicaId,
    },
    /// The flusher finished a [`BaseJob::Forget`].
    Forgotten {
        /// The shard of which the base holds nothing any more.
        shard: ShardId,
    },
    /// Write everything applied so far into the base. Answered by [`Answer::Flushed`].
    Flush {
        /// The shard.
        shard: ShardId,
        /// Who waits.
        token: Token,
    },
    /// What do the replicas of this worker look like? Answered by [`Answer::Status`].
    Inspect {
        /// Who waits.
        token: Token,
    },
}

/// What a worker wants done after a turn. See the module's words on the order.
#[derive(Debug)]
pub struct Effects<B: Base> {
    /// Raft messages, by node.
    pub messages: Vec<(NodeId, ShardId, Message)>,
    /// What must become durable; at most one batch a turn, for all shards.
    pub batch: Option<(BatchTicket, flotilla_wal::Batch)>,
    /// Answers; each token exactly once.
    pub replies: Vec<Reply>,
    /// Work for the flusher.
    pub base_jobs: Vec<BaseJob>,
    /// Work for the reader pool.
    pub reads: Vec<ReadJob<B::View>>,
    /// Snapshots to be streamed to followers.
    pub snapshots: Vec<SnapshotJob<B::View>>,
    /// What is best dropped on another thread, because it is big.
    pub retired: Vec<Retired>,
    /// Messages of peers that could not be true, and were dropped: worth a line in the log, by whoever writes one.
    pub impossible: Vec<(ShardId, Impossible)>,
    /// The replicas whose term or leader changed, as far as they know.
    pub leaders: Vec<(ShardId, Term, Option<NodeId>)>,
    /// The meta shard applied a write: the cluster map may have changed.
    pub map_changed: bool,
    /// What happened, for whoever counts. Nothing depends on it.
    pub events: Vec<(ShardId, Event)>,
}

/// Something worth counting that only the worker sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This leader proposed an entry.
    Proposed,
    /// An entry that this leader proposed was applied here.
    Applied {
        /// How long after its proposal.
        after: Duration,
    },
    /// This replica asks for votes in a new term.
    Campaigned,
    /// This replica won an election.
    Elected,
    /// The reads of a turn were asked for together.
    ReadsAsked {
        /// They were confirmed at once by the leader's lease; else they wait for a round of heartbeats.
        by_lease: bool,
    },
    /// This leader hands over, because its node's log makes no progress.
    HandsOver,
    /// A follower has staged the snapshot that this leader sent.
    SnapshotSent,
    /// A snapshot took the place of this replica's state.
    SnapshotInstalled,
    /// This replica fell asleep: it owns no timer and sends nothing.
    Slept,
    /// This replica slept, and does so no more.
    Woke {
        /// Why.
        why: Wakeup,
    },
}

/// An answer and who waits for it.
#[derive(Debug)]
pub struct Reply {
    /// Who.
    pub token: Token,
    /// What.
    pub answer: Answer,
}

/// By whom and when an answer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The shard.
    pub shard: ShardId,
    /// The term of its replica.
    pub term: Term,
    /// The shard time, in milliseconds.
    pub time_ms: u64,
    /// The version counter of the state that was read or written.
    pub version: u64,
    /// How many committed entries this replica had not applied, when the read was a stale one.
    pub lag_entries: Option<u64>,
    /// For how long this replica had not heard its leader, in milliseconds. Whoever is cut off knows of no lag.
    pub silence_ms: u64,
}

/// What a worker, or a [`ReadJob`], answers.
#[derive(Debug)]
pub enum Answer {
    /// A write was applied; the outcome may be that it changed nothing.
    Written(Served, Outcome),
    /// The record of the key, if it has one.
    Got(Served, Option<Record>),
    /// One page of a scan.
    Page(Served, flotilla_store::Page),
    /// This replica's shard does not own the slot of the key.
    WrongSlot(Served, Slot),
    /// Nothing was done, or nobody knows: see [`Refusal::definite`].
    Refused(Refusal),
    /// A transfer of leadership has been started.
    Transfer,
    /// A change of the members has been proposed as this entry. It may be lost with its leader.
    Changing(LogId),
    /// A snapshot may be staged under this generation.
    Stage {
        /// The generation.
        generation: u64,
    },
    /// Everything up to this entry is in the base.
    Flushed(LogId),
    /// The replicas of a worker.
    Status(Vec<ReplicaStatus>),
}

/// Work for the flusher, the only writer of the base. In order.
#[derive(Debug)]
pub enum BaseJob {
    /// Write a frozen overlay. Answered by [`Input::Flushed`].
    Flush {
        /// Whose.
        shard: ShardId,
        /// The overlay.
        flush: Flush,
    },
    /// Make a staged generation current, open the state machine on it. Answered by [`Input::Activated`].
    Activate {
        /// Whose.
        shard: ShardId,
        /// The staged generation.
        generation: u64,
        /// What it holds.
        meta: SnapshotMeta,
        /// The genesis of the shard, which the machine needs to be opened.
        genesis: flotilla_store::Genesis,
    },
    /// Delete what a generation left behind, in bounded steps, when there is time. Not answered.
    Purge {
        /// Whose.
        shard: ShardId,
        /// The dead generation.
        generation: u64,
    },
    /// Delete everything of a shard whose replica has ended, in bounded steps, after all jobs before this one; then sync, or a
    /// crash could bring a part of it back under the next replica. Answered by [`Input::Forgotten`].
    Forget {
        /// The shard.
        shard: ShardId,
    },
}

/// Work for the reader pool: each job carries the view that it reads, taken after the ownership check.
#[derive(Debug)]
pub enum ReadJob<V> {
    /// Read one key, answer [`Answer::Got`].
    Get {
        /// Who waits.
        token: Token,
        /// What to put into the answer.
        served: Served,
        /// The key, and how to read it.
        read: BaseRead,
        /// Where.
        view: V,
    },
    /// Merge a page, answer [`Answer::Page`].
    Scan {
        /// Who waits.
        token: Token,
        /// What to put into the answer.
        served: Served,
        /// The overlay's part, and how to merge it.
        slice: ScanSlice,
        /// Where.
        view: V,
    },
    /// Read keys that an entry needs before it can be applied. Answered by [`Input::Loaded`].
    Load {
        /// Whose.
        shard: ShardId,
        /// The generation to read.
        generation: u64,
        /// The keys, and how to read each.
        reads: Vec<(Bytes, BaseRead)>,
        /// Where.
        view: V,
    },
}

/// A snapshot to be streamed to a follower, on a connection of its own. Answered by [`Input::SnapshotSent`].
#[derive(Debug)]
pub struct SnapshotJob<V> {
    /// The shard.
    pub shard: ShardId,
    /// The node that gets it.
    pub node: NodeId,
    /// The leader that sends it.
    pub from: ReplicaId,
    /// The follower that gets it.
    pub to: ReplicaId,
    /// The leader's term.
    pub term: Term,
    /// What to stream: the current generation of the shard, as of this view.
    pub view: V,
}

impl<B: Base> Default for Effects<B> {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            batch: None,
            replies: Vec::new(),
            base_jobs: Vec::new(),
            reads: Vec::new(),
            snapshots: Vec::new(),
            retired: Vec::new(),
            impossible: Vec::new(),
            leaders: Vec::new(),
            map_changed: false,
            events: Vec::new(),
        }
    }
}

impl<B: Base> Effects<B> {
    /// Lets something be counted.
    pub(super) fn event(&mut self, shard: ShardId, event: Event) {
        self.events.push((shard, event));
    }

    /// Answers a token.
    pub(super) fn reply(&mut self, token: Token, answer: Answer) {
        self.replies.push(Reply { token, answer });
    }

    /// Refuses a token.
    pub(super) fn refuse(&mut self, token: Token, refusal: Refusal) {
        self.reply(token, Answer::Refused(refusal));
    }
}
