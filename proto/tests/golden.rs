//! What nodes of two releases say to each other, byte by byte (`docs/formats/wire.md`): a stream's first frame, the frames after
//! it, a snapshot. Numbers and types of fields are for ever; what changes their meaning raises `PROTOCOL_VERSION`.
//!
//! The messages of replicas in a frame are held to their bytes where they are made, in the node's transport.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use flotilla_proto::v1::{
    Append, Beat, BeatAnswer, Configuration, Entry, FallenLeader, Hello, LogId, PeerFrame, ShardMessage,
    SnapshotChunk, SnapshotHeader, SnapshotMeta, SnapshotReply, entry, shard_message,
};
use flotilla_proto::{PROTOCOL_VERSION, v1};
use prost::Message;

/// A field of the wire type that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 0x80 && number < 16, "one byte each");
    [&[number << 3 | 2, length], content].concat()
}

/// Two numbers of eight bytes, low byte first.
fn id(number: u8, high: u8, low: u8) -> Vec<u8> {
    field(number, &[0x09, high, 0, 0, 0, 0, 0, 0, 0, 0x11, low, 0, 0, 0, 0, 0, 0, 0])
}

#[track_caller]
fn golden<M: Message + Default + PartialEq + std::fmt::Debug>(message: M, bytes: &[Vec<u8>]) {
    let bytes = bytes.concat();
    assert_eq!(message.encode_to_vec(), bytes);
    assert_eq!(M::decode(&bytes[..]).unwrap(), message, "and they are read back");
}

#[test]
fn the_bytes_of_the_first_frame_are_these() {
    assert_eq!(PROTOCOL_VERSION, 1, "another version has other golden bytes");
    let hello = Hello {
        cluster: Some((0x0A_u128 << 64 | 0x0B).into()),
        from_node: 1,
        to_node: 300,
        directory: Some((0x0C_u128 << 64 | 0x0D).into()),
        boot: Some((0x0E_u128 << 64 | 0x0F).into()),
        protocol_version: PROTOCOL_VERSION,
        frame_bytes_max: 9 << 20,
        client_addr: "c:1".to_owned(),
        peer_addr: "p:2".to_owned(),
        http_addr: "h:3".to_owned(),
    };
    let hello_bytes = [
        id(1, 0x0A, 0x0B),
        vec![0x10, 1],
        vec![0x18, 0xAC, 0x02],
        id(4, 0x0C, 0x0D),
        id(5, 0x0E, 0x0F),
        vec![0x30, 1],
        vec![0x38, 0x80, 0x80, 0xC0, 0x04],
        field(8, b"c:1"),
        field(9, b"p:2"),
        field(10, b"h:3"),
    ]
    .concat();
    golden(PeerFrame { hello: Some(hello), ..PeerFrame::default() }, &[field(1, &hello_bytes)]);
}

#[test]
fn the_bytes_of_a_frame_are_these() {
    let append = Append {
        previous: Some(LogId { index: 4, term: 2 }),
        entries: vec![Entry {
            id: Some(LogId { index: 5, term: 3 }),
            payload: Some(entry::Payload::Data("data".into())),
        }],
        commit: 4,
    };
    let rpc = Some(shard_message::Rpc::Append(append));
    let frame = PeerFrame {
        hello: None,
        messages: vec![ShardMessage { shard: 7, from: 1, to: 2, term: 3, rpc }],
        map_epoch: 300,
        map_wanted: true,
        map: "map".into(),
        beat: Some(Beat { boot: 1, sent: 300, fallen: vec![FallenLeader { shard: 7, leader: 2, term: 3 }] }),
        beat_answer: Some(BeatAnswer { boot: 1, sent: 2, number: 3, support_micros: 4 }),
    };
    let entry = [field(1, &[8, 5, 16, 3]), field(3, b"data")].concat();
    let append = [field(1, &[8, 4, 16, 2]), field(2, &entry), vec![24, 4]].concat();
    let message = [vec![8, 7, 16, 1, 24, 2, 32, 3], field(9, &append)].concat();
    let beat = [&[8, 1, 16, 0xAC, 0x02][..], &field(3, &[8, 7, 16, 2, 24, 3])].concat();
    let answer = field(7, &[8, 1, 16, 2, 24, 3, 32, 4]);
    let map = [&[0x18, 0xAC, 0x02, 0x20, 1][..], &field(5, b"map")].concat();
    golden(frame, &[field(2, &message), map, field(6, &beat), answer]);
}

#[test]
fn the_bytes_of_a_snapshot_are_these() {
    let configuration = Configuration { voters: vec![1, 2], outgoing: vec![3], learners: vec![300] };
    let meta = SnapshotMeta {
        last: Some(LogId { index: 9, term: 3 }),
        configuration: Some(configuration),
        configuration_index: 8,
    };
    let header = SnapshotHeader {
        cluster: Some((0x0A_u128 << 64 | 0x0B).into()),
        from_node: 1,
        to_node: 2,
        shard: 7,
        from: 4,
        to: 5,
        term: 3,
        meta: Some(meta),
        protocol_version: PROTOCOL_VERSION,
    };
    let members = [field(1, &[1, 2]), field(2, &[3]), field(3, &[0xAC, 0x02])].concat();
    let meta = [field(1, &[8, 9, 16, 3]), field(2, &members), vec![24, 8]].concat();
    let header_bytes = [
        id(1, 0x0A, 0x0B),
        vec![0x10, 1, 0x18, 2, 0x20, 7, 0x28, 4, 0x30, 5, 0x38, 3],
        field(8, &meta),
        vec![0x48, 1],
    ]
    .concat();
    let chunk = SnapshotChunk { header: Some(header), sequence: 6, data: "chunk".into(), last: true };
    golden(chunk, &[field(1, &header_bytes), vec![0x10, 6], field(3, b"chunk"), vec![0x20, 1]]);
    let reply = SnapshotReply { staged: true, reason: "why".to_owned() };
    golden(reply, &[vec![8, 1], field(2, b"why")]);
}

#[test]
fn the_bytes_of_the_first_start_are_these() {
    let node = |node, peer_addr: &str| v1::BootstrapNode { node, peer_addr: peer_addr.to_owned() };
    let bootstrap = v1::Bootstrap { nodes: vec![node(1, "a:1"), node(2, "b:1")], shards: 8, replicas: 3 };
    let nodes = [[vec![8, 1], field(2, b"a:1")].concat(), [vec![8, 2], field(2, b"b:1")].concat()];
    let bootstrap_bytes = [field(1, &nodes[0]), field(1, &nodes[1]), vec![16, 8, 24, 3]].concat();
    let (cluster, directory) = (Some(11_u128.into()), Some(13_u128.into()));
    // A half of zero is not written.
    let short = |number: u8, low: u8| field(number, &[0x11, low, 0, 0, 0, 0, 0, 0, 0]);
    golden(v1::ProbeRequest { from_node: 1, directory }, &[vec![8, 1], short(2, 13)]);
    let reply = v1::ProbeReply {
        node: 1,
        cluster,
        directory,
        known_nodes: vec![1, 300],
        known_directory: directory,
        bootstrap: Some(bootstrap.clone()),
        protocol_version: PROTOCOL_VERSION,
    };
    golden(
        reply,
        &[
            vec![8, 1],
            short(2, 11),
            short(3, 13),
            field(4, &[1, 0xAC, 0x02]),
            short(5, 13),
            field(6, &bootstrap_bytes),
            vec![0x38, 1],
        ],
    );
    let adopt =
        v1::AdoptRequest { cluster, from_node: 1, to_node: 2, bootstrap: Some(bootstrap), map: "map".into() };
    let bytes = [short(1, 11), vec![0x10, 1, 0x18, 2], field(4, &bootstrap_bytes), field(5, b"map")];
    golden(adopt, &bytes);
}
