//! Frames of peers: decoded, turned into messages, and stepped into a replica, one after the other.
//!
//! A replica may stop its process for one reason only: a message proves that promises were broken (`raft/src/impossible.rs`).
//! There are three such proofs. [`Replica::proves`] knows them, and such messages are left out here; everything else must be
//! taken or dropped, whatever it says.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_node::transport::codec;
use flotilla_proto::v1;
use flotilla_raft::{
    Configuration, Entry, Index, LogId, Message, Options, Payload, Raft, ReadId, Ready, Recovered, ReplicaId,
    Rpc, Term, Ticket, Time,
};
use flotilla_topology::ClusterMap;
use prost::Message as _;

/// The replica that frames are for, and the other voters.
pub(crate) const ME: ReplicaId = ReplicaId(1);
pub(crate) const OTHERS: [ReplicaId; 2] = [ReplicaId(2), ReplicaId(3)];

/// The replica has a log already.
pub(crate) const WITH_LOG: u64 = 1;
/// It leads.
pub(crate) const LEADING: u64 = 2;
/// Its disk is slow: a write is durable only after the next message.
pub(crate) const SLOW_DISK: u64 = 4;
/// The state machine is slow, too.
pub(crate) const SLOW_APPLY: u64 = 8;
/// What was applied is compacted.
pub(crate) const COMPACTING: u64 = 16;
/// From this bit on: how many ms pass between two messages.
pub(crate) const MS_SHIFT: u32 = 5;
const MS_MASK: u64 = 0xFF;

/// A frame. Its map's epoch says what the replica is like and how fast time passes.
pub(crate) fn enter(bytes: &[u8]) -> bool {
    let Ok(frame) = v1::PeerFrame::decode(bytes) else { return false };
    if !frame.map.is_empty() {
        let _ = ClusterMap::decode(&frame.map);
    }
    let traits = frame.map_epoch;
    let mut replica = Replica::new(traits);
    let mut understood = 0;
    for wire in frame.messages {
        // The stream that brings a message without sense is closed: nothing after it counts.
        let Ok((shard, mut message)) = codec::decode(wire) else { break };
        let again = v1::ShardMessage::decode(&codec::encode(shard, message.clone()).encode_to_vec()[..]);
        assert_eq!(
            again.map(codec::decode),
            Ok(Ok((shard, message.clone()))),
            "it does not survive the wire"
        );
        // A message for another replica is tried once: it does no harm, and teaches nothing.
        if understood > 0 {
            message.to = ME;
        }
        replica.take(message);
        understood += 1;
    }
    understood > 0
}

/// A replica with its host: disk, state machine and clock.
struct Replica {
    raft: Raft,
    traits: u64,
    now: Time,
    started_in: Term,
    /// What was handed out for writing: the log as its disk will hold it.
    log: BTreeMap<Index, Term>,
    /// Not durable yet.
    writes: Vec<Ticket>,
    /// Handed out to be applied, up to here.
    handed: Index,
    /// Not applied yet.
    apply: Option<Index>,
    reads: u64,
}

impl Replica {
    fn new(traits: u64) -> Self {
        let mut recovered = Recovered::fresh(Configuration::of_voters([ME, OTHERS[0], OTHERS[1]]));
        if traits & WITH_LOG != 0 {
            let entry =
                |index| Entry { id: LogId::new(Index(index), Term(1 + index / 3)), payload: Payload::Noop };
            recovered.entries = (1..=5).map(entry).collect();
            recovered.hard_state.term = Term(3);
            recovered.hard_state.commit = Index(2);
            recovered.applied = recovered.entries[1].id;
        }
        let log = recovered.entries.iter().map(|entry| (entry.id.index, entry.id.term)).collect();
        let (started_in, handed) = (recovered.hard_state.term, recovered.applied.index);
        let raft = Raft::new(ME, Options::default(), 7, Time(0), recovered);
        let writes = Vec::new();
        let mut this =
            Self { raft, traits: 0, now: Time(0), started_in, log, writes, handed, apply: None, reads: 0 };
        if traits & LEADING != 0 {
            this.elect();
        }
        this.traits = traits;
        this
    }

    /// Wins an election.
    fn elect(&mut self) {
        self.pass(1000);
        let campaign = self.raft.term().next();
        let term = self.raft.term();
        self.take(Message {
            from: OTHERS[0],
            to: ME,
            term,
            rpc: Rpc::PreVoteReply { campaign, granted: true, commit: LogId::default(), wait: None },
        });
        self.take(Message { from: OTHERS[0], to: ME, term: campaign, rpc: Rpc::VoteReply { granted: true } });
        assert!(self.raft.is_leader(), "{:?}", self.raft.status());
    }

    /// Time passes.
    fn pass(&mut self, ms: u64) {
        self.now = Time(self.now.0 + ms * 1000);
        if self.raft.deadline().is_some_and(|at| at <= self.now) {
            self.raft.tick(self.now);
        }
        self.drain();
    }

    fn take(&mut self, message: Message) {
        self.pass(self.traits >> MS_SHIFT & MS_MASK);
        if self.proves(&message) {
            return;
        }
        if self.raft.is_leader() {
            // Refused while leadership is handed over.
            let _ = self.raft.propose(self.now, Bytes::from_static(b"data"));
            self.reads += 1;
            let _ = self.raft.read(self.now, ReadId(self.reads));
        }
        let (writes, apply) = (std::mem::take(&mut self.writes), self.apply.take());
        let term = self.raft.term();
        let dropped = self.raft.step(self.now, message).is_err();
        assert!(self.raft.term() >= term, "the term went back");
        assert!(!dropped || self.raft.commit() <= self.last(), "what was dropped has done something");
        self.drain();
        for ticket in writes {
            self.raft.persisted(self.now, ticket);
        }
        self.finish_apply(apply);
        self.drain();
    }

    /// The end of the log.
    fn last(&self) -> Index {
        self.log.last_key_value().map_or(Index(0), |(index, _)| *index)
    }

    /// Whether the message proves that a promise was broken, so that the replica rightly stops.
    fn proves(&self, message: &Message) -> bool {
        if message.to != ME || message.term < self.raft.term() {
            return false;
        }
        let same_term = message.term == self.raft.term();
        // Two leaders in one term.
        let other = self.raft.leader().is_some_and(|leader| leader != message.from);
        if same_term && other && message.rpc.is_from_leader() {
            return true;
        }
        match &message.rpc {
            // A committed entry contradicted.
            Rpc::Append { entries, .. } => entries.iter().any(|entry| {
                let known = self.log.get(&entry.id.index);
                entry.id.index <= self.raft.commit() && known.is_some_and(|known| *known != entry.id.term)
            }),
            // Something acknowledged before the restart, in the term of the restart, that the log does not hold.
            Rpc::Heartbeat { commit, .. } => {
                same_term && message.term == self.started_in && *commit > self.last()
            }
            _ => false,
        }
    }

    /// What a host does after each turn.
    fn drain(&mut self) {
        loop {
            let ready = self.raft.ready();
            if ready.is_empty() {
                return;
            }
            self.carry_out(ready);
        }
    }

    fn carry_out(&mut self, ready: Ready) {
        for message in &ready.messages {
            assert!(message.from == ME && message.term <= self.raft.term(), "{message:?}");
        }
        if let Some(write) = ready.write {
            if let Some(first) = write.entries.first() {
                self.log.split_off(&first.id.index);
            }
            self.log.extend(write.entries.iter().map(|entry| (entry.id.index, entry.id.term)));
            if self.traits & SLOW_DISK == 0 {
                self.raft.persisted(self.now, write.ticket);
            } else {
                self.writes.push(write.ticket);
            }
        }
        for entry in &ready.committed {
            self.handed = self.handed.next();
            assert_eq!(entry.id.index, self.handed, "entries are handed out one after the other");
            assert_eq!(self.log.get(&self.handed), Some(&entry.id.term), "only what was written is applied");
            self.apply = Some(self.handed);
        }
        if self.traits & SLOW_APPLY == 0 {
            let apply = self.apply.take();
            self.finish_apply(apply);
        }
        for to in ready.snapshots {
            self.raft.snapshot_done(self.now, to, None);
        }
        assert!(ready.install.is_none(), "no snapshot travels in a frame");
    }

    fn finish_apply(&mut self, applied: Option<Index>) {
        let Some(applied) = applied else { return };
        self.raft.applied(self.now, applied);
        if self.traits & COMPACTING != 0 {
            self.raft.compact(applied);
        }
    }
}
