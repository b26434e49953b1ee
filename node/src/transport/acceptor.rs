//! The stream that a peer opened to us: its messages come here.

use std::sync::Arc;

use flotilla_proto::v1;
use flotilla_topology::{Epoch, NodeId};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::codec::{self, WireError};
use super::dialer::Peer;
use super::event::PeerEvent;
use super::hello::Greeting;
use super::outbox::FRAME_BYTES;
use super::switchboard::Shared;
use super::voucher::Voucher;

/// How many answers may wait: our Hello, and requests for a map.
const ANSWERS_MAX: usize = 4;

/// Our side of an accepted stream.
pub(super) type Answers = ReceiverStream<Result<v1::PeerFrame, Status>>;

type Answering = mpsc::Sender<Result<v1::PeerFrame, Status>>;

/// Why an accepted stream was closed from here.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("a second Hello")]
    Hello,
    #[error("a message that makes no sense: {0}")]
    Message(#[from] WireError),
}

/// Greets the node that opened a stream, and goes on reading it on a task of its own.
pub(super) async fn accept(
    shared: &Arc<Shared>,
    mut frames: Streaming<v1::PeerFrame>,
    voucher: &Voucher,
) -> Result<Answers, Status> {
    let first = timeout(shared.options.connect_timeout, frames.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no Hello in time"))??;
    let hello = first.and_then(|frame| frame.hello);
    // Before anything of it is remembered.
    if let Some(hello) = &hello {
        voucher.check(hello.from_node)?;
    }
    let from = voucher.from();
    let greeting = shared.doorman.check(hello, None).map_err(|mismatch| {
        if shared.doorman.is_news(&mismatch) {
            tracing::warn!(%from, why = %mismatch, "refused a stream of another node");
        } else {
            tracing::debug!(%from, why = %mismatch, "refused a stream of another node again");
        }
        Status::failed_precondition(mismatch.to_string())
    })?;
    tracing::debug!(peer = %greeting.node, %from, boot = %greeting.boot, "accepted a stream of the peer");
    let (answering, answers) = mpsc::channel(ANSWERS_MAX);
    let hello =
        v1::PeerFrame { hello: Some(shared.doorman.hello(greeting.node)), ..v1::PeerFrame::default() };
    if answering.try_send(Ok(hello)).is_err() {
        unreachable!("a new channel of {ANSWERS_MAX} has no room for one answer");
    }
    let number = shared.next_accepted();
    let mut ended = shared.ended();
    let shared = Arc::clone(shared);
    let mut reader =
        Reader { shared, peer: None, number, greeting, answering, asked: Epoch(0), theirs: Epoch(0) };
    reader.meet();
    tokio::spawn(async move {
        tokio::select! {
            () = reader.run(frames) => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        // A node that dialled again is heard on its new stream, and would be taken for dead by the end of its old one.
        if let Some(peer) = reader.peer.filter(|peer| peer.is_newest(number)) {
            (reader.shared.events)(PeerEvent::Silent { node: peer.node });
        }
    });
    Ok(ReceiverStream::new(answers))
}

/// Reads one accepted stream.
struct Reader {
    shared: Arc<Shared>,
    /// None until our map knows the node.
    peer: Option<Arc<Peer>>,
    /// Of the stream.
    number: u64,
    greeting: Greeting,
    answering: Answering,
    /// The epoch of the map that we asked for last.
    asked: Epoch,
    /// The newest epoch that the node has told of, or was told of; 0: none.
    theirs: Epoch,
}

impl Reader {
    /// A node may be heard before our map knows it: when a fleet or this node begins, and when the other has just joined. It is a
    /// peer like any other as soon as the map says so.
    fn meet(&mut self) {
        if self.peer.is_some() {
            return;
        }
        self.peer = self.shared.peer(self.greeting.node);
        if let Some(peer) = &self.peer {
            peer.accepted(self.number);
            // It is there: our own stream to it need not wait for its next attempt.
            peer.kick();
        }
    }

    async fn run(&mut self, mut frames: Streaming<v1::PeerFrame>) {
        let node = self.greeting.node;
        loop {
            match frames.message().await {
                Ok(Some(frame)) => {
                    if let Err(fault) = self.take(frame) {
                        tracing::warn!(peer = %node, why = %fault, "closed a stream of the peer");
                        // No room for the reason: the stream ends without it.
                        let _ = self.answering.try_send(Err(Status::invalid_argument(fault.to_string())));
                        return;
                    }
                }
                Ok(None) => return tracing::debug!(peer = %node, "the peer closed its stream"),
                Err(status) => return tracing::debug!(peer = %node, why = status.message(), "a stream broke"),
            }
        }
    }

    fn take(&mut self, frame: v1::PeerFrame) -> Result<(), Fault> {
        self.meet();
        if let Some(peer) = &self.peer {
            peer.counters.received(frame.encoded_len());
        }
        if frame.hello.is_some() {
            return Err(Fault::Hello);
        }
        let node = self.greeting.node;
        self.take_beats(node, frame.beat, frame.beat_answer);
        let messages = frame.messages.into_iter().map(codec::decode).collect::<Result<Vec<_>, _>>()?;
        if !messages.is_empty() {
            (self.shared.events)(PeerEvent::Messages { node, messages });
        }
        self.gossip(node, Epoch(frame.map_epoch), frame.map);
        self.tell_who_was_left_behind();
        Ok(())
    }

    /// Beats are answered right here: nothing that a worker or a disk has to do delays them.
    fn take_beats(&self, node: NodeId, beat: Option<v1::Beat>, answer: Option<v1::BeatAnswer>) {
        if beat.is_none() && answer.is_none() {
            return;
        }
        let pulse = &self.shared.pulse;
        let before = pulse.supports.pair(node);
        if let Some(answer) = answer {
            pulse.supports.answered(node, codec::decode_beat_answer(answer), pulse.clock.time());
        }
        let beat = beat.map(codec::decode_beat);
        let answer = beat.as_ref().and_then(|beat| pulse.supports.beaten(node, beat, pulse.clock.time()));
        if pulse.supports.pair(node).differs(&before) {
            (self.shared.events)(PeerEvent::Changed { node });
        }
        let Some(beat) = beat else { return };
        // The workers have it before it is answered: an answered fall is not told again.
        if !beat.fallen.is_empty() {
            (self.shared.events)(PeerEvent::Fallen { node, leaders: beat.fallen });
        }
        if let (Some(peer), Some(answer)) = (&self.peer, answer) {
            peer.outbox.answer_beat(answer);
        }
    }

    /// A peer is told of newer maps on our own stream to it. To a node that our map does not name there is none: that it is no
    /// member any more it hears from whom it dials. One that has just joined has a newer map than ours.
    fn tell_who_was_left_behind(&mut self) {
        if self.theirs == Epoch(0) || self.peer.as_ref().is_some_and(|peer| !peer.has_left()) {
            return;
        }
        let (epoch, map) = self.shared.shelf.get();
        if epoch <= self.theirs {
            return;
        }
        let frame_bytes_max = self.greeting.frame_bytes_max;
        if map.len() + FRAME_BYTES > frame_bytes_max {
            self.theirs = epoch;
            return tracing::error!(
                map_bytes = map.len(),
                frame_bytes_max,
                "the cluster map does not fit a frame"
            );
        }
        let newer = v1::PeerFrame { map_epoch: epoch.0, map, ..v1::PeerFrame::default() };
        // No room: its next frame is another chance.
        if self.answering.try_send(Ok(newer)).is_ok() {
            self.theirs = epoch;
        }
    }

    /// Takes a map that is newer than ours, or asks for it.
    fn gossip(&mut self, node: NodeId, epoch: Epoch, map: bytes::Bytes) {
        self.theirs = self.theirs.max(epoch);
        let ours = self.shared.shelf.epoch();
        if epoch <= ours {
            return;
        }
        if !map.is_empty() {
            (self.shared.events)(PeerEvent::Map { node, epoch, map });
        } else if epoch > self.asked {
            let wanted = v1::PeerFrame { map_wanted: true, ..v1::PeerFrame::default() };
            // No room: we asked a moment ago, and its next epoch is another chance.
            if self.answering.try_send(Ok(wanted)).is_ok() {
                self.asked = epoch;
            }
        }
    }
}
