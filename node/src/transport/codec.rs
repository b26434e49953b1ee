//! Raft messages and their protobuf.
//!
//! Strict on the way in: a message without one of its parts, or of a kind that this version does not know, is an error, and the
//! stream that brought it is closed. A node that guessed could acknowledge what it does not hold.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_proto::v1::entry::Payload as WirePayload;
use flotilla_proto::v1::shard_message::Rpc as WireRpc;
use flotilla_raft::{
    Configuration, Entry, Index, Life, LogId, Message, Payload, ReplicaId, Round, Rpc, SnapshotMeta,
    SupportNumber, Term, Time,
};
use flotilla_topology::ShardId;

use crate::host::{Beat, BeatAnswer, FallenLeader};

/// What protobuf adds to the data of an entry at most, in bytes: lengths, tags, and the entry's id.
const ENTRY_BYTES: usize = 48;

/// What a message has beside its entries at most, in bytes.
const MESSAGE_BYTES: usize = 128;

/// What one replica id takes at most, in bytes.
const REPLICA_BYTES: usize = 10;

/// Entries up to this size are copied out of their frame. A slice would keep the whole frame, with the entries of all other
/// shards, in memory for as long as the log of a quiet shard keeps the entry.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// A message of another node that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A part that every message of this kind has is missing, or is of a kind that this version does not know.
    #[error("{what} is missing or unknown")]
    Missing {
        /// The part.
        what: &'static str,
    },
    /// The entries of an append do not follow each other.
    #[error("entry {found} stands where index {wanted} should")]
    Gap {
        /// The index that should stand there.
        wanted: Index,
        /// What stands there.
        found: LogId,
    },
    /// The terms of a log only grow, and a leader has no entry of a later term than its own.
    #[error("entry {found} does not stand between terms {before} and {leader}")]
    Term {
        /// The term of the entry before it.
        before: Term,
        /// What stands there.
        found: LogId,
        /// The term of the leader.
        leader: Term,
    },
    /// The replicas of a configuration are not in order, or one is named twice.
    #[error("the replicas of a configuration are not in rising order")]
    Order,
}

/// What a message takes in a frame at most, in bytes. Cheap: a worker calls it.
pub(super) fn bytes_bound(message: &Message) -> usize {
    let Rpc::Append { entries, .. } = &message.rpc else { return MESSAGE_BYTES };
    entries.iter().map(|entry| ENTRY_BYTES + payload_bytes(&entry.payload)).sum::<usize>() + MESSAGE_BYTES
}

fn payload_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Noop => 0,
        Payload::Data(data) => data.len(),
        Payload::Configuration(it) => {
            (it.voters.len() + it.outgoing.len() + it.learners.len()) * REPLICA_BYTES
        }
    }
}

/// The message for the wire, with its shard.
///
/// # Panics
/// It is an `InstallSnapshot`: the host at the receiving end makes that itself, once the data is there.
pub fn encode(shard: ShardId, message: Message) -> v1::ShardMessage {
    let Message { from, to, term, rpc } = message;
    let rpc = match rpc {
        Rpc::PreVote { campaign, last } => {
            WireRpc::PreVote(v1::PreVote { campaign: campaign.0, last: Some(encode_log_id(last)) })
        }
        Rpc::PreVoteReply { campaign, granted, commit, wait } => {
            let commit = Some(encode_log_id(commit));
            let wait_us = wait.map_or(0, |wait| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1));
            WireRpc::PreVoteReply(v1::PreVoteReply { campaign: campaign.0, granted, commit, wait_us })
        }
        Rpc::Vote { last, transfer } => WireRpc::Vote(v1::Vote { last: Some(encode_log_id(last)), transfer }),
        Rpc::VoteReply { granted } => WireRpc::VoteReply(v1::VoteReply { granted }),
        Rpc::Append { previous, entries, commit } => WireRpc::Append(v1::Append {
            previous: Some(encode_log_id(previous)),
            entries: entries.into_iter().map(encode_entry).collect(),
            commit: commit.0,
        }),
        Rpc::AppendReply { matched } => WireRpc::AppendReply(v1::AppendReply { matched: matched.0 }),
        Rpc::AppendRejected { previous, hint } => WireRpc::AppendRejected(v1::AppendRejected {
            previous: previous.0,
            hint: Some(encode_log_id(hint)),
        }),
        Rpc::Heartbeat { commit, sent, round, life, sleep } => WireRpc::Heartbeat(v1::Heartbeat {
            commit: commit.0,
            sent: sent.0,
            round: round.0,
            sleep: sleep.map_or(0, |number| number.0),
            life: life.0,
        }),
        Rpc::HeartbeatReply { round, sent, accepted, matched, support, asleep } => {
            WireRpc::HeartbeatReply(v1::HeartbeatReply {
                round: round.0,
                sent: sent.0,
                accepted: accepted.0,
                matched: matched.0,
                support: support.map_or(0, |number| number.0),
                asleep,
            })
        }
        Rpc::TimeoutNow => WireRpc::TimeoutNow(v1::TimeoutNow {}),
        Rpc::TermOver => WireRpc::TermOver(v1::TermOver {}),
        Rpc::InstallSnapshot { meta } => panic!("{shard}: InstallSnapshot {meta} is not sent in frames"),
    };
    v1::ShardMessage { shard: shard.0, from: from.0, to: to.0, term: term.0, rpc: Some(rpc) }
}

/// The message of the wire.
///
/// # Errors
/// It lacks a part, or contradicts itself: no replica has said that.
pub fn decode(message: v1::ShardMessage) -> Result<(ShardId, Message), WireError> {
    let rpc = match message.rpc.ok_or(WireError::Missing { what: "what a message says" })? {
        WireRpc::PreVote(it) => Rpc::PreVote { campaign: Term(it.campaign), last: decode_log_id(it.last)? },
        WireRpc::PreVoteReply(it) => {
            let commit = it.commit.map_or(Ok(LogId::default()), |commit| decode_log_id(Some(commit)))?;
            let wait = (it.wait_us > 0).then_some(Duration::from_micros(it.wait_us));
            Rpc::PreVoteReply { campaign: Term(it.campaign), granted: it.granted, commit, wait }
        }
        WireRpc::Vote(it) => Rpc::Vote { last: decode_log_id(it.last)?, transfer: it.transfer },
        WireRpc::VoteReply(it) => Rpc::VoteReply { granted: it.granted },
        WireRpc::Append(it) => decode_append(it, Term(message.term))?,
        WireRpc::AppendReply(it) => Rpc::AppendReply { matched: Index(it.matched) },
        WireRpc::AppendRejected(it) => {
            Rpc::AppendRejected { previous: Index(it.previous), hint: decode_log_id(it.hint)? }
        }
        WireRpc::Heartbeat(it) => Rpc::Heartbeat {
            commit: Index(it.commit),
            sent: Index(it.sent),
            round: Round(it.round),
            life: Life(it.life),
            sleep: (it.sleep > 0).then_some(SupportNumber(it.sleep)),
        },
        WireRpc::HeartbeatReply(it) => Rpc::HeartbeatReply {
            round: Round(it.round),
            sent: Index(it.sent),
            accepted: Index(it.accepted),
            matched: Index(it.matched),
            support: (it.support > 0).then_some(SupportNumber(it.support)),
            asleep: it.asleep,
        },
        WireRpc::TimeoutNow(v1::TimeoutNow {}) => Rpc::TimeoutNow,
        WireRpc::TermOver(v1::TermOver {}) => Rpc::TermOver,
    };
    let (from, to) = (ReplicaId(message.from), ReplicaId(message.to));
    Ok((ShardId(message.shard), Message { from, to, term: Term(message.term), rpc }))
}

fn decode_append(append: v1::Append, leader: Term) -> Result<Rpc, WireError> {
    let previous = decode_log_id(append.previous)?;
    let LogId { index: mut before, term: mut term_before } = previous;
    let mut entries = Vec::with_capacity(append.entries.len());
    for entry in append.entries {
        let entry = decode_entry(entry)?;
        // Not `next()`: an index at the end of the numbers must not overflow.
        let wanted = Index(before.0.saturating_add(1));
        if entry.id.index != wanted || wanted == before {
            return Err(WireError::Gap { wanted, found: entry.id });
        }
        if entry.id.term < term_before || entry.id.term > leader {
            return Err(WireError::Term { before: term_before, found: entry.id, leader });
        }
        (before, term_before) = (wanted, entry.id.term);
        entries.push(entry);
    }
    Ok(Rpc::Append { previous, entries, commit: Index(append.commit) })
}

fn encode_entry(entry: Entry) -> v1::Entry {
    let payload = match entry.payload {
        Payload::Noop => WirePayload::Noop(v1::Noop {}),
        Payload::Data(data) => WirePayload::Data(data),
        Payload::Configuration(it) => WirePayload::Configuration(encode_configuration(&it)),
    };
    v1::Entry { id: Some(encode_log_id(entry.id)), payload: Some(payload) }
}

fn decode_entry(entry: v1::Entry) -> Result<Entry, WireError> {
    let payload = match entry.payload.ok_or(WireError::Missing { what: "the payload of an entry" })? {
        WirePayload::Noop(v1::Noop {}) => Payload::Noop,
        WirePayload::Data(data) if data.len() <= COPIED_BYTES_MAX => {
            Payload::Data(Bytes::copy_from_slice(&data))
        }
        WirePayload::Data(data) => Payload::Data(data),
        WirePayload::Configuration(it) => Payload::Configuration(decode_configuration(&it)?),
    };
    Ok(Entry { id: decode_log_id(entry.id)?, payload })
}

fn encode_log_id(id: LogId) -> v1::LogId {
    v1::LogId { index: id.index.0, term: id.term.0 }
}

fn decode_log_id(id: Option<v1::LogId>) -> Result<LogId, WireError> {
    let id = id.ok_or(WireError::Missing { what: "the id of an entry" })?;
    Ok(LogId::new(Index(id.index), Term(id.term)))
}

/// A configuration for the wire.
#[must_use]
pub fn encode_configuration(configuration: &Configuration) -> v1::Configuration {
    let ids = |set: &BTreeSet<ReplicaId>| set.iter().map(|id| id.0).collect();
    v1::Configuration {
        voters: ids(&configuration.voters),
        outgoing: ids(&configuration.outgoing),
        learners: ids(&configuration.learners),
    }
}

/// What [`encode_configuration`] made.
///
/// # Errors
/// Its replicas are not in rising order.
pub fn decode_configuration(configuration: &v1::Configuration) -> Result<Configuration, WireError> {
    let set = |ids: &[u64]| {
        let rising = ids.windows(2).all(|pair| pair[0] < pair[1]);
        if rising { Ok(ids.iter().copied().map(ReplicaId).collect()) } else { Err(WireError::Order) }
    };
    Ok(Configuration {
        voters: set(&configuration.voters)?,
        outgoing: set(&configuration.outgoing)?,
        learners: set(&configuration.learners)?,
    })
}

/// A beat, for the wire.
pub(super) fn encode_beat(beat: &Beat) -> v1::Beat {
    let fallen = beat.fallen.iter().map(|it| v1::FallenLeader {
        shard: it.shard.0,
        leader: it.leader.0,
        term: it.term.0,
    });
    v1::Beat { boot: beat.boot, sent: beat.sent.0, fallen: fallen.collect() }
}

/// A beat of the wire.
pub(super) fn decode_beat(beat: v1::Beat) -> Beat {
    let fallen = beat.fallen.into_iter().map(|it| FallenLeader {
        shard: ShardId(it.shard),
        leader: ReplicaId(it.leader),
        term: Term(it.term),
    });
    Beat { boot: beat.boot, sent: Time(beat.sent), fallen: fallen.collect() }
}

/// An answer to a beat, for the wire.
pub(super) fn encode_beat_answer(answer: BeatAnswer) -> v1::BeatAnswer {
    let support_micros = u64::try_from(answer.support.as_micros()).unwrap_or(u64::MAX);
    v1::BeatAnswer { boot: answer.boot, sent: answer.sent.0, number: answer.number.0, support_micros }
}

/// An answer to a beat, of the wire.
pub(super) fn decode_beat_answer(answer: v1::BeatAnswer) -> BeatAnswer {
    BeatAnswer {
        boot: answer.boot,
        sent: Time(answer.sent),
        number: SupportNumber(answer.number),
        support: Duration::from_micros(answer.support_micros),
    }
}

/// What a snapshot stands for, for the wire.
pub(super) fn encode_meta(meta: &SnapshotMeta) -> v1::SnapshotMeta {
    v1::SnapshotMeta {
        last: Some(encode_log_id(meta.last)),
        configuration: Some(encode_configuration(&meta.configuration)),
        configuration_index: meta.configuration_index.0,
    }
}

/// What a snapshot of the wire stands for.
pub(super) fn decode_meta(meta: Option<v1::SnapshotMeta>) -> Result<SnapshotMeta, WireError> {
    let meta = meta.ok_or(WireError::Missing { what: "the position of a snapshot" })?;
    let configuration =
        meta.configuration.ok_or(WireError::Missing { what: "the configuration of a snapshot" })?;
    Ok(SnapshotMeta {
        last: decode_log_id(meta.last)?,
        configuration: decode_configuration(&configuration)?,
        configuration_index: Index(meta.configuration_index),
    })
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
