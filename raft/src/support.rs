//! Support: what lets a leader answer reads alone, and what binds its voters meanwhile.
//!
//! Nodes promise each other *support*, in numbered series (the host's business; `docs/architecture/liveness.md` tells it all). Here
//! is the half that is per shard. A follower writes into its answer to a heartbeat the number under which its node supports its
//! leader's node, and remembers it: from then on, while the promise under that number stands, it votes for nobody else. The leader
//! remembers the number per voter, and has a *lease* until the moment up to which a quorum of voters is surely bound.
//!
//! ```text
//!   follower   HeartbeatReply {number 7} ───▶ leader     the voter acknowledged 7 in this term
//!   its node   BeatAnswer {7, 90 ms} ───────▶ its node   holds 7 until sent + 90 ms, less the drift
//!                                                        both together: the voter is bound until then
//! ```
//!
//! The number is what holds the two together. Without it: a partition between leader L and voter V; V's promise runs out, V votes
//! for another in the next term; the partition heals, V's *node* supports L's *node* again, and L, who has not heard of the new term,
//! would count V. But V's node withdrew before V voted, so it promises under a new number now, which V never acknowledged to L.
//!
//! The host tells what it knows of promises at three doors: [`Raft::supported`] before a heartbeat is stepped, [`Raft::bind`]
//! before anything that may end in a vote, [`Raft::read_by_lease`].

use std::time::Duration;

use crate::core::Core;
use crate::id::{ReplicaId, Term};
use crate::leader::Leader;
use crate::quorum;
use crate::raft::{Raft, Role};
use crate::reads::NotLeader;
use crate::ready::ReadId;
use crate::sleep::Life;
use crate::time::Time;

/// Names one unbroken series of promises of one node to another. A later series has a greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SupportNumber(pub u64);

/// The support that the leader's node has from the node of a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Under which number.
    pub number: SupportNumber,
    /// Until when, on this node's clock: surely not longer than the promise stands on the other's.
    pub until: Time,
}

/// What a follower told the leader of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The term.
    pub term: Term,
    /// Its leader.
    pub leader: ReplicaId,
    /// The number under which the follower's node supported the leader's.
    pub number: SupportNumber,
}

/// What the promises of its node mean for a replica. Lives as long as the replica: a candidate is bound by what it acknowledged as
/// a follower.
#[derive(Debug, Default)]
pub(crate) struct Bond {
    /// The number for the answer to the next heartbeat, if that comes from this replica.
    offered: Option<(ReplicaId, SupportNumber, Life)>,
    /// The last term of which it was said that its leader leads no more.
    released_in: Option<Term>,
    acknowledged: Option<Acknowledged>,
    /// The life of the leader's node in which that was acknowledged.
    heard: Option<Life>,
    /// Until then the promise under the acknowledged number stands.
    support_until: Time,
    /// Until then a promise may stand that was forgotten in a restart.
    restart_until: Time,
}

impl Bond {
    /// The answer to a heartbeat that the leader of `term` sent in a life of its node. It may come late: after the first beat of a
    /// later life, or after the word that its sender leads no more. Then it would bind to who leads nothing, for as long as that
    /// node beats.
    pub(crate) fn acknowledge(
        &mut self,
        term: Term,
        leader: ReplicaId,
        sent_in: Life,
    ) -> Option<SupportNumber> {
        let (_, number, life) = self.offered.take_if(|(offered_to, _, _)| *offered_to == leader)?;
        let has_ended = life != sent_in;
        let leads_no_more = self.released_in.is_some_and(|released| term <= released);
        if has_ended || leads_no_more {
            return None;
        }
        self.heard = Some(life);
        self.acknowledged = Some(Acknowledged { term, leader, number });
        Some(number)
    }

    /// In which life the leader's node was heard, when something was acknowledged last.
    pub(crate) const fn heard(&self) -> Option<Life> {
        self.heard
    }

    /// Whether it binds to the leader of `term`, at `now`.
    pub(crate) fn binds_to(&self, leader: ReplicaId, term: Term, now: Time) -> bool {
        self.acknowledged.is_some_and(|it| (it.leader, it.term) == (leader, term)) && now < self.support_until
    }

    /// Until when no vote may be given. `transfer`: to a candidate that the leader itself has sent. The leader reads by lease no
    /// more, so its support stands in nobody's way; but who has restarted does not know which leader's support it forgot.
    pub(crate) fn until(&self, transfer: bool) -> Time {
        if transfer { self.restart_until } else { self.support_until.max(self.restart_until) }
    }
}

impl Core {
    /// Whether this replica may vote for nobody now, itself included.
    pub(crate) fn is_bound(&self, transfer: bool) -> bool {
        self.now < self.bond.until(transfer)
    }

    /// How long this replica may vote for nobody, without the word of the leader. `None`: it may now.
    pub(crate) fn bound_for(&self) -> Option<Duration> {
        let until = self.bond.until(false);
        (until > self.now).then(|| until - self.now)
    }
}

impl Leader {
    /// Until when no other can have been elected, if that is known.
    fn lease(&self, core: &Core, held: impl Fn(ReplicaId) -> Option<Held>) -> Option<Time> {
        // Who was sent to campaign may win over everybody's support, now or when its messages arrive.
        if self.sent_timeout_now || !self.has_committed_own(core) {
            return None;
        }
        let bound_until = |id| {
            if id == core.id {
                return Time(u64::MAX); // It votes for nobody while it leads.
            }
            let acknowledged = self.progress.get(&id).and_then(|progress| progress.support);
            match (acknowledged, held(id)) {
                (Some(number), Some(held)) if held.number == number => held.until,
                _ => Time(0),
            }
        };
        quorum::reached(&core.configuration, bound_until)
    }
}

impl Raft {
    /// In which life of its node this replica runs; said once, before anything is stepped. Its heartbeats carry it.
    pub const fn in_life(&mut self, life: Life) {
        self.core.life = life;
    }

    /// Before a heartbeat of `leader` is stepped: the number under which this node supports the leader's node. The answer will
    /// carry it, and this replica is bound by it. `life` is the one in which the leader's node was last heard.
    pub const fn supported(&mut self, leader: ReplicaId, number: SupportNumber, life: Life) {
        self.core.bond.offered = Some((leader, number, life));
    }

    /// What this replica acknowledged last, if it is still bound by it.
    #[must_use]
    pub const fn acknowledged(&self) -> Option<Acknowledged> {
        self.core.bond.acknowledged
    }

    /// Before anything that may end in a vote ([`Raft::tick`], [`Raft::campaign`], [`Raft::silent`], a request or an answer of an
    /// election): until when the promise under the acknowledged number stands (in the past, only if it was withdrawn), and until
    /// when one may stand that this node gave before it restarted.
    pub const fn bind(&mut self, support_until: Time, restart_until: Time) {
        self.core.bond.support_until = support_until;
        self.core.bond.restart_until = restart_until;
    }

    /// The node of the leader says that it leads no more in this term or any before: what was acknowledged there binds nobody, and
    /// nobody needs to wait for it.
    pub fn released(&mut self, now: Time, leader: ReplicaId, term: Term) {
        self.core.advance(now);
        let bond = &mut self.core.bond;
        bond.released_in = bond.released_in.max(Some(term));
        if bond.acknowledged.is_some_and(|it| it.leader == leader && it.term <= term) {
            bond.acknowledged = None;
            bond.support_until = Time(0);
        }
        if self.core.term() <= term {
            self.silent(now, leader);
        }
    }

    /// Whether this replica leads, and no other can have been elected at `now`.
    #[must_use]
    pub fn has_lease(&self, now: Time, held: impl Fn(ReplicaId) -> Option<Held>) -> bool {
        self.lease(held).is_some_and(|until| now < until)
    }

    /// Until when this leader reads alone, on its node's clock (perhaps in the past); nothing: it has no lease. `held` is the support
    /// of the node of a voter.
    pub fn lease(&self, held: impl Fn(ReplicaId) -> Option<Held>) -> Option<Time> {
        match &self.role {
            Role::Leader(leader) => leader.lease(&self.core, held).filter(|until| *until > Time(0)),
            Role::Follower(_) | Role::Candidate(_) => None,
        }
    }

    /// As [`Raft::read`], and confirmed at once if this leader has a lease at `now`, which the host must have read from its clock
    /// *after* the read arrived. `held` is the support of the node of a voter. Whether it was.
    ///
    /// # Errors
    /// If this replica does not lead.
    pub fn read_by_lease(
        &mut self,
        now: Time,
        read: ReadId,
        held: impl Fn(ReplicaId) -> Option<Held>,
    ) -> Result<bool, NotLeader> {
        if let Role::Leader(leader) = &self.role
            && leader.lease(&self.core, held).is_some_and(|until| now < until)
        {
            let index = self.core.commit().max(leader.noop);
            self.core.ready.reads.push((read, index));
            return Ok(true);
        }
        self.read(now, read).map(|()| false)
    }
}
