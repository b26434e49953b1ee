//! Sleep: a group in which nothing happens sends nothing and owns no timer. The *pair of nodes* speaks for it meanwhile: each
//! node beats the other (the host's business; `docs/architecture/liveness.md` tells it all).
//!
//! ```text
//!   leader     Heartbeat {life 3, sleep: 7} ──▶ follower   has everything, applied; its node hears life 3 of the leader's node
//!                                                          and supports it under 7: sleeps
//!   leader  ◀── HeartbeatReply {asleep, 7} ─── follower
//!              when *all* members have said so, the leader sleeps too
//! ```
//!
//! Two names tie the sleep to what the nodes hear of each other. The *life* of the leader's node: when that node starts again, its
//! leader is none. The *support number* of the follower's node, which is new at each of its starts: when that node starts again, its
//! replica waits with a timer for a leader. Both are in the request, so that one which arrives late puts nobody to sleep under a
//! life in which it was not sent: a follower that slept behind a leader which is none would be woken by nobody.
//!
//! For the same reason a follower that was told that its leader leads no more ([`Raft::released`]) does not fall asleep in that term:
//! it acknowledges nothing there.
//!
//! The host wakes a replica ([`Raft::wake`]) when a node whose sign it sleeps under is silent for an election timeout, or shows
//! another sign. Whatever is asked of a leader wakes it too, and any word of its leader a follower.

use crate::core::Core;
use crate::following::Follower;
use crate::id::ReplicaId;
use crate::leader::Leader;
use crate::liveness::Pulse;
use crate::message::Round;
use crate::progress::Progress;
use crate::raft::{Raft, Role};
use crate::status::ProgressKind;
use crate::support::SupportNumber;
use crate::time::Time;

/// Names one life of a node: how often it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u64);

/// What the node of another replica has to go on showing, or this one must be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// The node of the leader beats, in this life.
    Life(Life),
    /// The node of a follower answers beats, under this number.
    Number(SupportNumber),
}

/// How far a leader is on its way to sleep.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Since when nothing was asked of it and nothing changed.
    quiet_since: Time,
    /// Since this round the followers are asked to sleep.
    asked: Option<Round>,
    asleep: bool,
}

impl Rest {
    pub(crate) const fn begin(now: Time) -> Self {
        Self { quiet_since: now, asked: None, asleep: false }
    }

    pub(crate) const fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// What the next round of heartbeats asks of this follower.
    pub(crate) fn request(&self, progress: &Progress) -> Option<SupportNumber> {
        self.asked.and(progress.support)
    }
}

impl Leader {
    /// Something happens here: whoever sleeps is awake, and nobody is asked to sleep for a while.
    pub(crate) fn stir(&mut self, core: &Core) {
        if self.rest.asleep {
            // Until now the nodes spoke for all.
            self.progress.values_mut().for_each(|progress| progress.heard = core.now);
            self.pulse = Pulse::start(core);
        }
        self.rest = Rest::begin(core.now);
        self.progress.values_mut().for_each(|progress| progress.asleep = None);
    }

    /// Whether everybody has everything, and knows it: there is nothing that a message could tell.
    fn is_level(&self, core: &Core) -> bool {
        let last = core.log.last().index;
        let has_all = |it: &Progress| it.matched == last && it.kind() == ProgressKind::Replicate;
        core.applied == last
            && !core.configuration.is_joint()
            && self.transfer.is_none()
            && self.reads.is_empty()
            && !self.unsent
            && self.progress.values().all(has_all)
    }

    /// A follower sleeps under this number, since a round of heartbeats. If all do, so does the leader.
    pub(crate) fn on_asleep(&mut self, core: &Core, from: ReplicaId, round: Round, number: SupportNumber) {
        if self.rest.asked.is_none_or(|since| round < since) {
            return;
        }
        if let Some(progress) = self.progress.get_mut(&from) {
            progress.asleep = Some(number);
        }
        let all = self.progress.values().all(|progress| progress.asleep.is_some());
        self.rest.asleep = all && self.is_level(core);
    }
}

impl Follower {
    /// Whether it has all that its leader sent, and knows it to be committed.
    fn may_sleep(&self, core: &Core) -> bool {
        let last = core.log.last().index;
        self.accepted == last && core.commit() == last && core.applied == last && core.installing.is_none()
    }
}

impl Raft {
    /// Before [`Raft::tick`]: if this replica leads, and nothing has happened for [`crate::Options::idle_after`], the next round of
    /// heartbeats asks the followers to sleep. `held` is the number under which the node of a member supports this one; none, if it
    /// is silent.
    pub fn quiesce(&mut self, now: Time, held: impl Fn(ReplicaId) -> Option<SupportNumber>) {
        self.core.advance(now);
        let (Role::Leader(leader), core) = (&mut self.role, &self.core) else { return };
        let Some(idle_after) = core.options.idle_after else { return };
        if leader.rest.asleep || leader.progress.is_empty() || leader.rest.quiet_since + idle_after > core.now
        {
            return;
        }
        let heard = |(id, it): (&ReplicaId, &Progress)| it.support.is_some() && it.support == held(*id);
        if !leader.is_level(core) || !leader.progress.iter().all(heard) {
            leader.stir(core);
            return;
        }
        leader.rest.asked.get_or_insert(Round(leader.round.0 + 1));
    }

    /// Whether this replica sleeps: it has no deadline, and waits for the host to wake it.
    #[must_use]
    pub const fn is_asleep(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.rest.asleep,
            Role::Follower(follower) => follower.asleep.is_some(),
            Role::Candidate(_) => false,
        }
    }

    /// Whose nodes have to go on showing which signs while this replica sleeps; nobody's, if it is awake.
    #[must_use]
    pub fn sleeps_under(&self) -> Vec<(ReplicaId, Sign)> {
        match &self.role {
            Role::Leader(leader) if leader.rest.asleep => {
                let numbers = leader.progress.iter().filter_map(|(id, it)| Some((*id, it.asleep?)));
                numbers.map(|(id, number)| (id, Sign::Number(number))).collect()
            }
            Role::Follower(follower) => {
                let sign = follower.asleep.map(Sign::Life);
                follower.leader.zip(sign).into_iter().collect()
            }
            Role::Leader(_) | Role::Candidate(_) => Vec::new(),
        }
    }

    /// A sleeping replica is awake from here on. `heard` is when the node of a replica was last heard: the patience of a follower
    /// with its leader, and of a leader with its quorum, counts from there.
    pub fn wake(&mut self, now: Time, heard: impl Fn(ReplicaId) -> Option<Time>) {
        self.core.advance(now);
        let core = &mut self.core;
        match &mut self.role {
            Role::Leader(leader) if leader.rest.asleep => {
                let before: Vec<_> = leader
                    .progress
                    .iter()
                    .map(|(id, it)| heard(*id).unwrap_or_default().max(it.heard))
                    .collect();
                leader.stir(core);
                for (progress, heard) in leader.progress.values_mut().zip(before) {
                    progress.heard = heard.min(core.now);
                }
                leader.look_for_quorum(core);
                leader.beat(core);
            }
            Role::Follower(follower) if follower.asleep.is_some() => {
                follower.asleep = None;
                let heard = follower.leader.and_then(heard).unwrap_or(core.now);
                follower.timer.on_woken(core, heard);
            }
            Role::Leader(_) | Role::Follower(_) | Role::Candidate(_) => {}
        }
        self.validate();
    }

    /// A heartbeat asks to sleep under a number. Whether this follower does: it has all that its leader has and knows it to be
    /// committed, and just acknowledged that number, so its node hears the life in which the heartbeat was sent.
    pub(crate) fn fall_asleep(
        &mut self,
        wanted: Option<SupportNumber>,
        acknowledged: Option<SupportNumber>,
    ) -> bool {
        let core = &self.core;
        let Role::Follower(follower) = &mut self.role else { return false };
        let may_sleep = wanted.is_some() && wanted == acknowledged && follower.may_sleep(core);
        follower.asleep = core.bond.heard().filter(|_| may_sleep);
        may_sleep
    }

    /// The patience of a follower is over, but it is bound. Perhaps its leader sleeps and believes that it does, too, and a late
    /// word has woken it alone: the leader's node speaks for the leader, and until it does not there is nothing to wait for.
    pub(crate) fn doze(&mut self) {
        let core = &self.core;
        let Role::Follower(follower) = &mut self.role else { return };
        let is_bound_to = |leader| core.bond.binds_to(leader, core.term(), core.now);
        if core.options.idle_after.is_some()
            && follower.leader.is_some_and(is_bound_to)
            && follower.may_sleep(core)
        {
            follower.asleep = core.bond.heard();
        }
    }
}
