//! Messages that no replica sends that keeps to the protocol. They are dropped before they can do harm.
//!
//! A peer that has lost its mind, or a stranger at the peers' door, must not be able to stop a replica, or to make it believe
//! what is not so: that an entry is on a disk where it is not, or that a round was answered that has not begun.
//!
//! What is *not* dropped is proof that this replica itself, or the shard as a whole, has broken its word: two leaders in one
//! term, a committed entry contradicted, a log shorter than what was acknowledged before a restart. There to go on could lose
//! what was committed, and the replica panics.

use crate::election::Phase;
use crate::id::{Index, LogId, ReplicaId, Term};
use crate::message::{Message, Round, Rpc};
use crate::raft::{Raft, Role};

/// How far a term may be ahead of ours. A replica that was away misses an election now and then, not one every tenth of a
/// second for three thousand years. Without a bound one message could use up all terms there are: the next election would
/// find none, here and wherever the term spread to (docs/decisions/0009).
const TERM_LEAP_MAX: u64 = 1 << 40;

/// What is impossible about a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// A term that no elections lead to.
    #[error("{from} speaks of term {term}, which no elections lead to from term {ours}")]
    Term {
        /// The sender.
        from: ReplicaId,
        /// Its term.
        term: Term,
        /// Ours.
        ours: Term,
    },
    /// A vote was granted that nobody has asked for: the request leaves only once our own vote is durable.
    #[error("{from} answers in term {term}, in which it was not asked for its vote yet")]
    Vote {
        /// The sender.
        from: ReplicaId,
        /// The term of our candidacy.
        term: Term,
    },
    /// A snapshot holds an entry of a later term than the leader that sends it.
    #[error("{from} sends a snapshot up to {last} in term {term}")]
    Snapshot {
        /// The leader.
        from: ReplicaId,
        /// The last entry in the snapshot.
        last: LogId,
        /// The term of the leader.
        term: Term,
    },
    /// A follower speaks of entries that its leader does not have.
    #[error("{from} speaks of entry {index}, but the log of its leader ends at {last}")]
    Ahead {
        /// The follower.
        from: ReplicaId,
        /// Up to where it says that its log agrees, or that it was sent something.
        index: Index,
        /// The end of the leader's log.
        last: LogId,
    },
    /// A follower answers a round of heartbeats that has not begun.
    #[error("{from} answers round {}, but the last one is {}", .round.0, .last.0)]
    Round {
        /// The follower.
        from: ReplicaId,
        /// The round that it answers.
        round: Round,
        /// The last round of the leader.
        last: Round,
    },
    /// A leader says of a follower that it has acknowledged what it never had.
    #[error("{from} says that {commit} was acknowledged here, but the log ends at {last}")]
    Commit {
        /// The leader.
        from: ReplicaId,
        /// What it says is committed and held here.
        commit: Index,
        /// The end of the follower's log.
        last: LogId,
    },
}

impl Raft {
    /// Whether the term of a message can be true.
    pub(crate) fn check_term(&self, message: &Message) -> Result<(), Impossible> {
        let (from, term, ours) = (message.from, message.term, self.core.term());
        if term.0.saturating_sub(ours.0) > TERM_LEAP_MAX {
            return Err(Impossible::Term { from, term, ours });
        }
        Ok(())
    }

    /// Whether a message of the current term can be true.
    pub(crate) fn check(&self, message: &Message) -> Result<(), Impossible> {
        let from = message.from;
        match (&self.role, &message.rpc) {
            // Were it counted, a candidate could win before its own disk holds its vote, and its log.
            (Role::Candidate(candidate), Rpc::VoteReply { .. })
                if candidate.phase == Phase::Vote && !candidate.has_voted(self.core.id) =>
            {
                Err(Impossible::Vote { from, term: message.term })
            }
            (_, Rpc::InstallSnapshot { meta }) if meta.last.term > message.term => {
                Err(Impossible::Snapshot { from, last: meta.last, term: message.term })
            }
            (Role::Leader(_), Rpc::AppendReply { matched }) => self.check_index(from, *matched),
            (Role::Leader(leader), Rpc::HeartbeatReply { round, sent, accepted, matched, .. }) => {
                if *round > leader.round {
                    return Err(Impossible::Round { from, round: *round, last: leader.round });
                }
                self.check_index(from, *sent.max(accepted).max(matched))
            }
            // In the term in which this replica started, it may itself have forgotten what it acknowledged before: that must stop
            // it. In a later one it knows better than the leader.
            (_, Rpc::Heartbeat { commit, .. }) if self.core.term() > self.core.started_in => {
                let last = self.core.log.last();
                if *commit > last.index {
                    return Err(Impossible::Commit { from, commit: *commit, last });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_index(&self, from: ReplicaId, index: Index) -> Result<(), Impossible> {
        let last = self.core.log.last();
        if index > last.index { Err(Impossible::Ahead { from, index, last }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Configuration, Life, Options, Recovered, SnapshotMeta, Time};

    const OTHERS: [ReplicaId; 2] = [ReplicaId(2), ReplicaId(3)];

    fn replica() -> Raft {
        let configuration = Configuration::of_voters([1, 2, 3].map(ReplicaId));
        Raft::new(ReplicaId(1), Options::default(), 1, Time(0), Recovered::fresh(configuration))
    }

    fn step(raft: &mut Raft, from: ReplicaId, term: u64, rpc: Rpc) -> Result<(), Impossible> {
        raft.step(Time(0), Message { from, to: ReplicaId(1), term: Term(term), rpc })
    }

    #[test]
    fn no_message_uses_up_the_terms() {
        let mut raft = replica();
        let heartbeat = || Rpc::Heartbeat {
            commit: Index(0),
            sent: Index(0),
            round: Round(1),
            life: Life(1),
            sleep: None,
        };
        for term in [TERM_LEAP_MAX + 1, u64::MAX] {
            let refused = step(&mut raft, OTHERS[0], term, heartbeat());
            assert!(matches!(refused, Err(Impossible::Term { .. })), "term {term}");
        }
        assert_eq!(raft.term(), Term(0));
        step(&mut raft, OTHERS[0], TERM_LEAP_MAX, heartbeat()).unwrap();
        assert_eq!(raft.term(), Term(TERM_LEAP_MAX));
    }

    /// The entry that the candidate has not on its disk was counted as durable once it led.
    #[test]
    fn votes_that_come_before_they_were_asked_for_elect_nobody() {
        let mut raft = replica();
        let previous = LogId::default();
        let payload = crate::Payload::Noop;
        let entry = crate::Entry { id: LogId::new(Index(1), Term(1)), payload };
        let append = Rpc::Append { previous, entries: vec![entry], commit: Index(0) };
        step(&mut raft, OTHERS[0], 1, append).unwrap();
        // Its leader wants it to lead; its disk has nothing of all this yet.
        step(&mut raft, OTHERS[0], 1, Rpc::TimeoutNow).unwrap();
        for other in OTHERS {
            let early = step(&mut raft, other, 2, Rpc::VoteReply { granted: true });
            assert_eq!(early, Err(Impossible::Vote { from: other, term: Term(2) }));
        }
        assert!(!raft.is_leader());
        let write = raft.ready().write.expect("the entry, the term and the vote");
        raft.persisted(Time(0), write.ticket);
        step(&mut raft, OTHERS[1], 2, Rpc::VoteReply { granted: true }).unwrap();
        assert!(raft.is_leader());
    }

    #[test]
    fn a_snapshot_of_a_later_term_than_its_leaders_is_not_installed() {
        let mut raft = replica();
        let meta = SnapshotMeta {
            last: LogId::new(Index(9), Term(7)),
            configuration: Configuration::of_voters(OTHERS),
            configuration_index: Index(1),
        };
        let refused = step(&mut raft, OTHERS[0], 6, Rpc::InstallSnapshot { meta: meta.clone() });
        assert!(matches!(refused, Err(Impossible::Snapshot { .. })));
        assert!(raft.ready().install.is_none());
        step(&mut raft, OTHERS[0], 7, Rpc::InstallSnapshot { meta }).unwrap();
        assert!(raft.ready().install.is_some());
    }
}
