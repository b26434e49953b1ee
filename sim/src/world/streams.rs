//! Snapshot streams: offered, then chunk by chunk into the base of the follower, each synced before the next.
//!
//! ```text
//!   leader: SnapshotJob ─► offer ─► follower: Stage ─► chunk, chunk, … ─► Staged (with the leader's message)
//!                                                                     └─► leader: SnapshotSent
//! ```

use flotilla_node::host::{Answer, Input, SnapshotJob};
use flotilla_raft::{LogId, Message, Rpc};
use flotilla_store::memory::{Memory, MemoryView};
use flotilla_store::{Base, snapshot};
use flotilla_topology::NodeId;

use super::{Waiter, World};
use crate::event::Event;

/// Snapshots of small worlds travel in several chunks.
const CHUNK_BYTES_MAX: usize = 2 << 10;
/// A follower whose flusher hangs is tried again after so long.
const HELD_UP_US: u64 = 5_000;

/// A snapshot on its way.
pub(super) struct Stream {
    from: NodeId,
    from_boot: u64,
    to_boot: u64,
    job: SnapshotJob<MemoryView>,
    reader: snapshot::Reader<MemoryView>,
    /// Since the follower took the offer.
    staging: Option<(u64, snapshot::Writer)>,
}

/// What one chunk did.
enum Progress {
    More,
    HeldUp,
    Broken,
    Complete(Box<Message>, LogId),
}

impl World {
    /// A leader begins a stream.
    pub(super) fn open_stream(&mut self, from: NodeId, job: SnapshotJob<MemoryView>) {
        let reader = snapshot::Reader::new(job.view.clone(), job.shard);
        let reader = reader.unwrap_or_else(|error| panic!("{from}: the base cannot be read: {error}"));
        let Some(reader) = reader else { panic!("{from} compacted its log and never flushed {}", job.shard) };
        let (shard, to, node, term, last) = (job.shard, job.to, job.node, job.term, reader.meta().last);
        let (from_boot, to_boot) = (self.node(from).boot, self.node(node).boot);
        let number = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(number, Stream { from, from_boot, to_boot, job, reader, staging: None });
        if self.node(node).running.is_none() || !self.network.carries(from, node, self.now_us) {
            self.break_stream(number);
            return;
        }
        self.ask(node, Waiter::Stream(node, number), |token| Input::Stage { shard, token, to, term, last });
    }

    /// The follower answered the offer.
    pub(super) fn offered(&mut self, number: u64, answer: Answer) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        match answer {
            Answer::Stage { generation } => {
                stream.staging = Some((generation, snapshot::Writer::new(stream.job.shard, generation)));
                let at_us = self.now_us + self.network.delay_us();
                self.events.push(at_us, Event::Stream(number));
            }
            _ => self.break_stream(number),
        }
    }

    /// One chunk.
    pub(super) fn stream_on(&mut self, number: u64) {
        let Some(mut stream) = self.streams.remove(&number) else { return };
        let (from, to) = (stream.from, stream.job.node);
        let alive = self.is_boot(from, stream.from_boot) && self.is_boot(to, stream.to_boot);
        let storm = self.network.weathered().is_empty() && self.chance.permille(600);
        let carries = self.network.carries(from, to, self.now_us);
        let follower = self.node(to);
        let progress = if !alive || storm || !carries {
            Progress::Broken
        } else if follower.stalled {
            Progress::HeldUp
        } else {
            stream.chunk(&follower.base)
        };
        let delay_us = self.network.delay_us();
        match progress {
            Progress::More => self.events.push(self.now_us + delay_us, Event::Stream(number)),
            Progress::HeldUp => self.events.push(self.now_us + HELD_UP_US, Event::Stream(number)),
            Progress::Broken => {
                self.streams.insert(number, stream);
                self.break_stream(number);
                return;
            }
            Progress::Complete(message, last) => {
                self.complete(&stream, *message, last);
                return;
            }
        }
        self.streams.insert(number, stream);
    }

    fn complete(&mut self, stream: &Stream, message: Message, last: LogId) {
        let (shard, to) = (stream.job.shard, stream.job.to);
        let Some((generation, _)) = &stream.staging else { return };
        let staged = Input::Staged { shard, generation: *generation, snapshot: Some(message) };
        self.input(stream.job.node, staged, self.now_us);
        let at_us = self.now_us + self.network.delay_us();
        self.input_if_boot(
            stream.from,
            stream.from_boot,
            Input::SnapshotSent { shard, to, delivered: Some(last) },
            at_us,
        );
        self.coverage.count("snapshots streamed");
    }

    /// Both ends hear of it, if they live; a follower sometimes hears nothing, as when the sender died after its offer.
    fn break_stream(&mut self, number: u64) {
        let Some(stream) = self.streams.remove(&number) else { return };
        self.coverage.count("snapshot streams broken");
        let (shard, to) = (stream.job.shard, stream.job.to);
        let at_us = self.now_us + self.network.delay_us();
        if let Some((generation, _)) = stream.staging
            && self.chance.permille(700)
        {
            let staged = Input::Staged { shard, generation, snapshot: None };
            self.input_if_boot(stream.job.node, stream.to_boot, staged, at_us);
        }
        let sent = Input::SnapshotSent { shard, to, delivered: None };
        self.input_if_boot(stream.from, stream.from_boot, sent, at_us);
    }

    /// A node ended: its streams break.
    pub(super) fn break_streams(&mut self, id: NodeId) {
        let of = |stream: &Stream| stream.from == id || stream.job.node == id;
        let numbers: Vec<u64> =
            self.streams.iter().filter(|(_, stream)| of(stream)).map(|(number, _)| *number).collect();
        numbers.into_iter().for_each(|number| self.break_stream(number));
    }

    fn is_boot(&mut self, id: NodeId, boot: u64) -> bool {
        let node = self.node(id);
        node.running.is_some() && node.boot == boot
    }

    fn input_if_boot(&mut self, id: NodeId, boot: u64, input: Input, at_us: u64) {
        if self.is_boot(id, boot) {
            self.input(id, input, at_us);
        }
    }
}

impl Stream {
    /// The next chunk goes into the follower's base, and is synced there before the next one is asked for.
    fn chunk(&mut self, base: &Memory) -> Progress {
        let Some((generation, writer)) = &mut self.staging else { return Progress::Broken };
        let damaged = |error: String| -> ! { panic!("a snapshot on its way is damaged: {error}") };
        let chunk =
            self.reader.next_chunk(CHUNK_BYTES_MAX).unwrap_or_else(|error| damaged(error.to_string()));
        if let Some(chunk) = chunk {
            let batch = writer.chunk(chunk).unwrap_or_else(|error| damaged(error.to_string()));
            return if write(base, batch) { Progress::More } else { Progress::Broken };
        }
        let done = std::mem::replace(writer, snapshot::Writer::new(self.job.shard, *generation));
        let (batch, meta) = done.finish().unwrap_or_else(|error| damaged(error.to_string()));
        if !write(base, batch) {
            return Progress::Broken;
        }
        let last = meta.last;
        let (from, to, term) = (self.job.from, self.job.to, self.job.term);
        Progress::Complete(Box::new(Message { from, to, term, rpc: Rpc::InstallSnapshot { meta } }), last)
    }
}

fn write(base: &Memory, batch: flotilla_store::WriteBatch) -> bool {
    let written = base.commit(batch).and_then(|()| base.sync()).is_ok();
    if !written {
        // As the flusher does, which writes for streams, too: whoever finds the base failed reopens it.
        drop(base.reopen());
    }
    written
}
