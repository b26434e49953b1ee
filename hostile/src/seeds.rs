//! What the corpora began with: real encodings, made by the code that writes them, and a few of their interesting relatives.
//!
//! `cargo run -p flotilla-hostile` writes them. Inputs that a fuzzer or a fault added since lie beside them under names of
//! their own, and are never removed.

use bytes::Bytes;
use flotilla_node::transport::codec;
use flotilla_proto::v1;
use flotilla_proto::v1::pipeline_operation::Operation as Asked;
use flotilla_raft::{
    Configuration, Entry, HardState, Index, Life, LogId, Message, Payload, ReplicaId, Round, Rpc,
    SupportNumber, Term,
};
use flotilla_store::memory::Memory;
use flotilla_store::snapshot::Reader;
use flotilla_store::{
    Action, Base, Command, Compare, Condition, Genesis, Machine, Operation, RequestId, Scope, SlotSpan, Txn,
    TxnOperation,
};
use flotilla_topology::{Change, ClusterMap, Epoch, NodeId, NodeInfo, ShardId, Slot, plan_initial};
use flotilla_wal::simulated::SimulatedDisk;
use flotilla_wal::{Batch, Log, Record, RotAt};
use prost::Message as _;

use crate::input::put_piece;
use crate::{log_recovery as log, peer, snapshot};

type Seeds = Vec<(String, Vec<u8>)>;
/// What a peer says, each in its term.
type Talk = Vec<(u64, Rpc)>;

fn named(name: &str, bytes: Vec<u8>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes)
}

fn id(index: u64, term: u64) -> LogId {
    LogId::new(Index(index), Term(term))
}

fn entry(index: u64, term: u64, payload: Payload) -> Entry {
    Entry { id: id(index, term), payload }
}

fn data(text: &str) -> Payload {
    Payload::Data(Bytes::copy_from_slice(text.as_bytes()))
}

fn joint() -> Configuration {
    Configuration {
        voters: [1, 2, 4].map(ReplicaId).into(),
        outgoing: [1, 2, 3].map(ReplicaId).into(),
        learners: [ReplicaId(9)].into(),
    }
}

/// Directories of the shared log.
pub(crate) fn log_recovery() -> Seeds {
    let mut seeds = vec![
        named("nothing", vec![0]),
        named("a-lone-spare", {
            let mut out = vec![1];
            log::put_file(&mut out, 1, 3, &[0; 16384]);
            out
        }),
    ];
    let lives: [(&str, &[(u64, Record)]); 4] = [
        ("a-birth", &[(1, birth(1))]),
        ("every-record", &every_record()),
        ("an-end", &[(1, birth(1)), (1, Record::Tombstone { replica: ReplicaId(1) }), (1, birth(2))]),
        ("many-segments", &many()),
    ];
    for (name, records) in lives {
        for (suffix, flags, marked) in
            [("", 0, false), ("-resealed", 3, true), ("-resealed-unchained", 1, false)]
        {
            seeds.push(named(&format!("{name}{suffix}"), directory(flags, marked, records)));
        }
    }
    seeds
}

fn birth(replica: u64) -> Record {
    Record::Birth { replica: ReplicaId(replica), genesis: Bytes::from_static(b"genesis") }
}

fn hard(term: u64, vote: u64, commit: u64) -> Record {
    Record::HardState(HardState { term: Term(term), vote: Some(ReplicaId(vote)), commit: Index(commit) })
}

fn every_record() -> Vec<(u64, Record)> {
    let entries = vec![
        entry(1, 1, Payload::Noop),
        entry(2, 1, data("value")),
        entry(3, 2, Payload::Configuration(joint())),
    ];
    vec![
        (1, birth(5)),
        (1, hard(2, 6, 1)),
        (1, Record::Entries(entries)),
        (1, Record::Entries(vec![entry(3, 3, data("another"))])),
        (1, Record::Compact(id(2, 1))),
        (1, Record::SnapshotIntent(id(9, 3))),
        (2, birth(1)),
        (2, Record::Reset(id(40, 3))),
        (3, Record::Tombstone { replica: ReplicaId(7) }),
        (4, Record::Quarantine { replica: ReplicaId(8), at: RotAt { segment: 3, offset: 4096 } }),
    ]
}

fn many() -> Vec<(u64, Record)> {
    let busy = (1..12).flat_map(|index| {
        [(1, Record::Entries(vec![entry(index, 1, data("v"))])), (1, Record::Compact(id(index, 1)))]
    });
    [(1, birth(1)), (2, birth(1)), (2, hard(1, 1, 0))].into_iter().chain(busy).collect()
}

/// A directory in which each record was written as a frame.
fn directory(flags: u8, marked: bool, records: &[(u64, Record)]) -> Vec<u8> {
    let disk = SimulatedDisk::new(1);
    let opened = Log::open(disk.clone(), log::options(), log::DIRECTORY);
    let (mut log, _) = opened.unwrap_or_else(|error| panic!("an empty directory: {error}"));
    for (shard, record) in records {
        let mut batch = Batch::new();
        batch.push(ShardId(*shard), record.clone());
        log.append(&[batch]).unwrap_or_else(|error| panic!("{record:?}: {error}"));
    }
    if marked {
        log.idle().unwrap_or_else(|error| panic!("a mark: {error}"));
    }
    let mut out = vec![flags];
    for number in 1..u8::MAX {
        for (kind, name) in [(0, "segment"), (1, "spare")] {
            if let Some(content) = disk.content(&format!("{name}-{number:020}.log")) {
                log::put_file(&mut out, kind, number, &content);
            }
        }
    }
    out
}

/// Snapshots, whole and in small chunks, with checksums and without.
pub(crate) fn snapshot() -> Seeds {
    let base = state();
    let mut seeds = vec![named("nothing", vec![0])];
    for (name, chunk_bytes) in [("whole", 1 << 16), ("in-small-chunks", 60)] {
        let mut chunks = Vec::new();
        let reader = Reader::new(base.view(), snapshot::SHARD).unwrap_or_else(|error| panic!("{error}"));
        let mut reader = reader.unwrap_or_else(|| panic!("it was flushed"));
        while let Some(chunk) = reader.next_chunk(chunk_bytes).unwrap_or_else(|error| panic!("{error}")) {
            chunks.push(chunk);
        }
        for flags in [0, 1, 3_u8] {
            let mut out = vec![flags];
            for chunk in &chunks {
                let end = if flags & 1 == 1 { chunk.len() - 4 } else { chunk.len() };
                put_piece(&mut out, &chunk[..end]);
            }
            seeds.push(named(&format!("{name}-{flags}"), out));
        }
    }
    seeds
}

fn by(client: u128, sequence: u64, action: Action) -> Operation {
    let request = RequestId { client, sequence, acknowledged: sequence.min(2), deadline_ms: 900 };
    Operation { request: Some(request), action }
}

fn put(key: &'static str, value: &'static str, ttl_ms: Option<u64>) -> Action {
    Action::Put { key: key.into(), value: value.into(), ttl_ms }
}

/// A base with something of everything.
fn state() -> Memory {
    let slot = |number| Slot::new(number).unwrap_or_else(|| panic!("{number} is no slot"));
    let scope = Scope::Slots(vec![SlotSpan { first: slot(0), last: slot(16383) }]);
    let configuration = Configuration::of_voters([1, 2, 3].map(ReplicaId));
    let genesis = Genesis { scope, epoch: Epoch(1), configuration };
    let base = Memory::new();
    let opened = Machine::open(snapshot::SHARD, &base.view(), &genesis);
    let mut machine = opened.unwrap_or_else(|error| panic!("an empty base: {error}"));
    let compares = vec![Compare { key: "{t}a".into(), condition: Condition::Exists }];
    let then = vec![TxnOperation::Get { key: "{t}a".into() }, TxnOperation::Delete { key: "{t}b".into() }];
    let commands = [
        vec![by(1, 1, put("{t}a", "1", None)), by(1, 2, put("{t}b", "2", Some(500)))],
        vec![by(
            1,
            3,
            Action::CompareAndSwap { key: "{t}a".into(), expected: 9, value: "3".into(), ttl_ms: None },
        )],
        vec![by(2, 1, Action::Delete { key: "none".into() })],
        vec![by(1, 4, Action::Txn(Txn { compares, then, otherwise: vec![] })), by(3, 1, put("k", "", None))],
    ];
    for (index, operations) in (1..).zip(commands) {
        let command = Command { stamp_ms: index, operations };
        for key in machine.missing(&command) {
            machine.load(key, None);
        }
        machine.apply(id(index, 1), &command);
    }
    while let Some(flush) = machine.freeze() {
        let done = flush.run(&base).unwrap_or_else(|error| panic!("memory: {error}"));
        drop(machine.flushed(done));
    }
    base
}

/// Frames of peers: the conversations that a replica has as follower, candidate and leader.
pub(crate) fn peer() -> Seeds {
    let mut seeds = vec![named("nothing", Vec::new())];
    let talks: [(&str, u64, Talk); 5] = [
        ("follows", 0, follows()),
        ("follows-with-a-log", peer::WITH_LOG, overwrites()),
        ("votes", peer::WITH_LOG, votes()),
        ("leads", peer::LEADING, answers(1)),
        ("leads-with-a-log", peer::WITH_LOG | peer::LEADING | peer::COMPACTING, answers(4)),
    ];
    for (name, traits, talk) in talks {
        let slow = peer::SLOW_DISK | peer::SLOW_APPLY;
        for (suffix, more) in [("", 0), ("-slow", slow), ("-in-time", 40 << peer::MS_SHIFT)] {
            seeds.push(named(&format!("{name}{suffix}"), frame(traits | more, &talk)));
        }
    }
    let hello = v1::Hello { cluster: Some(7_u128.into()), from_node: 2, to_node: 1, ..v1::Hello::default() };
    let map = map_bytes(3, 2, 3).into();
    let greeting = v1::PeerFrame { hello: Some(hello), map, map_wanted: true, ..v1::PeerFrame::default() };
    seeds.push(named("a-greeting-with-a-map", greeting.encode_to_vec()));
    seeds
}

fn frame(traits: u64, talk: &[(u64, Rpc)]) -> Vec<u8> {
    let message = |(term, rpc): &(u64, Rpc)| {
        let message = Message { from: peer::OTHERS[0], to: peer::ME, term: Term(*term), rpc: rpc.clone() };
        codec::encode(ShardId(7), message)
    };
    let messages = talk.iter().map(message).collect();
    v1::PeerFrame { messages, map_epoch: traits, ..v1::PeerFrame::default() }.encode_to_vec()
}

fn append(previous: LogId, entries: Vec<Entry>, commit: u64) -> Rpc {
    Rpc::Append { previous, entries, commit: Index(commit) }
}

fn heartbeat(commit: u64, sent: u64, round: u64) -> Rpc {
    let (sent, round, life) = (Index(sent), Round(round), Life(1));
    Rpc::Heartbeat { commit: Index(commit), sent, round, life, sleep: None }
}

/// It asks to sleep.
fn lullaby(all: u64, round: u64) -> Rpc {
    let sleep = Some(SupportNumber(1));
    Rpc::Heartbeat { commit: Index(all), sent: Index(all), round: Round(round), life: Life(1), sleep }
}

fn follows() -> Talk {
    let change = Payload::Configuration(joint());
    vec![
        (1, append(id(0, 0), vec![entry(1, 1, Payload::Noop), entry(2, 1, data("a"))], 0)),
        (1, heartbeat(1, 2, 1)),
        (1, append(id(2, 1), vec![entry(3, 1, change)], 2)),
        (1, append(id(3, 1), vec![], 3)),
        (1, lullaby(3, 2)),
        (2, append(id(3, 1), vec![entry(4, 2, Payload::Noop)], 3)),
        (2, Rpc::TimeoutNow),
    ]
}

fn overwrites() -> Talk {
    vec![
        (4, append(id(9, 4), vec![], 0)),
        (4, append(id(3, 2), vec![entry(4, 3, data("b")), entry(5, 4, data("c"))], 4)),
        (5, append(id(5, 4), vec![entry(6, 5, Payload::Noop)], 5)),
        (5, heartbeat(6, 6, 3)),
        (6, append(id(4, 3), vec![entry(5, 4, data("c")), entry(6, 5, Payload::Noop)], 6)),
    ]
}

fn votes() -> Talk {
    vec![
        (3, Rpc::PreVote { campaign: Term(4), last: id(9, 3) }),
        (4, Rpc::Vote { last: id(9, 3), transfer: false }),
        (5, Rpc::Vote { last: id(1, 1), transfer: true }),
        (5, Rpc::PreVoteReply { campaign: Term(6), granted: true, commit: id(4, 2), wait: None }),
        (6, Rpc::VoteReply { granted: true }),
        (7, Rpc::VoteReply { granted: false }),
        (9, Rpc::TermOver),
    ]
}

/// To a leader whose term this may be.
fn answers(term: u64) -> Talk {
    let reply = |round, sent, accepted, matched| Rpc::HeartbeatReply {
        round: Round(round),
        sent: Index(sent),
        accepted: Index(accepted),
        matched: Index(matched),
        support: (round % 2 == 0).then_some(SupportNumber(round)),
        asleep: round % 4 == 2,
    };
    vec![
        (term, Rpc::AppendRejected { previous: Index(1), hint: id(0, 0) }),
        (term, Rpc::AppendReply { matched: Index(1) }),
        (term, reply(1, 2, 1, 1)),
        (term, Rpc::AppendReply { matched: Index(3) }),
        (term, reply(2, 3, 3, 3)),
        (term, reply(9, 9, 9, 9)),
        (term, Rpc::AppendReply { matched: Index(99) }),
        (term + 1, append(id(1, term), vec![entry(2, term + 1, Payload::Noop)], 1)),
    ]
}

/// Requests: every method.
pub(crate) fn request() -> Seeds {
    let id = v1::RequestId { client: Some(7_u128.into()), sequence: 3, acknowledged: 2, deadline_ms: 900 };
    let (request, key, value) = (Some(id), Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    let get = v1::GetRequest { key: key.clone(), consistency: 1, route_mode: 1 };
    let put =
        v1::PutRequest { key: key.clone(), value: value.clone(), ttl_ms: Some(9), route_mode: 1, request };
    let delete = v1::DeleteRequest { key: key.clone(), route_mode: 0, request };
    let cas = v1::CompareAndSwapRequest {
        key: key.clone(),
        value,
        ttl_ms: None,
        expected_version: 300,
        route_mode: 0,
        request,
    };
    let txn = a_txn(request);
    let scan =
        v1::ScanRequest { from: key.clone(), to: "z".into(), limit: 9, reverse: true, ..Default::default() };
    let operation = |id, operation| v1::PipelineOperation { id, timeout_ms: 300, operation: Some(operation) };
    let operations = vec![
        operation(1, Asked::Get(get.clone())),
        operation(2, Asked::Put(put.clone())),
        operation(3, Asked::Delete(delete.clone())),
        operation(4, Asked::CompareAndSwap(cas.clone())),
        operation(5, Asked::Txn(txn.clone())),
        v1::PipelineOperation::default(),
    ];
    let of = |method: u8, message: Vec<u8>| [vec![method], message].concat();
    let long = v1::GetRequest { key: vec![b'k'; 5000].into(), ..get.clone() };
    vec![
        named("nothing", Vec::new()),
        named("pipeline", of(0, v1::PipelineRequest { operations }.encode_to_vec())),
        named("get", of(1, get.encode_to_vec())),
        named("get-of-a-long-key", of(1, long.encode_to_vec())),
        named("put", of(2, put.encode_to_vec())),
        named("delete", of(3, delete.encode_to_vec())),
        named("compare-and-swap", of(4, cas.encode_to_vec())),
        named("txn", of(5, txn.encode_to_vec())),
        named("scan", of(6, scan.encode_to_vec())),
        named("pipeline-of-many-empty-operations", of(0, [10, 0].repeat(4100))),
        named("txn-of-many-empty-parts", of(5, [10, 0, 18, 0, 26, 0].repeat(50))),
    ]
}

fn a_txn(request: Option<v1::RequestId>) -> v1::TxnRequest {
    use v1::compare::Condition;
    use v1::txn_operation::Operation;
    let key = |name: &str| Bytes::from(format!("{{t}}{name}"));
    let compare = |name, condition| v1::Compare { key: key(name), condition: Some(condition) };
    let of = |operation| v1::TxnOperation { operation: Some(operation) };
    let put = v1::TxnPut { key: key("c"), value: "v".into(), ttl_ms: Some(9) };
    v1::TxnRequest {
        compares: vec![
            compare("a", Condition::Version(3)),
            compare("b", Condition::Value("v".into())),
            compare("c", Condition::Exists(false)),
        ],
        then: vec![of(Operation::Get(v1::TxnGet { key: key("a") })), of(Operation::Put(put))],
        otherwise: vec![of(Operation::Delete(v1::TxnDelete { key: key("b") }))],
        route_mode: 1,
        request,
    }
}

/// Configurations: the contract's examples, as flags and as files.
pub(crate) fn config() -> Seeds {
    let flags = |file: &str, args: &[&str]| [&[file], args].concat().join("\0").into_bytes();
    let new =
        "id = 1\ndata-dir = \"n1\"\ninit = [\"1=127.0.0.1:7601\", \"2=node-2.fleet:7601\"]\nreplicas = 2\n";
    let limits =
        "id = 1\ndata_dir = \"n1\"\nkey-bytes-max = \"4KiB\"\nvalue-bytes-max = 1048576\ninsecure = true\n";
    vec![
        named("nothing", Vec::new()),
        named("flags", flags("", &["--id", "1", "--data-dir", "n1", "--join", "127.0.0.1:7501"])),
        named("a-new-fleet", flags(new, &[])),
        named("limits", flags(limits, &["--batch-bytes-max=4MiB", "--client-addr", "[::1]:7501"])),
        named("timing", flags(limits, &["--election-timeout-min-ms", "100", "--heartbeat-interval-ms=51"])),
        named("help", flags("", &["--help"])),
        named("a-wrong-line", flags("id = 1\ndata-dir = \n", &[])),
        named("a-wrong-flag", flags("colour = \"red\"\n", &["--shards", "0"])),
        named("more-than-one-line", flags("", &["--id", "1\n2", "--data-dir", "a\tb"])),
    ]
}

fn map_bytes(nodes: u64, shards: u64, replicas: usize) -> Vec<u8> {
    founded(nodes, shards, replicas).encode()
}

fn founded(nodes: u64, shards: u64, replicas: usize) -> ClusterMap {
    let info = |node: u64| NodeInfo {
        client_addr: format!("127.0.0.1:{}", 7500 + node),
        peer_addr: format!("n{node}.fleet:7601"),
        http_addr: if node == 2 { String::new() } else { format!("[::1]:{}", 7700 + node) },
    };
    let nodes = (1..=nodes).map(|node| (NodeId(node), info(node))).collect();
    let map = plan_initial(0xF1EE7, nodes, shards, replicas);
    map.unwrap_or_else(|error| panic!("a fleet: {error}"))
}

/// Cluster maps: small ones, because a fuzzer is fast with small ones.
pub(crate) fn map() -> Seeds {
    let mut seeds = vec![named("nothing", Vec::new()), named("only-a-magic", b"\x01FMAP\x01".to_vec())];
    for (name, nodes, shards, replicas) in [("one-node", 1, 1, 1), ("three-nodes", 3, 2, 3)] {
        let map = map_bytes(nodes, shards, replicas);
        seeds.push(named(name, [vec![0], map.clone()].concat()));
        seeds.push(named(&format!("{name}-resealed"), [vec![1], map].concat()));
    }
    // Of the newer formats, too: something moves, and somebody leaves.
    let apply =
        |map: ClusterMap, change| map.apply(change).unwrap_or_else(|error| panic!("a change: {error}"));
    let start = Change::StartMove { shard: ShardId(1), from: NodeId(1), to: NodeId(4) };
    let moving = apply(founded(4, 1, 3), start);
    let leaving = apply(moving.clone(), Change::Drain { node: NodeId(1) });
    let leaving = apply(leaving, Change::RemoveByForce { node: NodeId(2) });
    seeds.push(named("a-move-resealed", [vec![1], moving.encode()].concat()));
    seeds.push(named("who-leaves-resealed", [vec![1], leaving.encode()].concat()));
    seeds
}
