//! What leaves an outbox, and what does not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

use flotilla_raft::{Entry, Index, LogId, Payload, ReplicaId, Rpc, SupportNumber, Term, Time};

use super::*;

const BOUNDS: Bounds = Bounds { connected: 10_000, unconnected: 1_000 };

fn outbox() -> Arc<Outbox> {
    Arc::new(Outbox::new(BOUNDS, Arc::default()))
}

/// Whether a stream was told that there is something to send.
#[derive(Default)]
struct Woken(AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A heartbeat that can be told from others by its term.
fn beat(term: u64) -> Message {
    Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(term), rpc: Rpc::TimeoutNow }
}

/// An append of one entry with this much data.
fn append(bytes: usize) -> Message {
    let payload = Payload::Data(bytes::Bytes::from(vec![7; bytes]));
    let entries = vec![Entry { id: LogId::new(Index(1), Term(1)), payload }];
    let rpc = Rpc::Append { previous: LogId::default(), entries, commit: Index(0) };
    Message { rpc, ..beat(1) }
}

fn pull(stream: &mut FrameStream) -> Poll<Option<v1::PeerFrame>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

/// A stream that has been accepted.
fn open(outbox: &Arc<Outbox>, shelf: &Arc<Shelf>, frame_bytes_max: usize) -> FrameStream {
    let mut stream = outbox.open(v1::Hello::default(), Arc::clone(shelf));
    let Poll::Ready(Some(first)) = pull(&mut stream) else { panic!("no Hello") };
    assert!(first.hello.is_some() && first.messages.is_empty());
    outbox.accept(stream.attempt(), frame_bytes_max);
    stream
}

fn terms(frame: Poll<Option<v1::PeerFrame>>) -> Vec<u64> {
    let Poll::Ready(Some(frame)) = frame else { panic!("no frame: {frame:?}") };
    frame.messages.iter().map(|message| message.term).collect()
}

#[test]
fn nothing_but_a_hello_leaves_before_the_other_side_is_accepted() {
    let (outbox, shelf) = (outbox(), Arc::default());
    outbox.push(ShardId(1), beat(1));
    let mut stream = outbox.open(v1::Hello::default(), shelf);
    assert!(matches!(pull(&mut stream), Poll::Ready(Some(v1::PeerFrame { hello: Some(_), .. }))));
    assert!(pull(&mut stream).is_pending(), "the peer has not answered");
    assert!(!outbox.is_open());
    outbox.accept(stream.attempt(), 5_000);
    assert!(outbox.is_open());
    assert_eq!(terms(pull(&mut stream)), [1]);
}

#[test]
fn what_waits_leaves_together_and_in_order() {
    let (outbox, shelf) = (outbox(), Arc::default());
    let mut stream = open(&outbox, &shelf, 5_000);
    assert!(pull(&mut stream).is_pending());
    (1..=5).for_each(|term| outbox.push(ShardId(term), beat(term)));
    assert_eq!(terms(pull(&mut stream)), [1, 2, 3, 4, 5]);
    assert!(pull(&mut stream).is_pending());
}

#[test]
fn a_frame_ends_at_its_limit_and_a_message_beyond_it_is_dropped() {
    let (outbox, shelf) = (outbox(), Arc::default());
    let mut stream = open(&outbox, &shelf, 4_500);
    outbox.push(ShardId(1), append(4_000));
    outbox.push(ShardId(1), append(4_000));
    outbox.push(ShardId(1), append(4_400));
    assert_eq!(outbox.counters.read().dropped_messages, 1, "it fits no frame");
    for _ in 0..2 {
        let Poll::Ready(Some(frame)) = pull(&mut stream) else { panic!("no frame") };
        assert_eq!(frame.messages.len(), 1);
        assert!(frame.encoded_len() <= 4_500);
    }
    assert!(pull(&mut stream).is_pending());
}

#[test]
fn a_full_queue_drops_the_newest_and_counts_them() {
    let (outbox, shelf) = (outbox(), Arc::default());
    let mut stream = open(&outbox, &shelf, 1_000_000);
    (1..=1_000).for_each(|term| outbox.push(ShardId(1), beat(term)));
    let dropped = outbox.counters.read().dropped_messages;
    let left = terms(pull(&mut stream));
    assert_eq!(left, (1..=1_000 - dropped).collect::<Vec<_>>(), "the first ones");
    assert!(dropped > 900, "{dropped} of 1000 dropped by a queue for some 80");
    outbox.push(ShardId(1), beat(7));
    assert_eq!(terms(pull(&mut stream)), [7], "there is room again");
}

#[test]
fn without_a_stream_the_oldest_are_dropped() {
    let (outbox, shelf) = (outbox(), Arc::default());
    (1..=100).for_each(|term| outbox.push(ShardId(1), beat(term)));
    outbox.push(ShardId(1), append(2_000));
    let mut stream = open(&outbox, &shelf, 1_000_000);
    let left = terms(pull(&mut stream));
    assert!(left.is_empty() || *left.last().unwrap() == 100, "{left:?} are not the newest");
    assert!(left.len() < 20, "{} messages in a queue for 7", left.len());
}

#[test]
fn a_stream_of_an_earlier_attempt_gets_nothing_more() {
    let (outbox, shelf) = (outbox(), Arc::default());
    let mut old = open(&outbox, &shelf, 5_000);
    let mut new = open(&outbox, &shelf, 5_000);
    outbox.close(old.attempt());
    outbox.push(ShardId(1), beat(3));
    assert!(matches!(pull(&mut old), Poll::Ready(None)));
    assert_eq!(terms(pull(&mut new)), [3]);
    outbox.close(new.attempt());
    assert!(matches!(pull(&mut new), Poll::Ready(None)));
}

#[test]
fn a_newer_map_is_announced_once_and_sent_when_it_is_wanted() {
    let (outbox, shelf) = (outbox(), Arc::<Shelf>::default());
    shelf.put(Epoch(3), bytes::Bytes::from_static(b"three"));
    let mut stream = open(&outbox, &shelf, 5_000);
    let Poll::Ready(Some(frame)) = pull(&mut stream) else { panic!("not announced") };
    assert_eq!((frame.map_epoch, frame.map.len()), (3, 0));
    assert!(pull(&mut stream).is_pending());
    outbox.want_map(stream.attempt());
    let Poll::Ready(Some(frame)) = pull(&mut stream) else { panic!("not sent") };
    assert_eq!((frame.map_epoch, &frame.map[..]), (3, &b"three"[..]));
    assert!(!shelf.put(Epoch(2), bytes::Bytes::new()), "an older map is ignored");
    assert!(shelf.put(Epoch(4), bytes::Bytes::from_static(b"four")));
    let Poll::Ready(Some(frame)) = pull(&mut stream) else { panic!("not announced") };
    assert_eq!(frame.map_epoch, 4);
}

#[test]
fn an_answer_to_a_beat_asks_for_no_frame_and_leaves_with_the_next() {
    let (outbox, shelf) = (outbox(), Arc::default());
    let mut stream = open(&outbox, &shelf, 5_000);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut pull = || Pin::new(&mut stream).poll_next(&mut Context::from_waker(&waker));
    assert!(pull().is_pending());
    let answer =
        |sent| BeatAnswer { boot: 1, sent: Time(sent), number: SupportNumber(7), support: Duration::ZERO };
    outbox.answer_beat(answer(1));
    outbox.answer_beat(answer(2));
    assert!(!woken.take(), "nothing else is to be said");
    outbox.beat(&Beat { boot: 1, sent: Time(3), fallen: Vec::new() });
    assert!(woken.take());
    let Poll::Ready(Some(frame)) = pull() else { panic!("no frame") };
    assert_eq!(frame.beat_answer.map(|answer| answer.sent), Some(2), "the newest");
    assert!(frame.beat.is_some() && pull().is_pending());
    outbox.answer_beat(answer(4));
    outbox.push(ShardId(1), beat(1));
    let Poll::Ready(Some(frame)) = pull() else { panic!("no frame") };
    assert_eq!((frame.beat_answer.map(|answer| answer.sent), frame.messages.len()), (Some(4), 1));
}

#[test]
fn a_beat_passes_what_waits_and_of_several_the_newest_leaves() {
    let (outbox, shelf) = (outbox(), Arc::default());
    let of_node = |sent| Beat { boot: 1, sent: Time(sent), fallen: Vec::new() };
    outbox.beat(&of_node(1));
    let mut stream = open(&outbox, &shelf, 5_000);
    assert!(pull(&mut stream).is_pending(), "a beat says when it was sent: none waits for a stream");
    (0..3).for_each(|_| outbox.push(ShardId(1), append(2_000)));
    outbox.beat(&of_node(2));
    outbox.beat(&of_node(3));
    let Poll::Ready(Some(first)) = pull(&mut stream) else { panic!("no frame") };
    assert_eq!(first.beat.map(|beat| beat.sent), Some(3));
    assert_eq!(first.messages.len(), 2, "and takes messages along");
    let Poll::Ready(Some(second)) = pull(&mut stream) else { panic!("no frame") };
    assert_eq!((second.beat, second.messages.len()), (None, 1));
    assert!(pull(&mut stream).is_pending());
    outbox.beat(&of_node(4));
    outbox.close(stream.attempt());
    let mut stream = open(&outbox, &shelf, 5_000);
    assert!(pull(&mut stream).is_pending(), "what was for a former stream is not for this one");
}
