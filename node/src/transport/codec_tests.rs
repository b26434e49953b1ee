//! Every message survives the wire; nothing that comes over it panics.

use bytes::Bytes;
use prost::Message as _;
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

use super::*;

/// Draws messages.
struct Draw(Pcg64Mcg);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// Small numbers, and the ends of the scale.
    fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => self.0.next_u64(),
            _ => self.below(300),
        }
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }

    fn log_id(&mut self) -> LogId {
        LogId::new(Index(self.number()), Term(self.number()))
    }

    fn configuration(&mut self) -> Configuration {
        let mut set = |most| (0..self.below(most)).map(|_| ReplicaId(self.number())).collect();
        Configuration { voters: set(6), outgoing: set(4), learners: set(3) }
    }

    fn entries(&mut self, after: Index) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut index = after;
        for _ in 0..self.below(5) {
            if index.0 == u64::MAX {
                break;
            }
            index = index.next();
            let payload = match self.below(3) {
                0 => Payload::Noop,
                1 => Payload::Data(Bytes::from(vec![self.below(256) as u8; self.below(70) as usize])),
                _ => Payload::Configuration(self.configuration()),
            };
            entries.push(Entry { id: LogId::new(index, Term(self.number())), payload });
        }
        entries
    }

    fn rpc(&mut self) -> Rpc {
        let term = Term(self.number());
        let index = Index(self.number());
        match self.below(11) {
            0 => Rpc::PreVote { campaign: term, last: self.log_id() },
            1 => Rpc::PreVoteReply {
                campaign: term,
                granted: self.flag(),
                commit: self.log_id(),
                wait: self.flag().then(|| Duration::from_micros(self.number().max(1))),
            },
            2 => Rpc::Vote { last: self.log_id(), transfer: self.flag() },
            3 => Rpc::VoteReply { granted: self.flag() },
            4 => {
                let previous = self.log_id();
                Rpc::Append { previous, entries: self.entries(previous.index), commit: index }
            }
            5 => Rpc::AppendReply { matched: index },
            6 => Rpc::AppendRejected { previous: index, hint: self.log_id() },
            7 => Rpc::Heartbeat {
                commit: index,
                sent: Index(self.number()),
                round: Round(self.number()),
                life: Life(self.number()),
                sleep: self.flag().then(|| SupportNumber(self.number().max(1))),
            },
            8 => Rpc::HeartbeatReply {
                round: Round(self.number()),
                sent: index,
                accepted: Index(self.number()),
                matched: Index(self.number()),
                support: self.flag().then(|| SupportNumber(self.number().max(1))),
                asleep: self.flag(),
            },
            9 => Rpc::TimeoutNow,
            _ => Rpc::TermOver,
        }
    }

    fn message(&mut self) -> Message {
        let (from, to) = (ReplicaId(self.number()), ReplicaId(self.number()));
        let (mut term, mut rpc) = (Term(self.number()), self.rpc());
        if let Rpc::Append { previous, entries, .. } = &mut rpc {
            // The terms of a log only grow, and none is later than its leader's.
            let mut before = previous.term;
            for entry in entries {
                before = before.max(entry.id.term);
                entry.id.term = before;
                term = term.max(before);
            }
        }
        Message { from, to, term, rpc }
    }
}

#[test]
fn every_message_is_read_as_it_was_written_and_is_not_longer_than_promised() {
    let mut draw = Draw(Pcg64Mcg::new(1));
    for _ in 0..20_000 {
        let (shard, message) = (ShardId(draw.number()), draw.message());
        let wire = v1::PeerFrame { messages: vec![encode(shard, message.clone())], ..Default::default() };
        let bytes = wire.encode_to_vec();
        assert!(bytes.len() <= bytes_bound(&message), "{} bytes: {message:?}", bytes.len());
        let mut back = v1::PeerFrame::decode(&bytes[..]).unwrap();
        assert_eq!(decode(back.messages.remove(0)), Ok((shard, message)));
    }
}

#[test]
fn a_configuration_as_long_as_they_come_is_not_longer_than_promised() {
    let voters = (0..40).map(|id| ReplicaId(u64::MAX - id)).collect();
    let payload = Payload::Configuration(Configuration { voters, ..Configuration::default() });
    let entry = Entry { id: LogId::new(Index(u64::MAX), Term(u64::MAX)), payload };
    let previous = LogId::new(Index(u64::MAX - 1), Term(u64::MAX));
    let rpc = Rpc::Append { previous, entries: vec![entry], commit: Index(u64::MAX) };
    let id = ReplicaId(u64::MAX);
    let message = Message { from: id, to: id, term: Term(u64::MAX), rpc };
    let wire = encode(ShardId(u64::MAX), message.clone());
    let frame = v1::PeerFrame { messages: vec![wire], ..Default::default() };
    assert!(frame.encoded_len() <= bytes_bound(&message));
}

#[test]
fn a_meta_is_read_as_it_was_written() {
    let mut draw = Draw(Pcg64Mcg::new(2));
    for _ in 0..1_000 {
        let meta = SnapshotMeta {
            last: draw.log_id(),
            configuration: draw.configuration(),
            configuration_index: Index(draw.number()),
        };
        assert_eq!(decode_meta(Some(encode_meta(&meta))), Ok(meta));
    }
    assert!(decode_meta(None).is_err());
}

#[test]
fn nothing_that_comes_over_the_wire_panics() {
    let mut draw = Draw(Pcg64Mcg::new(3));
    let mut understood = 0;
    for _ in 0..50_000 {
        let mut bytes = encode(ShardId(draw.number()), draw.message()).encode_to_vec();
        for _ in 0..=draw.below(4) {
            let at = draw.below(bytes.len() as u64 + 1) as usize;
            match draw.below(3) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, draw.below(256) as u8),
                _ if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
                _ => {}
            }
        }
        if let Ok(wire) = v1::ShardMessage::decode(&bytes[..]) {
            understood += usize::from(decode(wire).is_ok());
        }
    }
    assert!(understood > 1_000, "only {understood} got as far as a message: the test damages too much");
}

#[test]
fn a_message_without_its_parts_is_refused() {
    let mut draw = Draw(Pcg64Mcg::new(4));
    let whole = v1::ShardMessage { term: 9, ..encode(ShardId(1), draw.message()) };
    let of = |rpc| decode(v1::ShardMessage { rpc, ..whole.clone() });
    assert!(matches!(of(None), Err(WireError::Missing { .. })));
    assert!(matches!(of(Some(WireRpc::Vote(v1::Vote::default()))), Err(WireError::Missing { .. })));
    assert!(matches!(of(Some(WireRpc::Append(v1::Append::default()))), Err(WireError::Missing { .. })));
    let append = |entries| {
        let previous = Some(v1::LogId { index: 4, term: 1 });
        Some(WireRpc::Append(v1::Append { previous, entries, commit: 0 }))
    };
    let entry = |index| v1::Entry {
        id: Some(v1::LogId { index, term: 1 }),
        payload: Some(WirePayload::Noop(v1::Noop {})),
    };
    let whole_term = whole.term;
    assert!(of(append(vec![entry(5), entry(6)])).is_ok());
    let of_term = |index, term| v1::Entry { id: Some(v1::LogId { index, term }), ..entry(index) };
    for terms in [(3, 2), (1, whole_term + 1)] {
        let entries = vec![of_term(5, terms.0), of_term(6, terms.1)];
        assert!(matches!(of(append(entries)), Err(WireError::Term { .. })), "terms {terms:?}");
    }
    assert!(matches!(of(append(vec![entry(5), entry(7)])), Err(WireError::Gap { wanted: Index(6), .. })));
    assert!(matches!(
        of(append(vec![v1::Entry { payload: None, ..entry(5) }])),
        Err(WireError::Missing { .. })
    ));
    let voters = vec![2, 1];
    let configuration = v1::Configuration { voters, ..v1::Configuration::default() };
    let payload = Some(WirePayload::Configuration(configuration));
    assert_eq!(of(append(vec![v1::Entry { payload, ..entry(5) }])), Err(WireError::Order));
}

#[test]
fn beats_and_their_answers_are_read_as_they_were_written() {
    let mut draw = Draw(Pcg64Mcg::new(3));
    for _ in 0..1_000 {
        let mut fallen = || FallenLeader {
            shard: ShardId(draw.number()),
            leader: ReplicaId(draw.number()),
            term: Term(draw.number()),
        };
        let fallen = vec![fallen(), fallen()];
        let beat = Beat { boot: draw.number(), sent: Time(draw.number()), fallen };
        assert_eq!(decode_beat(encode_beat(&beat)), beat);
        let answer = BeatAnswer {
            boot: draw.number(),
            sent: Time(draw.number()),
            number: SupportNumber(draw.number()),
            support: Duration::from_micros(draw.number()),
        };
        assert_eq!(decode_beat_answer(encode_beat_answer(answer)), answer);
    }
}

/// `docs/formats/wire.md`: what replicas of two releases say to each other, byte by byte. Whoever changes one of these bytes
/// raises `PROTOCOL_VERSION`.
#[test]
fn the_bytes_of_messages_are_these() {
    let id = |index, term| LogId::new(Index(index), Term(term));
    let entry = |index, payload| Entry { id: id(index, 3), payload };
    let members = Configuration {
        voters: [1, 2].map(ReplicaId).into(),
        outgoing: [ReplicaId(3)].into(),
        learners: [ReplicaId(300)].into(),
    };
    let entries = vec![
        entry(5, Payload::Noop),
        entry(6, Payload::Data(Bytes::from_static(b"data"))),
        entry(7, Payload::Configuration(members)),
    ];
    let (commit, sent, round) = (Index(1), Index(2), Round(3));
    let reply_before = Rpc::PreVoteReply { campaign: Term(4), granted: true, commit: id(8, 2), wait: None };
    let (campaign, commit_id) = (Term(4), id(8, 2));
    let wait = Some(Duration::from_micros(7));
    let refusal = Rpc::PreVoteReply { campaign, granted: false, commit: commit_id, wait };
    let support = Some(SupportNumber(6));
    let reply =
        Rpc::HeartbeatReply { round, sent, accepted: Index(4), matched: Index(5), support, asleep: false };
    let asleep =
        Rpc::HeartbeatReply { round, sent, accepted: Index(4), matched: Index(5), support, asleep: true };
    let sleep = Some(SupportNumber(6));
    let entries_bytes = [
        &[18, 8, 10, 4, 8, 5, 16, 3, 18, 0][..],
        &[18, 12, 10, 4, 8, 6, 16, 3, 26, 4],
        b"data",
        &[18, 19, 10, 4, 8, 7, 16, 3, 34, 11, 10, 2, 1, 2, 18, 1, 3, 26, 2, 0xAC, 2],
    ]
    .concat();
    let append = [&[74, 53, 10, 4, 8, 4, 16, 2][..], &entries_bytes, &[24, 1]].concat();
    let life = Life(2);
    let before_lives = Rpc::Heartbeat { commit, sent, round, life: Life(0), sleep: None };
    let golden: [(Rpc, &[u8]); 14] = [
        (Rpc::PreVote { campaign: Term(4), last: id(9, 3) }, &[42, 8, 8, 4, 18, 4, 8, 9, 16, 3]),
        (reply_before, &[50, 10, 8, 4, 16, 1, 26, 4, 8, 8, 16, 2]),
        (refusal, &[50, 10, 8, 4, 26, 4, 8, 8, 16, 2, 32, 7]),
        (Rpc::Vote { last: id(9, 3), transfer: true }, &[58, 8, 10, 4, 8, 9, 16, 3, 16, 1]),
        (Rpc::VoteReply { granted: true }, &[66, 2, 8, 1]),
        (Rpc::Append { previous: id(4, 2), entries, commit }, &append),
        (Rpc::AppendReply { matched: Index(9) }, &[82, 2, 8, 9]),
        (Rpc::AppendRejected { previous: Index(9), hint: id(8, 2) }, &[90, 8, 8, 9, 18, 4, 8, 8, 16, 2]),
        (before_lives, &[98, 6, 8, 1, 16, 2, 24, 3]),
        (Rpc::Heartbeat { commit, sent, round, life, sleep }, &[98, 10, 8, 1, 16, 2, 24, 3, 40, 2, 48, 6]),
        (reply, &[106, 10, 8, 3, 16, 2, 24, 4, 32, 5, 40, 6]),
        (asleep, &[106, 12, 8, 3, 16, 2, 24, 4, 32, 5, 40, 6, 48, 1]),
        (Rpc::TimeoutNow, &[114, 0]),
        (Rpc::TermOver, &[122, 0]),
    ];
    for (rpc, bytes) in golden {
        let (from, to) = (ReplicaId(1), ReplicaId(2));
        let message = Message { from, to, term: Term(300), rpc };
        let bytes = [&[8, 7, 16, 1, 24, 2, 32, 0xAC, 2][..], bytes].concat();
        assert_eq!(encode(ShardId(7), message.clone()).encode_to_vec(), bytes, "{message:?}");
        let back = v1::ShardMessage::decode(&bytes[..]).unwrap();
        assert_eq!(decode(back), Ok((ShardId(7), message)), "and they are read back");
    }
}
