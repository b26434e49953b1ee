//! Who is alive: election timers, heartbeats, and the check that a leader still has a quorum.
//!
//! Everything here is per shard. While a group sleeps (`sleep.rs`), the pairs of nodes take its place;
//! nothing else in this crate knows of time, except the limit of a leadership transfer.

use crate::core::Core;
use crate::id::{Index, ReplicaId};
use crate::leader::Leader;
use crate::membership::farewell;
use crate::message::{Round, Rpc};
use crate::quorum;
use crate::raft::{Raft, Role};
use crate::sleep::Life;
use crate::support::SupportNumber;
use crate::time::Time;

/// When a replica without a leader campaigns.
#[derive(Debug)]
pub(crate) struct ElectionTimer {
    /// When the patience is over.
    pub(crate) at: Time,
    /// When the leader of this term was last heard.
    heard: Option<Time>,
}

impl ElectionTimer {
    pub(crate) fn start(core: &mut Core) -> Self {
        Self { at: core.draw_election_time(), heard: None }
    }

    /// Waits another election timeout; what was heard stays heard.
    pub(crate) fn restart(&mut self, core: &mut Core) {
        self.at = core.draw_election_time();
    }

    /// The leader was heard.
    pub(crate) fn on_leader(&mut self, core: &mut Core) {
        self.heard = Some(core.now);
        core.heard_leader = core.now;
        self.restart(core);
    }

    /// Nothing more can be heard of the leader: the patience ends soon, and it counts as unheard. Others may still hear it, and
    /// refuse: so this costs a leader that lives nothing.
    pub(crate) fn on_silence(&mut self, core: &mut Core) {
        self.heard = None;
        self.at = self.at.min(core.draw_silence_time());
    }

    /// It waits again, after a sleep during which the leader's node was last heard at this moment.
    pub(crate) fn on_woken(&mut self, core: &mut Core, heard: Time) {
        let heard = heard.min(core.now);
        self.heard = Some(heard);
        core.heard_leader = core.heard_leader.max(heard);
        self.at = core.draw_election_time_from(heard).max(core.now);
    }

    /// The patience is over, but the node's promise to the leader's is not: asks again soon after that. If the node is alive it
    /// goes on, and if the leader has fallen, its node will say so.
    pub(crate) fn postpone(&mut self, core: &mut Core) {
        self.at = core.draw_silence_time();
    }

    /// Another was promised a vote: it deserves time to win before this replica asks for itself. Without that, the two
    /// who survive a leader of three would often split their votes, and wait an election timeout for the next try.
    pub(crate) fn give_way(&mut self, core: &Core) {
        self.at = self.at.max(core.now + core.options.election_timeout_min / 3);
    }

    /// Whether the leader was heard within the shortest election timeout. Who hears a leader votes for nobody
    /// else: a replica that was cut off, or removed, must not depose a leader that the others are content
    /// with (thesis, §4.2.3).
    pub(crate) fn hears_leader(&self, core: &Core) -> bool {
        self.heard.is_some_and(|heard| heard + core.options.election_timeout_min > core.now)
    }
}

/// When a leader beats, and when it doubts itself.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// The next heartbeat.
    beat_at: Time,
    /// The next check that a quorum was heard.
    check_at: Time,
}

impl Pulse {
    pub(crate) fn start(core: &Core) -> Self {
        Self {
            beat_at: core.now + core.options.heartbeat_interval,
            check_at: core.now + core.options.election_timeout_max,
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        self.beat_at.min(self.check_at)
    }
}

impl Leader {
    /// Begins a round of heartbeats. The reads that are waiting join it.
    pub(crate) fn beat(&mut self, core: &mut Core) {
        self.round = Round(self.round.0 + 1);
        self.pulse.beat_at = core.now + core.options.heartbeat_interval;
        if self.has_committed_own(core) {
            self.reads.join(self.round);
        }
        for (id, progress) in &self.progress {
            let commit = core.commit().min(progress.matched);
            let (sent, sleep) = (progress.sent(), self.rest.request(progress));
            core.send(*id, Rpc::Heartbeat { commit, sent, round: self.round, life: core.life, sleep });
        }
    }

    /// Does what is due by now. Returns whether the leader has lost its quorum.
    pub(crate) fn tick(&mut self, core: &mut Core) -> bool {
        if self.rest.is_asleep() {
            return false;
        }
        if self.pulse.check_at <= core.now && self.has_lost_quorum(core) {
            return true;
        }
        if self.pulse.beat_at <= core.now {
            self.beat(core);
        }
        false
    }

    /// Whether no quorum was heard within an election timeout (thesis, §6.2): then others may have elected a
    /// new leader, and clients should look for it. If all is well, the next check comes when that could first
    /// be different.
    fn has_lost_quorum(&mut self, core: &Core) -> bool {
        let heard = quorum::reached(&core.configuration, |id| self.heard(core, id));
        let end = heard.map_or(core.now, |heard| heard + core.options.election_timeout_max);
        self.pulse.check_at = end;
        end <= core.now
    }

    /// Decides anew when the quorum is to be checked.
    pub(crate) fn look_for_quorum(&mut self, core: &Core) {
        let _ = self.has_lost_quorum(core); // If it is lost, the next tick says so: that is due at once.
    }

    fn heard(&self, core: &Core, id: ReplicaId) -> Time {
        if id == core.id {
            return core.now;
        }
        self.progress.get(&id).map_or(Time(0), |progress| progress.heard)
    }
}

impl Raft {
    /// Whether this replica leads, or heard its leader so recently that it wants no other.
    pub(crate) fn hears_leader(&self) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            // Through its node, or it would have been woken.
            Role::Follower(follower) if follower.asleep.is_some() => true,
            Role::Follower(follower) => follower.timer.hears_leader(&self.core),
            Role::Candidate(_) => false,
        }
    }

    /// The host knows that nothing more can be heard of `leader` for now: the connection on which its messages came has
    /// broken. If this replica follows it, it does not wait for its election timeout.
    ///
    /// It takes nothing for granted: it asks for pre-votes like any other, and who hears the leader refuses.
    pub fn silent(&mut self, now: Time, leader: ReplicaId) {
        self.core.advance(now);
        if let Role::Follower(follower) = &mut self.role
            && follower.leader == Some(leader)
        {
            if follower.asleep.take().is_some() {
                follower.timer.restart(&mut self.core);
            }
            follower.timer.on_silence(&mut self.core);
        }
    }

    /// A follower hears its leader.
    pub(crate) fn on_heartbeat(
        &mut self,
        from: ReplicaId,
        (commit, sent): (Index, Index),
        round: Round,
        life: Life,
        sleep: Option<SupportNumber>,
    ) {
        let core = &mut self.core;
        let follower = self.role.follow(core, from);
        if core.installing.is_none() {
            core.commit_to(commit);
            // The leader says so only of what this replica acknowledged in this term.
            follower.accepted = follower.accepted.max(commit);
        }
        let accepted = follower.accepted;
        let matched = accepted.min(core.persistence.stable());
        let support = core.bond.acknowledge(core.term(), from, life);
        let asleep = self.fall_asleep(sleep, support);
        self.core.send(from, Rpc::HeartbeatReply { round, sent, accepted, matched, support, asleep });
    }

    /// A leader hears a follower answer it: both directions work. (A mere request, such as a pre-vote, shows
    /// only one: a leader that nobody hears would stay in office by the pre-votes of those who want to
    /// replace it.)
    pub(crate) fn on_sign_of_life(&mut self, from: ReplicaId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&from)
        {
            progress.heard = self.core.now;
        }
    }

    /// A follower answers a heartbeat.
    pub(crate) fn on_heartbeat_reply(
        &mut self,
        from: ReplicaId,
        round: Round,
        (sent, accepted, matched): (Index, Index, Index),
        support: Option<SupportNumber>,
        asleep: bool,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.on_matched(&mut self.core, from, matched);
        let Some(progress) = leader.progress.get_mut(&from) else {
            farewell(&mut self.core, from, matched);
            return;
        };
        leader.unsent |= progress.on_heartbeat_reply(sent, accepted);
        progress.round = progress.round.max(round);
        progress.support = progress.support.max(support); // An older answer may come later.
        leader.confirm_reads(&mut self.core);
        if let Some(number) = support.filter(|_| asleep) {
            leader.on_asleep(&self.core, from, round, number);
        }
    }
}
