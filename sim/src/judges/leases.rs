//! The judge of promises and leases. It hears what nodes say to each other and knows true time and every clock, so it knows
//! which promise stands until when; it takes no node's word for that, and shares no arithmetic with the product.
//!
//! ```text
//!   BeatAnswer leaves v's node      number n stands, until its clock has gone on by `support` ─┐
//!   HeartbeatReply{n} leaves v      v is bound to the leader L of term t under n ──────────────┤
//!                                                                                              ▼
//!   promises kept           v asks for no vote, and gives none, in a later term while n stands
//!   leases covered          L's lease ends no later than the promises of a quorum of each half that is bound to L in t
//!   nobody beside a lease   whoever is elected in a later term finds no leader that would still read alone
//! ```
//!
//! The first is the supporter's half, whether or not a leader relies on it; the second the holder's, whether or not anybody votes;
//! the third is what both are for.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_node::host::{Beat, BeatAnswer, FallenLeader, ReplicaStatus};
use flotilla_raft::{Message, ReplicaId, Rpc, SupportNumber, Term};
use flotilla_topology::{NodeId, ShardId};

use super::replicas::Replicas;
use super::violation::hold;
use crate::clock::Clock;

/// A node in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The node.
    pub node: NodeId,
    /// How often it was started.
    pub boot: u64,
    /// Its clock.
    pub clock: Clock,
}

/// What was promised and acknowledged, and by whom.
#[derive(Debug, Default)]
pub struct Leases {
    /// By promiser and number.
    promises: BTreeMap<(NodeId, SupportNumber), Promise>,
    /// What each replica acknowledged in the latest term in which it did.
    acknowledged: BTreeMap<(ShardId, ReplicaId), Acknowledged>,
    /// Up to which term a node has heard that a leader leads no more.
    released: BTreeMap<(NodeId, ShardId, ReplicaId), Term>,
    /// Whom the leader of a term told to campaign.
    summoned: BTreeMap<(ShardId, Term), BTreeSet<ReplicaId>>,
    /// The latest term in which a replica was seen to vote.
    voted: BTreeMap<(ShardId, ReplicaId), Term>,
}

/// One series of promises.
#[derive(Clone, Copy, Debug)]
struct Promise {
    to: NodeId,
    /// The life of the other that it was made to.
    to_boot: u64,
    /// The life in which it was made.
    boot: u64,
    /// In true time: from then on it binds nobody.
    until_us: u64,
}

#[derive(Clone, Debug)]
struct Acknowledged {
    term: Term,
    leader: ReplicaId,
    /// Where the replica lives that acknowledged.
    at: NodeId,
    numbers: BTreeSet<SupportNumber>,
}

/// What a replica is about to do to the leader that it is bound to.
#[derive(Clone, Copy, Debug)]
struct Deed {
    shard: ShardId,
    replica: ReplicaId,
    /// Votes for whom.
    whom: ReplicaId,
    /// In which term.
    term: Term,
    /// A vote, and no question for one nor an answer to that: only with a vote one may follow a summons.
    is_vote: bool,
}

impl Leases {
    /// An answer to a beat leaves: a promise.
    pub fn promised(&mut self, by: Seat, to: NodeId, beat: &Beat, answer: BeatAnswer, now_us: u64) {
        let received = by.clock.now(now_us).time;
        let until_us = by.clock.true_at(received + answer.support);
        let series = (by.node, answer.number);
        if !self.promises.contains_key(&series) {
            self.begin_series(by, to, beat.boot, answer.number, now_us);
        }
        let new = Promise { to, to_boot: beat.boot, boot: by.boot, until_us };
        let promise = self.promises.entry(series).or_insert(new);
        hold((promise.to, promise.to_boot) == (to, beat.boot), "promises kept", || {
            format!("{} answers {to} (life {}) under the number of {promise:?}", by.node, beat.boot)
        });
        promise.until_us = promise.until_us.max(until_us);
    }

    /// A new number: the series before must have run out, unless one of the two has been started again. A later life of the holder
    /// makes what was promised to the earlier one void.
    fn begin_series(&mut self, by: Seat, to: NodeId, to_boot: u64, number: SupportNumber, now_us: u64) {
        for ((_, old), promise) in self.promises.range((by.node, SupportNumber(0))..(by.node, number)) {
            let goes_on = (promise.to, promise.to_boot, promise.boot) == (to, to_boot, by.boot);
            hold(!goes_on || promise.until_us <= now_us, "promises kept", || {
                format!("{} withdrew {old:?} from {to}, which stands until {} µs", by.node, promise.until_us)
            });
        }
        self.promises.retain(|(promiser, _), promise| {
            let void = *promiser == by.node && promise.to == to && promise.to_boot < to_boot;
            !void && promise.until_us > now_us
        });
    }

    /// A replica comes back with what its log remembers: a vote that never became durable was none.
    pub fn recovered(&mut self, shard: ShardId, replica: ReplicaId, term: Term) {
        if let Some(voted) = self.voted.get_mut(&(shard, replica)) {
            *voted = term.min(*voted);
        }
    }

    /// A node hears that a leader leads no more: it binds nobody there. Nor does an acknowledgement that leaves later, having waited
    /// for the disk.
    pub fn released(&mut self, at: NodeId, fallen: FallenLeader) {
        let term = self.released.entry((at, fallen.shard, fallen.leader)).or_default();
        *term = fallen.term.max(*term);
    }

    /// A message leaves a node.
    pub fn said(&mut self, at: NodeId, shard: ShardId, message: &Message, replicas: &Replicas, now_us: u64) {
        let Message { from, to, term, ref rpc } = *message;
        let deed = |whom, term| Deed { shard, replica: from, whom, term, is_vote: false };
        match rpc {
            Rpc::HeartbeatReply { support: Some(number), .. } => {
                let new = || Acknowledged { term, leader: to, at, numbers: BTreeSet::new() };
                let known = self.acknowledged.entry((shard, from)).or_insert_with(new);
                if term > known.term {
                    *known = new();
                }
                if term == known.term {
                    known.numbers.insert(*number);
                }
            }
            Rpc::TimeoutNow => {
                self.summoned.entry((shard, term)).or_default().insert(to);
            }
            Rpc::PreVote { campaign, .. } => self.check_bond(at, deed(from, *campaign), replicas, now_us),
            Rpc::PreVoteReply { campaign, granted: true, .. } => {
                self.check_bond(at, deed(to, *campaign), replicas, now_us);
            }
            _ => {}
        }
    }

    /// Looks at a replica after a turn: whether it has voted, and may have.
    pub fn check_vote(&mut self, at: NodeId, status: &ReplicaStatus, replicas: &Replicas, now_us: u64) {
        let Some(whom) = status.vote else { return };
        let (shard, replica, term) = (status.shard, status.replica, status.term);
        let latest = self.voted.entry((shard, replica)).or_default();
        if term <= *latest {
            return;
        }
        *latest = term;
        self.check_bond(at, Deed { shard, replica, whom, term, is_vote: true }, replicas, now_us);
    }

    /// Nobody who is bound to the leader of a term helps another to a later one, unless that leader asked for it. A leader of a later
    /// term that was elected without this replica frees it: the one that it is bound to has lost its quorum, for good.
    fn check_bond(&self, at: NodeId, deed: Deed, replicas: &Replicas, now_us: u64) {
        let Some(bond) = self.acknowledged.get(&(deed.shard, deed.replica)) else { return };
        let summons = self.summoned.get(&(deed.shard, bond.term));
        let is_summoned = deed.is_vote
            && deed.term == bond.term.next()
            && summons.is_some_and(|them| them.contains(&deed.whom));
        let released = self.released.get(&(at, deed.shard, bond.leader));
        let is_released = released.is_some_and(|term| *term >= bond.term);
        if bond.term >= deed.term || is_summoned || is_released || replicas.led_after(deed.shard, bond.term) {
            return;
        }
        let until_us = self.bound_until_us(bond);
        hold(until_us <= now_us, "promises kept", || {
            format!("{at} {deed:?}: bound by {bond:?} until {until_us} µs, and now it is {now_us} µs")
        });
    }

    fn bound_until_us(&self, bond: &Acknowledged) -> u64 {
        let promises = bond.numbers.iter().filter_map(|number| self.promises.get(&(bond.at, *number)));
        promises.map(|promise| promise.until_us).max().unwrap_or(0)
    }

    /// A leader says until when it would read alone: until when that is covered, in true time, if not so long.
    pub fn uncovered(&self, holder: Seat, status: &ReplicaStatus, now_us: u64) -> Option<String> {
        let ends_us = holder.clock.true_at(status.lease?);
        if ends_us <= now_us {
            return None;
        }
        let (shard, term) = (status.shard, status.term);
        if let Some(summoned) = self.summoned.get(&(shard, term)) {
            return Some(format!(
                "{} leads {shard} in {term} by lease, and told {summoned:?} to campaign",
                holder.node
            ));
        }
        let covered_us = self.covered_us(holder, status);
        (ends_us > covered_us).then(|| {
            format!(
                "{} leads {shard} in {term} and would read alone until {ends_us} µs, but a quorum is bound until {covered_us} µs: {}",
                holder.node,
                self.bonds(holder, status)
            )
        })
    }

    /// What binds each voter to a leader, for people.
    fn bonds(&self, holder: Seat, status: &ReplicaStatus) -> String {
        let bond = |voter: &ReplicaId| {
            let counts_us = self.counts_us(holder, status, *voter);
            let bond = self.acknowledged.get(&(status.shard, *voter));
            let promises = bond.into_iter().flat_map(|bond| {
                bond.numbers.iter().map(|number| (number, self.promises.get(&(bond.at, *number))))
            });
            format!("\n  {voter} until {counts_us} µs: {bond:?} {:?}", promises.collect::<Vec<_>>())
        };
        status.configuration.voters.union(&status.configuration.outgoing).map(bond).collect()
    }

    /// Until when a quorum of each half is bound to a leader.
    fn covered_us(&self, holder: Seat, status: &ReplicaStatus) -> u64 {
        let voters = &status.configuration.voters;
        let outgoing = &status.configuration.outgoing;
        [voters, outgoing]
            .into_iter()
            .filter(|half| !half.is_empty())
            .map(|half| {
                let mut bound: Vec<u64> =
                    half.iter().map(|voter| self.counts_us(holder, status, *voter)).collect();
                bound.sort_unstable();
                // The latest moment that more than half of them reach.
                bound[(bound.len() - 1) / 2]
            })
            .min()
            .unwrap_or(0)
    }

    /// Until when a voter is bound to a leader. One that has voted in a later term is not, whatever its node promises since.
    fn counts_us(&self, holder: Seat, status: &ReplicaStatus, voter: ReplicaId) -> u64 {
        if voter == status.replica {
            return u64::MAX;
        }
        if self.voted.get(&(status.shard, voter)).is_some_and(|voted| *voted > status.term) {
            return 0;
        }
        let bond = self.acknowledged.get(&(status.shard, voter));
        let bond = bond.filter(|bond| (bond.term, bond.leader) == (status.term, status.replica));
        let promises = bond
            .into_iter()
            .flat_map(|bond| bond.numbers.iter().filter_map(|number| self.promises.get(&(bond.at, *number))));
        let to_it = promises.filter(|it| (it.to, it.to_boot) == (holder.node, holder.boot));
        to_it.map(|promise| promise.until_us).max().unwrap_or(0)
    }

    /// A leader has answered reads by its lease, now: that was covered, or why not.
    pub fn read_alone(&self, holder: Seat, status: &ReplicaStatus, now_us: u64) -> Option<String> {
        let covered_us = self.covered_us(holder, status);
        (covered_us <= now_us).then(|| {
            format!(
                "{} read {} alone at {now_us} µs in {}, and a quorum was bound until {covered_us} µs",
                holder.node, status.shard, status.term
            )
        })
    }
}

#[cfg(test)]
mod tests;
