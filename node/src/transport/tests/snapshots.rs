//! Snapshots from one base to another.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flotilla_raft::{Configuration, Index, LogId, Message, ReplicaId, Rpc, Term};
use flotilla_store::memory::Memory;
use flotilla_store::{
    Action, Base, Command, Genesis, Machine, Operation, Scope, SlotSpan, WriteBatch, snapshot, stats,
};
use flotilla_topology::{Epoch, NodeId, SLOTS, Slot};
use tokio::sync::oneshot;

use super::side::{PATIENCE, SHARD, Side, identity, options};
use crate::host::SnapshotJob;
use crate::transport::{Options, PeerEvent, SnapshotError, SnapshotOffer, Stage};

const LAST: LogId = LogId { index: Index(40), term: Term(2) };

/// A base that holds two thousand keys of the shard, of 100 bytes each.
pub(super) fn filled() -> Memory {
    filled_with(100)
}

fn filled_with(value_bytes: usize) -> Memory {
    let base = Memory::new();
    let configuration = Configuration::of_voters([ReplicaId(1), ReplicaId(2)]);
    let every_slot = SlotSpan { first: Slot::new(0).unwrap(), last: Slot::new(SLOTS - 1).unwrap() };
    let genesis = Genesis { scope: Scope::Slots(vec![every_slot]), epoch: Epoch(1), configuration };
    let mut machine = Machine::create(SHARD, 1, &genesis);
    for index in 1..=LAST.index.0 {
        let put = |at: u64| Operation {
            request: None,
            action: Action::Put {
                key: Bytes::from(format!("key/{index:04}/{at:04}")),
                value: Bytes::from(vec![at as u8; value_bytes]),
                ttl_ms: None,
            },
        };
        let command = Command { stamp_ms: index, operations: (0..50).map(put).collect() };
        machine.apply(LogId { index: Index(index), ..LAST }, &command);
    }
    machine.freeze().unwrap().run(&base).unwrap();
    base
}

fn job(base: &Memory) -> SnapshotJob<<Memory as Base>::View> {
    SnapshotJob {
        shard: SHARD,
        node: NodeId(2),
        from: ReplicaId(1),
        to: ReplicaId(2),
        term: Term(5),
        view: base.view(),
    }
}

/// Starts to send; the outcome comes through the channel.
pub(super) fn send(from: &Side, base: &Memory) -> Receiver<Result<LogId, SnapshotError>> {
    let (report, outcome) = channel();
    from.transport.send_snapshot(job(base), move |sent| _ = report.send(sent));
    outcome
}

fn small_chunks() -> Options {
    Options { snapshot_chunk_bytes_max: 10_000, ..options() }
}

fn pair() -> (Side, Side) {
    pair_with(small_chunks(), small_chunks())
}

fn pair_with(sender: Options, receiver: Options) -> (Side, Side) {
    let one = Side::start_as(identity(1, 1), sender, "127.0.0.1:0");
    let two = Side::start_as(identity(2, 1), receiver, "127.0.0.1:0");
    one.knows(&[&two]);
    (one, two)
}

fn await_offer(at: &Side) -> SnapshotOffer {
    at.await_event("offer", |event| match event {
        PeerEvent::SnapshotOffered(offer) => Some(offer),
        _ => None,
    })
}

/// The generation, and the message that the host gets.
fn await_staged(at: &Side) -> (u64, Option<Message>) {
    at.await_event("end of the stage", |event| match event {
        PeerEvent::SnapshotStaged { shard, generation, snapshot } => {
            assert_eq!(shard, SHARD);
            Some((generation, snapshot))
        }
        _ => None,
    })
}

#[test]
fn a_snapshot_arrives_whole() {
    let (one, two) = pair();
    let (source, target) = (filled(), Memory::new());
    let outcome = send(&one, &source);
    let offer = await_offer(&two);
    assert_eq!((offer.node, offer.shard, offer.to, offer.term), (NodeId(1), SHARD, ReplicaId(2), Term(5)));
    assert_eq!(offer.meta.last, LAST);
    let sink_base = target.clone();
    let (count, batches) = channel();
    let sink = Box::new(move |batch: WriteBatch, committed: oneshot::Sender<Result<(), String>>| {
        count.send(batch.bytes()).unwrap();
        committed.send(sink_base.commit(batch).map_err(|error| error.to_string())).unwrap();
    });
    offer.answer.send(Ok(Stage { generation: 3, sink })).unwrap();
    let (generation, message) = await_staged(&two);
    let message = message.unwrap();
    assert_eq!((generation, message.from, message.term), (3, ReplicaId(1), Term(5)));
    assert!(matches!(message.rpc, Rpc::InstallSnapshot { meta } if meta == offer.meta));
    assert_eq!(outcome.recv().unwrap().unwrap(), LAST);
    let sizes: Vec<usize> = batches.iter().collect();
    assert!(sizes.len() > 10 && sizes.iter().all(|bytes| *bytes < 30_000), "in pieces: {sizes:?}");
    snapshot::activate(&target, SHARD, 3).unwrap();
    assert_eq!(stats(&target.view(), SHARD).unwrap(), stats(&source.view(), SHARD).unwrap());
}

#[test]
fn a_replica_that_does_not_want_it_says_why() {
    let (one, two) = pair();
    let outcome = send(&one, &filled());
    await_offer(&two).answer.send(Err("it has something newer".to_string())).unwrap();
    let error = outcome.recv().unwrap().unwrap_err();
    assert!(matches!(&error, SnapshotError::Refused(why) if why == "it has something newer"), "{error}");
}

#[test]
fn a_base_that_fails_ends_the_stream_and_both_are_told() {
    let (one, two) = pair();
    let outcome = send(&one, &filled());
    let sink = Box::new(|_, committed: oneshot::Sender<Result<(), String>>| {
        committed.send(Err("the disk is full".to_string())).unwrap();
    });
    await_offer(&two).answer.send(Ok(Stage { generation: 4, sink })).unwrap();
    assert_eq!(await_staged(&two), (4, None));
    let error = outcome.recv().unwrap().unwrap_err();
    assert!(matches!(&error, SnapshotError::Refused(why) if why == "the disk is full"), "{error}");
}

#[test]
fn a_sender_that_is_killed_in_the_middle_is_reported() {
    let (one, two) = pair();
    let _outcome = send(&one, &filled());
    let (hold, held) = channel();
    let sink =
        Box::new(move |_, committed: oneshot::Sender<Result<(), String>>| hold.send(committed).unwrap());
    await_offer(&two).answer.send(Ok(Stage { generation: 5, sink })).unwrap();
    let _never_committed = held.recv().unwrap();
    one.kill();
    assert_eq!(await_staged(&two), (5, None));
}

#[test]
fn a_receiver_that_is_killed_in_the_middle_is_reported() {
    let (one, two) = pair();
    let outcome = send(&one, &filled());
    let (hold, held) = channel();
    let sink =
        Box::new(move |_, committed: oneshot::Sender<Result<(), String>>| hold.send(committed).unwrap());
    await_offer(&two).answer.send(Ok(Stage { generation: 6, sink })).unwrap();
    let _never_committed = held.recv().unwrap();
    two.kill();
    let error = outcome.recv().unwrap().unwrap_err();
    assert!(matches!(error, SnapshotError::Broken(_)), "{error}");
}

/// The whole snapshot is under way when it stalls: what is missing is the reply.
#[test]
fn a_receiver_that_stalls_is_given_up_and_the_next_snapshot_has_its_place() {
    stalls_and_is_given_up(&filled());
}

/// More than what may be under way at once: the rest never leaves.
#[test]
fn a_receiver_that_stalls_in_the_middle_is_given_up_too() {
    stalls_and_is_given_up(&filled_with(10_000));
}

fn stalls_and_is_given_up(base: &Memory) {
    let idle = Duration::from_secs(2);
    let sender = Options { snapshots_sent_max: 1, snapshot_idle_timeout: idle, ..small_chunks() };
    // It would not give itself up while the story lasts.
    let receiver = Options { snapshot_idle_timeout: 10 * PATIENCE, ..small_chunks() };
    let (one, two) = pair_with(sender, receiver);
    let stalled = send(&one, base);
    let _never_committed = hold(await_offer(&two));
    let next = send(&one, base);
    stalled.recv_timeout(PATIENCE).unwrap().unwrap_err();
    await_offer(&two).answer.send(Err("it was asked".to_string())).unwrap();
    let error = next.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(matches!(&error, SnapshotError::Refused(why) if why == "it was asked"), "{error}");
}

#[test]
fn a_shard_without_a_base_and_a_node_that_is_no_peer_are_reported() {
    let (one, two) = pair();
    let error = send(&one, &Memory::new()).recv().unwrap().unwrap_err();
    assert!(matches!(error, SnapshotError::Empty), "{error}");
    let error = send(&two, &filled()).recv().unwrap().unwrap_err();
    assert!(matches!(error, SnapshotError::Unknown(NodeId(2))), "{error}");
}

#[test]
fn snapshots_leave_no_faster_than_the_budget_of_the_node() {
    let slow = Options { snapshot_bytes_per_second: 1 << 20, ..small_chunks() };
    let (one, two) = pair_with(slow, small_chunks());
    let begun = Instant::now();
    let outcome = send(&one, &filled_with(1_000));
    let target = Memory::new();
    let sink = Box::new(move |batch: WriteBatch, committed: oneshot::Sender<Result<(), String>>| {
        committed.send(target.commit(batch).map_err(|error| error.to_string())).unwrap();
    });
    await_offer(&two).answer.send(Ok(Stage { generation: 3, sink })).unwrap();
    outcome.recv().unwrap().unwrap();
    // Two million bytes at a mebibyte each second, but for the credit of whoever was kept waiting.
    assert!(begun.elapsed() > Duration::from_millis(1_500), "it took {:?}", begun.elapsed());
    let (sent, received) = (one.transport.snapshot_counts(), two.transport.snapshot_counts());
    assert!(
        sent.sent_bytes > 2_000_000 && sent.sent_bytes == received.received_bytes,
        "{sent:?} {received:?}"
    );
}

/// Takes the first batch of a snapshot, and keeps it waiting for as long as what comes through the channel lives.
fn hold(offer: SnapshotOffer) -> oneshot::Sender<Result<(), String>> {
    let (hold, held) = channel();
    let sink =
        Box::new(move |_, committed: oneshot::Sender<Result<(), String>>| hold.send(committed).unwrap());
    offer.answer.send(Ok(Stage { generation: 7, sink })).unwrap();
    held.recv().unwrap()
}

#[test]
fn a_node_sends_no_more_snapshots_at_once_than_it_may() {
    let (one, two) = pair_with(Options { snapshots_sent_max: 1, ..small_chunks() }, small_chunks());
    let first = send(&one, &filled());
    let held = hold(await_offer(&two));
    let second = send(&one, &filled());
    let begun = Instant::now();
    while one.transport.snapshot_counts().waiting == 0 {
        assert!(begun.elapsed() < PATIENCE, "the second does not wait");
        std::thread::yield_now();
    }
    assert_eq!(one.transport.snapshot_counts().sending, 1);
    let offered = |event: &PeerEvent| matches!(event, PeerEvent::SnapshotOffered(_));
    assert!(!two.unawaited().iter().any(offered), "two are under way");
    drop(held);
    first.recv().unwrap().unwrap_err();
    await_offer(&two).answer.send(Err("it was asked".to_string())).unwrap();
    second.recv().unwrap().unwrap_err();
}

#[test]
fn a_node_takes_in_no_more_snapshots_at_once_than_it_may() {
    let (one, two) = pair_with(small_chunks(), Options { snapshots_received_max: 1, ..small_chunks() });
    let first = send(&one, &filled());
    let held = hold(await_offer(&two));
    let error = send(&one, &filled()).recv().unwrap().unwrap_err();
    assert!(error.to_string().contains("as many snapshots as it may"), "{error}");
    drop(held);
    first.recv().unwrap().unwrap_err();
}
