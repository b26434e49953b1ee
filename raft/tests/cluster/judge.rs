//! Watches a cluster from outside and knows everything: what Raft promises (paper, figure 3), and what this
//! crate promises about disks, it checks at every step.

use std::collections::BTreeMap;

use flotilla_raft::{
    Configuration, Entry, HardState, Index, LogId, Message, Payload, ReadId, Ready, ReplicaId, RoleKind, Rpc,
    Term,
};

use super::replica::Replica;

#[derive(Default)]
pub struct Judge {
    /// Who led in each term, and the commit index with which it began.
    leaders: BTreeMap<Term, (ReplicaId, Index)>,
    /// What the leader of a term sent as its entry at an index.
    sent: BTreeMap<(Term, Index), LogId>,
    /// Every entry ever written, by its id: what preceded it, and what it says.
    written: BTreeMap<LogId, (LogId, Payload)>,
    /// Every committed entry, in order from index 1.
    committed: Vec<LogId>,
    /// The committed configurations, oldest first: with the index from which on each is in the log.
    configurations: Vec<(Index, Configuration)>,
    /// The last hard state seen on each disk.
    hard_states: BTreeMap<ReplicaId, HardState>,
    /// What each read must see at least.
    reads: BTreeMap<ReadId, Index>,
    pub reads_confirmed: usize,
}

impl Judge {
    /// Everything up to here is known to be committed.
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// How many configurations were committed after the first one.
    pub fn changes(&self) -> usize {
        self.configurations.len().saturating_sub(1)
    }

    /// The last committed configuration that names a replica.
    pub fn last_member_at(&self, id: ReplicaId) -> Option<Index> {
        self.configurations.iter().rev().find(|(_, it)| it.is_member(id)).map(|(at, _)| *at)
    }

    pub fn terms_led(&self) -> usize {
        self.leaders.len()
    }

    /// The configuration with which the shard begins.
    pub fn on_genesis(&mut self, configuration: &Configuration) {
        self.configurations.push((Index(0), configuration.clone()));
    }

    /// A read arrives: it must see everything that is committed by now.
    pub fn on_read(&mut self, read: ReadId) {
        let committed = self.committed();
        assert!(self.reads.insert(read, committed).is_none(), "read ids are unique");
    }

    /// Looks at what a replica hands out, just after it did.
    pub fn on_ready(&mut self, id: ReplicaId, ready: &Ready, replicas: &BTreeMap<ReplicaId, Replica>) {
        let replica = &replicas[&id];
        for message in &ready.messages {
            self.check_message(message, replica);
        }
        for entry in &ready.committed {
            self.check_committed(id, entry, replicas);
        }
        for (read, index) in &ready.reads {
            let must_see = self.reads.remove(read).expect("a read is answered once");
            assert!(*index >= must_see, "{id} confirmed read {} at {index}, it must see {must_see}", read.0);
            self.reads_confirmed += 1;
        }
        for read in &ready.reads_lost {
            self.reads.remove(read).expect("a read is answered once");
        }
        self.check_leader(replica);
    }

    /// At most one leader per term; and it holds everything committed.
    fn check_leader(&mut self, replica: &Replica) {
        let Some(raft) = &replica.raft else { return };
        let status = raft.status();
        if status.role != RoleKind::Leader {
            return;
        }
        let id = replica.id;
        assert!(status.commit <= replica.disk.last().index, "{id} committed ahead of its own disk");
        match self.leaders.get(&status.term) {
            Some((other, began)) => {
                assert_eq!(*other, id, "two leaders in term {}", status.term);
                let commit = self.committed.get((status.commit.0 as usize).wrapping_sub(1));
                let counted = commit.filter(|_| status.commit > *began);
                let own = counted.is_none_or(|commit| commit.term == status.term);
                assert!(own, "leader {id} of t{} committed {counted:?} by counting", status.term);
            }
            None => {
                self.leaders.insert(status.term, (id, status.commit));
                if let Some(last) = self.committed.last() {
                    assert!(replica.disk.contains(*last), "new leader {id} in t{} lacks {last}", status.term);
                }
            }
        }
    }

    /// What a message says of its sender is on the sender's disk.
    fn check_message(&mut self, message: &Message, replica: &Replica) {
        let (disk, term) = (&replica.disk, message.term);
        let state = disk.hard_state;
        assert!(state.term >= term, "{message:?} left before its term was durable");
        let voted = |whom| state.term > term || state.vote == Some(whom);
        match &message.rpc {
            Rpc::Vote { .. } => assert!(voted(message.from), "{message:?} left before its vote was durable"),
            Rpc::VoteReply { granted: true } => {
                assert!(voted(message.to), "{message:?} left before its vote")
            }
            Rpc::AppendReply { matched } | Rpc::HeartbeatReply { matched, .. } => {
                assert!(*matched <= disk.last().index, "{message:?}: the disk ends at {}", disk.last());
                if let Some(leaders) = self.sent.get(&(term, *matched)) {
                    assert!(disk.contains(*leaders), "{message:?}: the disk does not hold {leaders}");
                }
            }
            Rpc::Append { previous, entries, .. } => {
                self.check_written(*previous, entries);
                self.sent.extend(entries.iter().map(|entry| ((term, entry.index()), entry.id)));
                self.sent.insert((term, previous.index), *previous);
            }
            _ => {}
        }
    }

    /// An entry's id stands for one content and one past, for ever (log matching, by induction).
    fn check_written(&mut self, mut previous: LogId, entries: &[Entry]) {
        for entry in entries {
            let said = (previous, entry.payload.clone());
            let known = self.written.entry(entry.id).or_insert_with(|| said.clone());
            assert_eq!(*known, said, "entry {} was written twice, differently", entry.id);
            previous = entry.id;
        }
    }

    /// A committed entry is the same everywhere, and durable on a quorum of each half.
    fn check_committed(&mut self, id: ReplicaId, entry: &Entry, replicas: &BTreeMap<ReplicaId, Replica>) {
        let place = entry.index().0 as usize - 1;
        assert!(place <= self.committed.len(), "{id} applies {} out of order", entry.id);
        assert!(replicas[&id].disk.contains(entry.id), "{id} applies {} before it is durable", entry.id);
        match self.committed.get(place) {
            Some(known) => assert_eq!(*known, entry.id, "{id} applies another entry than others did"),
            None => {
                self.check_durable(entry.id, replicas);
                self.committed.push(entry.id);
                if let Payload::Configuration(configuration) = &entry.payload {
                    self.check_change(entry.id, configuration);
                    self.configurations.push((entry.index(), configuration.clone()));
                }
            }
        }
    }

    /// By the last configuration before the entry or by the one before that: a leader counts by the one that it
    /// has applied, and whoever holds the entry of the next one has applied the one before it.
    fn check_durable(&self, entry: LogId, replicas: &BTreeMap<ReplicaId, Replica>) {
        let mut latest = self.configurations.iter().rev().take(2);
        let durable = latest.any(|(_, configuration)| is_durable(entry, configuration, replicas));
        assert!(durable, "{entry} is not durable on a quorum of {:?}", self.configurations.last());
    }

    /// Voters change by way of a joint configuration only.
    fn check_change(&self, entry: LogId, next: &Configuration) {
        let (_, last) = self.configurations.last().expect("a shard begins with a configuration");
        let is_allowed = match (last.is_joint(), next.is_joint()) {
            (false, false) | (true, false) => next.voters == last.voters,
            (false, true) => next.outgoing == last.voters && next.voters != last.voters,
            (true, true) => false,
        };
        assert!(is_allowed, "{entry} makes {next} of {last}");
    }

    /// Terms on a disk never fall, and a vote is never changed within a term. Of the configurations on a disk at
    /// most one is not known there to be committed.
    pub fn check_disk(&mut self, replica: &Replica) {
        let commit = replica.disk.hard_state.commit;
        let brings = |entry: &&Entry| matches!(entry.payload, Payload::Configuration(_));
        let open = replica.disk.entries.iter().filter(|entry| entry.index() > commit).filter(brings).count();
        assert!(open <= 1, "{} holds {open} configurations after its commit index {commit}", replica.id);
        let (id, now) = (replica.id, replica.disk.hard_state);
        let before = self.hard_states.insert(id, now).unwrap_or_default();
        assert!(before.term <= now.term, "{id}: term {} became {}", before.term, now.term);
        let kept = before.term < now.term || before.vote.is_none() || before.vote == now.vote;
        assert!(kept, "{id}: vote {:?} became {:?} in t{}", before.vote, now.vote, now.term);
    }
}

fn is_durable(id: LogId, configuration: &Configuration, replicas: &BTreeMap<ReplicaId, Replica>) -> bool {
    let halves = [&configuration.voters, &configuration.outgoing];
    halves.into_iter().filter(|half| !half.is_empty()).all(|half| {
        let holders = half.iter().filter(|voter| replicas[voter].disk.contains(id)).count();
        holders > half.len() / 2
    })
}
