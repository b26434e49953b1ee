//! Messages, maps, and who may talk to whom.

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_proto::v1::raft_client::RaftClient;
use flotilla_topology::{Epoch, NodeId};
use tonic::{Code, Status};

use super::side::{SHARD, Side, beat, identity, options};
use crate::transport::PeerEvent;
use crate::transport::hello::Doorman;

#[test]
fn messages_of_three_nodes_reach_each_other_in_order() {
    let sides = [Side::start(1), Side::start(2), Side::start(3)];
    for side in &sides {
        side.knows(&sides.iter().collect::<Vec<_>>());
    }
    for side in &sides {
        let mut missing = 2;
        side.await_event("two connections", |event| {
            missing -= usize::from(matches!(event, PeerEvent::Connected { .. }));
            (missing == 0).then_some(())
        });
    }
    for from in &sides {
        for to in sides.iter().filter(|to| to.node != from.node) {
            (1..=500).for_each(|term| from.transport.send(to.node, SHARD, beat(term)));
            assert_eq!(to.await_terms(from.node, 500), (1..=500).collect::<Vec<_>>());
        }
    }
    for status in sides[0].transport.peers() {
        assert!(status.connected, "{status:?}");
        let counters = status.counters;
        assert!(counters.sent_frames > 0 && counters.sent_bytes > counters.sent_frames, "{counters:?}");
        assert!(counters.received_frames > 0 && counters.dropped_messages == 0, "{counters:?}");
    }
}

#[test]
fn a_node_that_was_killed_is_missed_and_found_again() {
    let (one, two) = (Side::start(1), Side::start(2));
    one.knows(&[&two]);
    one.await_connected(&two);
    let address = two.kill();
    one.await_lost(NodeId(2));
    assert!(!one.transport.peers()[0].connected);
    one.transport.send(NodeId(2), SHARD, beat(8));
    let two = Side::start_as(identity(2, 1), options(), &address.to_string());
    one.await_connected(&two);
    one.transport.send(NodeId(2), SHARD, beat(9));
    assert_eq!(two.await_terms(NodeId(1), 9), [8, 9], "what waited comes first");
}

/// A fleet of a thousand shards did not fall asleep, and a leader had no leases: one node had dialled another before that knew of it,
/// and was never answered on that stream.
#[test]
fn who_is_heard_before_the_map_knows_it_is_a_peer_as_soon_as_the_map_does() {
    let (one, two) = (Side::start(1), Side::start(2));
    one.knows(&[&two]);
    one.await_connected(&two);
    one.transport.send(NodeId(2), SHARD, beat(1));
    two.await_terms(NodeId(1), 1);
    two.knows(&[&one]);
    one.await_event("answer to a beat", |_| one.transport.shared.pulse.supports.pair(NodeId(2)).number);
    let received = two.transport.peers()[0].counters.received_frames;
    assert!(received > 0, "what is received counts");
}

#[test]
fn a_node_that_leaves_the_map_is_cut_off() {
    let (one, two) = (Side::start(1), Side::start(2));
    one.knows(&[&two]);
    one.await_connected(&two);
    one.knows(&[]);
    one.await_lost(NodeId(2));
    assert!(one.transport.peers().is_empty());
    one.transport.send(NodeId(2), SHARD, beat(1));
}

#[test]
fn a_shutdown_ends_all_streams() {
    let (one, two) = (Side::start(1), Side::start(2));
    one.knows(&[&two]);
    two.knows(&[&one]);
    one.await_connected(&two);
    two.await_connected(&one);
    one.transport.shutdown();
    one.await_lost(NodeId(2));
    two.await_lost(NodeId(1));
    // With its streams the server ends too, once it is asked to.
    one.end_server();
}

#[test]
fn who_has_an_older_map_gets_the_newer_one() {
    let (one, two) = (Side::start(1), Side::start(2));
    let map_of = |side: &Side| {
        side.await_event("map", |event| match event {
            PeerEvent::Map { node, epoch, map } => Some((node, epoch, map)),
            _ => None,
        })
    };
    one.transport.announce_map(Epoch(3), Bytes::from_static(b"three"));
    one.knows(&[&two]);
    two.knows(&[&one]);
    assert_eq!(map_of(&two), (NodeId(1), Epoch(3), Bytes::from_static(b"three")));
    two.transport.announce_map(Epoch(4), Bytes::from_static(b"four"));
    assert_eq!(map_of(&one), (NodeId(2), Epoch(4), Bytes::from_static(b"four")));
}

/// The map of a node that is no member any more: it is told so by whom it still dials.
#[test]
fn who_left_the_map_gets_the_one_that_says_so() {
    let map_of = |side: &Side| {
        side.await_event("map", |event| match event {
            PeerEvent::Map { node, epoch, map } => Some((node, epoch, map)),
            _ => None,
        })
    };
    let (one, two, late) = (Side::start(1), Side::start(2), Side::start(3));
    for side in [&one, &two, &late] {
        side.transport.announce_map(Epoch(3), Bytes::from_static(b"three"));
    }
    one.knows(&[&two]);
    two.knows(&[&one]);
    one.await_connected(&two);
    two.await_connected(&one);
    // While it is connected …
    one.knows(&[]);
    one.await_lost(NodeId(2));
    one.transport.announce_map(Epoch(4), Bytes::from_static(b"four"));
    assert_eq!(map_of(&two), (NodeId(1), Epoch(4), Bytes::from_static(b"four")));
    // … and when it comes back later.
    late.knows(&[&one]);
    assert_eq!(map_of(&late), (NodeId(1), Epoch(4), Bytes::from_static(b"four")));
}

/// Opens a stream with these frames; returns the answer's Hello, or how the stream ended.
fn knock(at: &Side, frames: Vec<v1::PeerFrame>) -> Result<v1::Hello, Status> {
    let address = at.address;
    let visitor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    visitor.block_on(async move {
        let mut client = RaftClient::connect(format!("http://{address}")).await.unwrap();
        let mut answers = client.frames(tokio_stream::iter(frames)).await?.into_inner();
        let hello = answers.message().await?.unwrap().hello.unwrap();
        while answers.message().await?.is_some() {}
        Ok(hello)
    })
}

fn hello_of(node: u64, cluster: u128, to: u64) -> v1::PeerFrame {
    let hello = Doorman::new(identity(node, cluster), 1 << 20).hello(NodeId(to));
    v1::PeerFrame { hello: Some(hello), ..v1::PeerFrame::default() }
}

#[test]
fn a_node_of_another_cluster_is_refused_and_harms_nobody() {
    let one = Side::start(1);
    let refused = knock(&one, vec![hello_of(2, 99, 1)]).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("belongs to cluster"), "{refused}");
    let refused = knock(&one, vec![hello_of(2, 1, 3)]).unwrap_err();
    assert!(refused.message().contains("wanted node 3, but this is node 1"), "{refused}");
    let refused = knock(&one, vec![v1::PeerFrame::default()]).unwrap_err();
    assert!(refused.message().contains("whole Hello"), "{refused}");
    let hello = knock(&one, vec![hello_of(2, 1, 1)]).unwrap();
    assert_eq!((hello.from_node, hello.to_node), (1, 2), "a right one is still welcome");
    let mut wiped = hello_of(2, 1, 1);
    wiped.hello.as_mut().unwrap().directory = Some(77.into());
    let refused = knock(&one, vec![wiped]).unwrap_err();
    assert!(refused.message().contains("it forgot its votes"), "{refused}");
}

#[test]
fn two_fleets_on_each_others_ports_do_not_connect() {
    let ours = Side::start(1);
    let theirs = Side::start_as(identity(2, 99), options(), "127.0.0.1:0");
    let friend = Side::start(3);
    ours.knows(&[&theirs, &friend]);
    theirs.knows(&[&ours]);
    ours.await_connected(&friend);
    // The next event shows that everything before it was judged: two attempts of each would have connected by then.
    let refused = knock(&theirs, vec![hello_of(1, 1, 2)]).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    friend.knows(&[&ours]);
    friend.await_connected(&ours);
    assert!(ours.transport.peers().iter().all(|peer| peer.connected == (peer.node == friend.node)));
    assert!(theirs.transport.peers().iter().all(|peer| !peer.connected && peer.counters.connects == 0));
}

#[test]
fn nonsense_closes_the_stream_and_nothing_else() {
    let (one, two) = (Side::start(1), Side::start(2));
    two.knows(&[&one]);
    two.await_connected(&one);
    let without_rpc = v1::ShardMessage { shard: 1, ..v1::ShardMessage::default() };
    let nonsense = v1::PeerFrame { messages: vec![without_rpc], ..v1::PeerFrame::default() };
    let closed = knock(&one, vec![hello_of(3, 1, 1), nonsense]).unwrap_err();
    assert!(closed.message().contains("makes no sense"), "{closed}");
    let closed = knock(&one, vec![hello_of(3, 1, 1), hello_of(3, 1, 1)]).unwrap_err();
    assert!(closed.message().contains("a second Hello"), "{closed}");
    two.transport.send(NodeId(1), SHARD, beat(5));
    assert_eq!(one.await_terms(NodeId(2), 5), [5]);
}
