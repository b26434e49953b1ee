//! The judge of the replicas: one leader per term, one history of committed entries, durable on a quorum, equal states.

use std::collections::BTreeMap;

use flotilla_node::host::ReplicaStatus;
use flotilla_raft::{Index, LogId, ReplicaId, Term};
use flotilla_store::Stats;
use flotilla_topology::{NodeId, ShardId};

use super::log_model::{ShardLog, Stamp};
use super::logs::Logs;
use super::members::Members;
use super::violation::hold;

/// What all replicas together have shown.
#[derive(Debug, Default)]
pub struct Replicas {
    /// Who led in each term, and the commit index with which it began.
    leaders: BTreeMap<(ShardId, Term), (ReplicaId, Index)>,
    /// Every committed entry, from index 1.
    committed: BTreeMap<ShardId, Vec<Stamp>>,
    /// What each replica showed last, in this boot.
    seen: BTreeMap<(NodeId, ShardId), Seen>,
    /// Counter, shard time and slots after an entry.
    states: BTreeMap<(ShardId, Index), (u64, u64, usize)>,
    /// What a base held after an entry.
    bases: BTreeMap<(ShardId, Index), Stats>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    replica: ReplicaId,
    configuration: Index,
    term: Term,
    commit: Index,
    applied: Index,
    persisted: Index,
}

impl Seen {
    const fn of(status: &ReplicaStatus) -> Self {
        let (applied, persisted) = (status.applied.index, status.persisted);
        let (replica, configuration) = (status.replica, status.configuration_index);
        Self { replica, configuration, term: status.term, commit: status.commit, applied, persisted }
    }
}

impl Replicas {
    /// A node ended: what it showed may fall back to what was durable.
    pub fn forget(&mut self, node: NodeId) {
        self.seen.retain(|(at, _), _| *at != node);
    }

    /// The newest entry of a shard that anybody took for committed.
    pub fn committed(&self, shard: ShardId) -> Index {
        Index(self.committed.get(&shard).map_or(0, Vec::len) as u64)
    }

    /// Whether somebody led a shard in a later term.
    pub fn led_after(&self, shard: ShardId, term: Term) -> bool {
        self.leaders.range((shard, term.next())..=(shard, Term(u64::MAX))).next().is_some()
    }

    /// In how many terms somebody led.
    pub fn terms_led(&self) -> usize {
        self.leaders.len()
    }

    /// Looks at a replica after a turn.
    pub fn check(&mut self, node: NodeId, status: &ReplicaStatus, logs: &Logs, members: &mut Members) {
        let place = (node, status.shard);
        // Another replica than the one before begins anew.
        let known = self.seen.get(&place).copied().filter(|seen| seen.replica == status.replica);
        let before = known.unwrap_or_default();
        if known.is_some() && before == Seen::of(status) && !status.leads() {
            return;
        }
        let who = || format!("{node} {}", status.shard);
        hold(status.term >= before.term, "monotone", || {
            format!("{}: term {} fell to {}", who(), before.term, status.term)
        });
        hold(status.commit >= before.commit, "monotone", || {
            format!("{}: commit {} fell to {}", who(), before.commit, status.commit)
        });
        hold(status.applied.index >= before.applied, "monotone", || {
            format!("{}: applied {} fell to {}", who(), before.applied, status.applied)
        });
        self.check_order(node, status, logs);
        logs.check_persisted(node, status.shard, status.persisted);
        self.check_commits((node, status), known, logs, members);
        self.check_applied(node, status, known.map(|seen| seen.applied), logs);
        self.check_members(node, status, logs, members);
        if status.leads() {
            self.check_leader((node, status), before.configuration, logs, members);
        }
        self.check_state(node, status);
        self.seen.insert(place, Seen::of(status));
    }

    /// The chain of indexes: compacted ≤ in the base ≤ applied ≤ committed ≤ last, and applied ≤ durable here.
    fn check_order(&self, node: NodeId, status: &ReplicaStatus, logs: &Logs) {
        let installing = logs.of(node, status.shard).is_some_and(|log| log.intent.is_some());
        let applied = status.applied.index;
        let chain = status.compacted <= status.durable.index
            && status.durable.index <= applied
            && (installing || applied <= status.commit && applied <= status.persisted)
            && status.commit <= status.last;
        // Between the switch of the base and the restart of the log, the core has not heard of the snapshot yet.
        hold(
            chain || logs.of(node, status.shard).is_some_and(|log| log.compacted.index == applied),
            "order of indexes",
            || format!("{node}: {status:?}"),
        );
    }

    /// What is in effect is what was applied, and of what is not committed at most one entry changes the members.
    fn check_members(&self, node: NodeId, status: &ReplicaStatus, logs: &Logs, members: &Members) {
        let log = logs.of(node, status.shard);
        let is_replaced =
            |log: &ShardLog| log.intent.is_some() || log.compacted.index == status.applied.index;
        members.check(node, status, log.is_some_and(is_replaced));
        let pending = log.map_or(0, |log| log.configurations_after(status.commit));
        hold(pending <= 1, "one change at a time", || {
            format!("{node} {}: {pending} configurations are not committed: {status:?}", status.shard)
        });
    }

    /// At most one leader per term, elected by a quorum of each half; it holds everything committed, and commits by counting only entries of its own term.
    fn check_leader(
        &mut self,
        (node, status): (NodeId, &ReplicaStatus),
        configuration: Index,
        logs: &Logs,
        members: &Members,
    ) {
        let (shard, term) = (status.shard, status.term);
        let log = logs.of(node, shard);
        if let Some((other, began)) = self.leaders.get(&(shard, term)) {
            hold(*other == status.replica, "one leader a term", || {
                format!("{shard} has two leaders in term {term}: {other} and {} ({node})", status.replica)
            });
            let own = status.commit <= *began
                || log.and_then(|log| log.at(status.commit)).is_none_or(|it| it.term == term);
            hold(own, "own term commits", || {
                format!("{node} leads {shard} in term {term} and committed {} by counting", status.commit)
            });
            return;
        }
        // Its last vote may come when another leads already in a later term, and has committed what this one never heard of.
        let is_late = self.led_after(shard, term);
        self.leaders.insert((shard, term), (status.replica, status.commit));
        let voters = logs.voters_for(node, shard, term, status.replica);
        let elected = members.decide(shard, (configuration, status), Index(u64::MAX), &voters);
        hold(elected, "elected by a quorum", || {
            format!(
                "{node} leads {shard} in term {term} by {}, and has the votes of {voters:?}",
                status.configuration
            )
        });
        if is_late {
            return;
        }
        let committed = self.committed.get(&shard);
        if let Some((last, stamp)) = committed.and_then(|all| Some((Index(all.len() as u64), *all.last()?))) {
            hold(log.is_some_and(|log| log.holds(last, stamp)), "leader completeness", || {
                format!("{node} leads {shard} in term {term} without the committed {last}@{}", stamp.term)
            });
        }
    }

    /// Committed entries are the same everywhere, in order, and durable on a quorum: at whomever is the first to take one for
    /// committed, and at all others after it.
    fn check_commits(
        &mut self,
        (node, status): (NodeId, &ReplicaStatus),
        before: Option<Seen>,
        logs: &Logs,
        members: &mut Members,
    ) {
        let shard = status.shard;
        // After a start, what lies before was committed in another life.
        let from = before.map_or(status.commit.previous(), |seen| seen.commit);
        let configuration = before.map_or(Index(0), |seen| seen.configuration);
        let log = logs.of(node, shard);
        for index in (from.0 + 1..=status.commit.0).map(Index) {
            match log.and_then(|log| log.at(index)) {
                Some(stamp) => {
                    let place = ((node, status), configuration);
                    self.check_committed(place, index, stamp, logs, members);
                }
                // Compaction of an earlier life took it, or a snapshot takes its place: then it is not even written.
                None => {
                    let gone = |log: &ShardLog| {
                        index <= log.compacted.index || log.intent.is_some_and(|intent| index <= intent.index)
                    };
                    hold(log.is_some_and(gone), "one history", || {
                        format!("{node} takes {index} of {shard} for committed, and does not hold it")
                    });
                }
            }
        }
    }

    fn check_committed(
        &mut self,
        ((node, status), configuration): ((NodeId, &ReplicaStatus), Index),
        index: Index,
        stamp: Stamp,
        logs: &Logs,
        members: &mut Members,
    ) {
        let shard = status.shard;
        let committed = self.committed.entry(shard).or_default();
        let place = index.0 as usize - 1;
        hold(place <= committed.len(), "committed in order", || {
            format!("{node} {shard}: {index} is committed, nobody committed the one before")
        });
        if let Some(known) = committed.get(place) {
            hold(*known == stamp, "one history", || {
                format!("{node} {shard}: {index} was committed as {known:?} and is now as {stamp:?}")
            });
            return;
        }
        committed.push(stamp);
        members.committed(shard, LogId::new(index, stamp.term));
        let holders = logs.holders(shard, index, stamp);
        let durable = members.decide(shard, (configuration, status), index, &holders);
        hold(durable, "durable on a quorum", || {
            format!(
                "{node} {shard}: {index}@{} is committed by {} and durable on {holders:?}",
                stamp.term, status.configuration
            )
        });
    }

    /// Applied entries are durable here, and those that were committed.
    fn check_applied(&self, node: NodeId, status: &ReplicaStatus, before: Option<Index>, logs: &Logs) {
        let (shard, applied) = (status.shard, status.applied);
        // After a start, and after a snapshot, what lies before was applied elsewhere or in another life.
        let log = logs.durable_of(node, shard);
        let from = before.unwrap_or(applied.index);
        // A snapshot took the place of the state: its entries were never applied one by one here, and what stands in the log at
        // their indexes is what it replaces.
        let jumped =
            logs.of(node, shard).is_some_and(|log| log.intent == Some(applied) || log.compacted == applied);
        for index in (from.0 + 1..=applied.index.0).map(Index).filter(|_| !jumped) {
            let stamp = log.and_then(|log| log.at(index));
            hold(stamp.is_some(), "durable before applied", || {
                format!("{node} applied {index} of {shard}, which is not durable there")
            });
            let known = self.committed.get(&shard).and_then(|all| all.get(index.0 as usize - 1));
            hold(known == stamp.as_ref(), "one history", || {
                format!("{node} {shard}: {index} was committed as {known:?} and is applied as {stamp:?}")
            });
        }
        self.check_last_applied(node, shard, applied);
    }

    /// What a state machine says that it has applied is what was committed there.
    fn check_last_applied(&self, node: NodeId, shard: ShardId, applied: LogId) {
        let known =
            self.committed.get(&shard).and_then(|all| all.get((applied.index.0 as usize).checked_sub(1)?));
        let fits = applied.index.0 == 0 || known.is_some_and(|stamp| stamp.term == applied.term);
        hold(fits, "one history", || {
            format!("{node} has applied {applied} of {shard}, committed is {known:?}")
        });
    }

    /// Equal entries make equal states.
    fn check_state(&mut self, node: NodeId, status: &ReplicaStatus) {
        let state = (status.version, status.time_ms, status.slots);
        let known = *self.states.entry((status.shard, status.applied.index)).or_insert(state);
        hold(known == state, "equal states", || {
            format!(
                "{node} {} after {}: (version, time, slots) {state:?}, elsewhere {known:?}",
                status.shard, status.applied
            )
        });
    }

    /// A base holds the state after an entry: the same everywhere, remembered results and floors included, however it came
    /// there (flush or snapshot).
    pub fn check_base(&mut self, node: NodeId, shard: ShardId, stats: &Stats) {
        let known = self.bases.entry((shard, stats.applied.index)).or_insert_with(|| stats.clone());
        hold(known == stats, "equal bases", || format!("{node} {shard}: {stats:?}, elsewhere {known:?}"));
    }
}
