//! What is going to happen, in order of virtual time.

use std::collections::BTreeMap;

use flotilla_node::host::{Beat, BeatAnswer, Input, ReadJob, SnapshotJob};
use flotilla_store::memory::MemoryView;
use flotilla_topology::NodeId;

/// Something that happens at a node, if it still runs in the same boot.
pub enum Event {
    Wake { node: NodeId, boot: u64 },
    Arrive { node: NodeId, boot: u64, input: Box<Input> },
    LogWritten { node: NodeId, boot: u64 },
    JobDone { node: NodeId, boot: u64 },
    FlusherResumes { node: NodeId, boot: u64 },
    ReadDone { node: NodeId, boot: u64, job: Box<ReadJob<MemoryView>> },
    Beat { node: NodeId, boot: u64 },
    Beaten { node: NodeId, boot: u64, from: NodeId, beat: Beat },
    BeatAnswered { node: NodeId, boot: u64, from: NodeId, answer: BeatAnswer },
    StreamSnapshot { from: NodeId, boot: u64, job: Box<SnapshotJob<MemoryView>> },
}

/// Events by time; at one moment, in the order in which they were announced.
#[derive(Default)]
pub struct Events {
    queue: BTreeMap<(u64, u64), Event>,
    announced: u64,
}

impl Events {
    pub fn push(&mut self, at_us: u64, event: Event) {
        self.announced += 1;
        self.queue.insert((at_us, self.announced), event);
    }

    pub fn pop(&mut self) -> Option<(u64, Event)> {
        self.queue.pop_first().map(|((at_us, _), event)| (at_us, event))
    }

    pub fn next_at(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at_us, _), _)| *at_us)
    }
}
