//! The follower's half of replication (Raft paper, §5.3).

use crate::core::Core;
use crate::entry::Entry;
use crate::id::{Index, LogId, ReplicaId};
use crate::liveness::ElectionTimer;
use crate::message::Rpc;
use crate::raft::{Raft, Role};
use crate::sleep::Life;
use crate::time::Time;

/// A replica that follows, or waits for someone to follow.
#[derive(Debug)]
pub(crate) struct Follower {
    /// The leader of this term, once heard.
    pub(crate) leader: Option<ReplicaId>,
    pub(crate) timer: ElectionTimer,
    /// Everything up to here is in the log, perhaps not durably, and equal to the log of this term's leader.
    pub(crate) accepted: Index,
    /// The greatest index acknowledged to this term's leader.
    acknowledged: Index,
    /// It sleeps, as long as the leader's node lives this life.
    pub(crate) asleep: Option<Life>,
    /// The leader wants this replica to lead: for so long it campaigns as soon as it may.
    pub(crate) summoned: Option<Time>,
}

impl Follower {
    pub(crate) fn new(core: &mut Core, leader: Option<ReplicaId>) -> Self {
        // Of a new leader's log nothing is known but that it holds everything committed.
        let commit = core.commit();
        let timer = ElectionTimer::start(core);
        Self { leader, timer, accepted: commit, acknowledged: commit, asleep: None, summoned: None }
    }

    /// Acknowledges what is both accepted and durable, if that is news, or if it answers a request about
    /// everything up to `asked`. What is accepted but not durable will be acknowledged when it is.
    pub(crate) fn acknowledge(&mut self, core: &mut Core, asked: Option<Index>) {
        let Some(leader) = self.leader else { return };
        let matched = self.accepted.min(core.persistence.stable());
        let answers = asked.is_some_and(|asked| asked <= matched);
        if matched > self.acknowledged || answers {
            self.acknowledged = self.acknowledged.max(matched);
            core.send(leader, Rpc::AppendReply { matched });
        }
    }
}

impl Raft {
    /// The leader sends entries.
    pub(crate) fn on_append(&mut self, from: ReplicaId, previous: LogId, entries: Vec<Entry>, commit: Index) {
        let core = &mut self.core;
        let follower = self.role.follow(core, from);
        if core.installing.is_some() {
            return; // The log is about to be replaced. The leader will find out what is missing.
        }
        let committed = core.commit();
        let sent = entries.last().map_or(previous.index, Entry::index).max(committed);
        let news = skip_committed(core, entries);
        if previous.index >= committed && !core.log.contains(previous) {
            let hint = conflict_hint(core, previous);
            core.send(from, Rpc::AppendRejected { previous: previous.index, hint });
            return;
        }
        if let Some(first) = core.log.merge(news) {
            core.on_cut(first);
        }
        follower.accepted = follower.accepted.max(sent);
        core.commit_to(commit.min(follower.accepted));
        follower.acknowledge(core, Some(sent));
    }
}

/// Drops the entries that are committed here already: they are equal in every leader's log, and may be
/// compacted.
fn skip_committed(core: &Core, mut entries: Vec<Entry>) -> Vec<Entry> {
    let committed = core.commit();
    let count = entries.iter().take_while(|entry| entry.index() <= committed).count();
    for entry in entries.drain(..count) {
        let known = core.log.term(entry.index());
        assert!(
            known.is_none_or(|term| term == entry.term()),
            "{} has committed entry {} in term {known:?}, and its leader sends {}",
            core.id,
            entry.index(),
            entry.id
        );
    }
    entries
}

/// Where the logs may agree, seen from here: skips every entry of a later term than the leader's at that
/// place (Raft paper, end of §5.3). Everything committed agrees, so it never looks further back.
fn conflict_hint(core: &Core, previous: LogId) -> LogId {
    let committed = core.commit();
    match core.log.last_within(previous) {
        Some(hint) if hint.index >= committed => hint,
        _ => LogId::new(committed, core.log.term(committed).unwrap_or(core.log.compacted().term)),
    }
}

impl Role {
    /// The role as a follower of `leader`, who was just heard in the current term.
    ///
    /// # Panics
    /// If there are two leaders in one term: a replica must have forgotten its vote.
    pub(crate) fn follow(&mut self, core: &mut Core, leader: ReplicaId) -> &mut Follower {
        let known = match self {
            Self::Follower(follower) => follower.leader,
            Self::Candidate(_) => None,
            Self::Leader(_) => Some(core.id),
        };
        assert!(
            known.is_none_or(|known| known == leader),
            "two leaders in term {}: {known:?} and {leader}",
            core.term()
        );
        if known.is_none() {
            *self = Self::Follower(Follower::new(core, Some(leader)));
            core.ready.role_changed = true;
        }
        let Self::Follower(follower) = self else {
            unreachable!("a replica follows {leader} in another role")
        };
        follower.asleep = None;
        follower.timer.on_leader(core);
        follower
    }
}
