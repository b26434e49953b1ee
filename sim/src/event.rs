//! What is going to happen, in the order of virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use flotilla_node::host::{Beat, BeatAnswer, Input, ReadJob};
use flotilla_store::memory::MemoryView;
use flotilla_topology::{ClusterMap, NodeId, ShardId};

use crate::clients::{Asker, ClientId, Question, RouterId, Said};
use crate::faults::{Ending, FaultKind};
use crate::rounds::{Order, Shown};
use crate::world::FleetStep;

/// Something that happens.
#[derive(Debug)]
pub enum Event {
    /// Something happens at a node, if it still runs in the same boot.
    AtNode(NodeId, u64, AtNode),
    /// A question reaches a node, whether or not it runs.
    Asked(NodeId, Question),
    /// A question reaches a router.
    Routed(RouterId, Question),
    /// Something reaches who asked.
    Answered(Asker, u64, Said),
    /// A router's time has come to look at a hop.
    RouterDue(RouterId, u64),
    /// A client's time has come: to begin, to ask again, to give an attempt up.
    ClientDue(ClientId),
    /// A node is started.
    Start(NodeId),
    /// A fault begins, if one can at this moment.
    Fault(FaultKind),
    /// The power of a machine fails at a delicate moment.
    Ambush(NodeId),
    /// A fault ends.
    Ends(Ending),
    /// A snapshot stream goes on by one chunk.
    Stream(u64),
    /// The fleet grows, shrinks or is evened by one step.
    Fleet(FleetStep),
}

/// Something that happens at a node.
#[derive(Debug)]
pub enum AtNode {
    /// A worker's deadline.
    Wake(usize),
    /// An input reaches a worker.
    Input(usize, Box<Input>),
    /// A worker has time for what has reached it.
    Turn(usize),
    /// The log write under way ends.
    LogWritten,
    /// The log had nothing to do for a while.
    LogIdle,
    /// The flusher has had the time that its oldest job takes.
    JobDone,
    /// It is time to beat.
    Beat,
    /// A beat of another node arrives.
    Beaten(NodeId, Box<Beat>),
    /// The answer of another node to a beat arrives.
    BeatAnswered(NodeId, BeatAnswer),
    /// What was promised before the start has run out.
    PromisesOver,
    /// It is time to look whether the controller has something to do.
    Round,
    /// A round of the controller waits for nobody any more.
    RoundOver(u64),
    /// The controller on another node asks about these shards, in this round.
    Inspect(NodeId, u64, Arc<BTreeSet<ShardId>>),
    /// Another node answers that.
    Inspected(NodeId, u64, Shown),
    /// Another node cannot be asked in this round.
    Refused(NodeId, u64),
    /// The controller orders something.
    Ordered(Box<Order>),
    /// Another node says which map it has.
    MapArrived(Arc<ClusterMap>),
    /// A node that is none of the fleet asks to be let in.
    AskedIn(NodeId),
    /// A reader has had the time that its job takes.
    ReadDone(Box<ReadJob<MemoryView>>),
}

/// Events by time; at one moment, in the order in which they were announced.
#[derive(Debug, Default)]
pub struct Events {
    queue: BinaryHeap<Reverse<Queued>>,
    announced: u64,
}

#[derive(Debug)]
struct Queued {
    at_us: u64,
    number: u64,
    event: Event,
}

impl Events {
    /// Announces an event.
    pub fn push(&mut self, at_us: u64, event: Event) {
        self.announced += 1;
        self.queue.push(Reverse(Queued { at_us, number: self.announced, event }));
    }

    /// The next event, unless it lies beyond this time.
    pub fn pop_until(&mut self, end_us: u64) -> Option<(u64, Event)> {
        let next = self.queue.peek()?.0.at_us;
        if next > end_us {
            return None;
        }
        self.queue.pop().map(|Reverse(queued)| (queued.at_us, queued.event))
    }
}

impl Queued {
    const fn key(&self) -> (u64, u64) {
        (self.at_us, self.number)
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
