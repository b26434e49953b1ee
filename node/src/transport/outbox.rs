//! What waits for one peer, and the stream that takes it there.
//!
//! Workers push and never wait; the stream pulls whenever the network has room, and takes everything that waits then, up to
//! the frame limit. That is all the batching there is: what arrives while one frame is being written leaves with the next.
//!
//! A stream is one attempt to reach the peer. It says Hello, and nothing else until the peer's Hello was accepted. A stream of an
//! earlier attempt, still held by a connection that is being torn down, gets nothing more.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use flotilla_proto::v1;
use flotilla_raft::Message;
use flotilla_topology::{Epoch, ShardId};
use prost::Message as _;
use tokio_stream::Stream;

use super::codec;
use super::counters::Counters;
use super::shelf::Shelf;
use crate::host::{Beat, BeatAnswer};

/// What a frame has beside its messages at most, in bytes.
pub(super) const FRAME_BYTES: usize = 64;

/// The bounds of an outbox, in bytes of messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// While a stream stands; beyond it the newest are dropped.
    pub(super) connected: usize,
    /// While none stands; beyond it the oldest are dropped.
    pub(super) unconnected: usize,
}

/// What waits for one peer.
#[derive(Debug)]
pub(super) struct Outbox {
    bounds: Bounds,
    counters: Arc<Counters>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Waiting>,
    bytes: usize,
    /// Numbers the streams.
    attempt: u64,
    phase: Phase,
    /// The newest epoch that the peer was told on this stream.
    epoch_told: Epoch,
    /// The peer asked for our map.
    map_wanted: bool,
    /// The newest beat and the newest answer to one of the peer's. They pass everything that waits.
    beat: Option<v1::Beat>,
    beat_answer: Option<v1::BeatAnswer>,
    /// Of the stream that waits for something to send.
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Waiting {
    shard: ShardId,
    message: Message,
    bytes: usize,
}

#[derive(Debug, Default)]
enum Phase {
    /// No stream.
    #[default]
    Down,
    /// A stream that has yet to say Hello.
    Silent(Box<v1::Hello>),
    /// It waits for the peer's Hello.
    Greeted,
    /// Messages flow, in frames of at most this many bytes.
    Open { frame_bytes_max: usize },
}

impl Outbox {
    pub(super) fn new(bounds: Bounds, counters: Arc<Counters>) -> Self {
        Self { bounds, counters, queue: Mutex::default() }
    }

    /// Queues a message, or drops one. Never waits.
    pub(super) fn push(&self, shard: ShardId, message: Message) {
        let bytes = codec::bytes_bound(&message);
        let mut queue = self.lock();
        match queue.phase {
            // The newest, so that what is sent is what came first: a follower repairs a missing tail at once, but
            // rejects everything behind a hole.
            Phase::Open { frame_bytes_max }
                if queue.bytes + bytes > self.bounds.connected || bytes + FRAME_BYTES > frame_bytes_max =>
            {
                self.counters.dropped(1);
                return;
            }
            Phase::Open { .. } => {}
            // The oldest: whoever comes back wants to hear who leads now, not who did when it left.
            Phase::Down | Phase::Silent(_) | Phase::Greeted => {
                if bytes > self.bounds.unconnected {
                    self.counters.dropped(1);
                    return;
                }
                while queue.bytes + bytes > self.bounds.unconnected
                    && let Some(oldest) = queue.messages.pop_front()
                {
                    queue.bytes -= oldest.bytes;
                    self.counters.dropped(1);
                }
            }
        }
        queue.bytes += bytes;
        queue.messages.push_back(Waiting { shard, message, bytes });
        queue.wake();
    }

    /// The beat of this moment. One that found no room in a frame yet is forgotten: a later one says more.
    pub(super) fn beat(&self, beat: &Beat) {
        let mut queue = self.lock();
        if matches!(queue.phase, Phase::Open { .. }) {
            queue.beat = Some(codec::encode_beat(beat));
            queue.wake();
        }
    }

    /// The answer to a beat of the peer. It leaves with whatever leaves next, at the latest with our own next beat: a frame of its
    /// own would cost two idle nodes as much again as their beats do. Promises last for several beats.
    pub(super) fn answer_beat(&self, answer: BeatAnswer) {
        let mut queue = self.lock();
        if matches!(queue.phase, Phase::Open { .. }) {
            queue.beat_answer = Some(codec::encode_beat_answer(answer));
        }
    }

    /// Begins a new attempt. What an earlier one has not sent waits on.
    pub(super) fn open(self: &Arc<Self>, hello: v1::Hello, shelf: Arc<Shelf>) -> FrameStream {
        let mut queue = self.lock();
        queue.attempt += 1;
        queue.phase = Phase::Silent(Box::new(hello));
        queue.epoch_told = Epoch(0);
        // Of the former stream.
        (queue.beat, queue.beat_answer) = (None, None);
        queue.map_wanted = false;
        queue.wake();
        FrameStream { outbox: Arc::clone(self), shelf, attempt: queue.attempt }
    }

    /// The peer's Hello was accepted: messages may flow.
    pub(super) fn accept(&self, attempt: u64, frame_bytes_max: usize) {
        let mut queue = self.lock();
        if queue.attempt == attempt {
            queue.phase = Phase::Open { frame_bytes_max };
            queue.wake();
        }
    }

    /// The attempt is over.
    pub(super) fn close(&self, attempt: u64) {
        let mut queue = self.lock();
        if queue.attempt == attempt {
            queue.phase = Phase::Down;
            queue.wake();
        }
    }

    /// The peer wants our map.
    pub(super) fn want_map(&self, attempt: u64) {
        let mut queue = self.lock();
        if queue.attempt == attempt {
            queue.map_wanted = true;
            queue.wake();
        }
    }

    /// There may be something new to say: the map changed.
    pub(super) fn nudge(&self) {
        self.lock().wake();
    }

    /// Whether messages flow.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.lock().phase, Phase::Open { .. })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next frame: the map alone, or everything that waits and fits.
    fn next_frame(
        &mut self,
        frame_bytes_max: usize,
        shelf: &Shelf,
        counters: &Counters,
    ) -> Option<v1::PeerFrame> {
        let mut frame = v1::PeerFrame::default();
        if self.map_wanted {
            self.map_wanted = false;
            let (epoch, map) = shelf.get();
            if map.len() + FRAME_BYTES <= frame_bytes_max && epoch > Epoch(0) {
                self.epoch_told = epoch;
                return Some(v1::PeerFrame { map_epoch: epoch.0, map, ..frame });
            }
            tracing::error!(map_bytes = map.len(), frame_bytes_max, "the cluster map does not fit a frame");
        }
        frame.beat = self.beat.take();
        frame.beat_answer = self.beat_answer.take();
        let epoch = shelf.epoch();
        if epoch != self.epoch_told {
            self.epoch_told = epoch;
            frame.map_epoch = epoch.0;
        }
        let beats = frame.encoded_len();
        let mut bytes = FRAME_BYTES + beats;
        while let Some(next) = self.messages.pop_front() {
            if next.bytes + FRAME_BYTES > frame_bytes_max {
                // It waited since before this stream, whose peer accepts less.
                self.bytes -= next.bytes;
                counters.dropped(1);
                continue;
            }
            if bytes + next.bytes > frame_bytes_max {
                self.messages.push_front(next);
                break;
            }
            self.bytes -= next.bytes;
            bytes += next.bytes;
            frame.messages.push(codec::encode(next.shard, next.message));
        }
        (frame != v1::PeerFrame::default()).then_some(frame)
    }
}

/// One attempt's frames, as gRPC pulls them.
#[derive(Debug)]
pub(super) struct FrameStream {
    outbox: Arc<Outbox>,
    shelf: Arc<Shelf>,
    attempt: u64,
}

impl FrameStream {
    /// Names the attempt towards the outbox.
    pub(super) const fn attempt(&self) -> u64 {
        self.attempt
    }
}

impl Stream for FrameStream {
    type Item = v1::PeerFrame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<v1::PeerFrame>> {
        let mut queue = self.outbox.lock();
        if queue.attempt != self.attempt {
            return Poll::Ready(None);
        }
        let frame = match std::mem::take(&mut queue.phase) {
            Phase::Down => return Poll::Ready(None),
            Phase::Silent(hello) => {
                queue.phase = Phase::Greeted;
                return Poll::Ready(Some(v1::PeerFrame { hello: Some(*hello), ..v1::PeerFrame::default() }));
            }
            Phase::Greeted => {
                queue.phase = Phase::Greeted;
                None
            }
            Phase::Open { frame_bytes_max } => {
                queue.phase = Phase::Open { frame_bytes_max };
                queue.next_frame(frame_bytes_max, &self.shelf, &self.outbox.counters)
            }
        };
        match frame {
            Some(frame) => {
                drop(queue);
                self.outbox.counters.sent(frame.encoded_len());
                Poll::Ready(Some(frame))
            }
            None => {
                queue.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
