//! The judge of members: which configurations a shard had, one after the other, who was ever counted, and that replicas are born and
//! end only as the cluster map says.
//!
//! ```text
//!   committed entries ─▶ the chain of configurations: each follows from the one before, and was derived from it
//!                           │
//!                           ├─ what a replica has in effect is the last of the chain that it has applied
//!                           ├─ an entry is committed, and a leader elected, by a quorum of each half of the one in force
//!                           └─ a replica ends only when the chain has gone on without it, and something is committed after that
//! ```
//!
//! It has its own arithmetic of configurations and quorums, and takes nobody's word for who is a member.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_node::host::ReplicaStatus;
use flotilla_raft::{Configuration, Index, LogId, Message, Payload, ReplicaId, Term};
use flotilla_topology::{ClusterMap, NodeId, ShardId};
use flotilla_wal::{Batch, Record, Recovered};

use super::violation::hold;

/// The members of all shards, at all times.
#[derive(Debug, Default)]
pub struct Members {
    /// Every configuration that any log ever held.
    written: BTreeMap<(ShardId, Index, Term), Configuration>,
    /// Those that were committed, by their index; that of the genesis has index 0.
    chain: BTreeMap<ShardId, BTreeMap<Index, Configuration>>,
    /// On which configuration a proposal was decided that became this entry.
    derived: BTreeMap<(ShardId, Index, Term), Index>,
    /// Where a map placed each replica.
    homes: BTreeMap<(ShardId, ReplicaId), NodeId>,
    /// The replicas that a node was told to create.
    told: BTreeSet<(NodeId, ShardId, ReplicaId)>,
    /// The replicas whose birth became durable.
    born: BTreeSet<(ShardId, ReplicaId)>,
    /// The greatest replica whose birth became durable on a node.
    greatest: BTreeMap<(NodeId, ShardId), ReplicaId>,
    /// The replicas whose tombstone was written.
    ended: BTreeSet<(ShardId, ReplicaId)>,
    /// The replicas that are out of service, or were when they were replaced: they never vote again.
    lost: BTreeSet<(ShardId, ReplicaId)>,
    /// The replicas that a newer map does not place any more.
    gone: BTreeSet<(ShardId, ReplicaId)>,
}

impl Members {
    /// Those of a fleet that was just founded.
    #[must_use]
    pub fn new(map: &ClusterMap) -> Self {
        let genesis = |voters: &BTreeMap<ReplicaId, NodeId>| {
            BTreeMap::from([(Index(0), Configuration::of_voters(voters.keys().copied()))])
        };
        let chain = map.shards.iter().map(|(shard, info)| (*shard, genesis(&info.genesis.voters)));
        let mut members = Self { chain: chain.collect(), ..Self::default() };
        members.placed(map);
        members
    }

    /// A newer map is known: it may place replicas, each on one node for ever, and once.
    pub fn placed(&mut self, map: &ClusterMap) {
        for (shard, info) in &map.shards {
            let before = self.homes.range((*shard, ReplicaId(0))..=(*shard, ReplicaId(u64::MAX)));
            let left = before.map(|(id, _)| *id).filter(|(_, replica)| !info.replicas.contains_key(replica));
            self.gone.extend(left);
            for (replica, placement) in &info.replicas {
                hold(!self.gone.contains(&(*shard, *replica)), "replica ids", || {
                    format!("{replica} of {shard} had left the map, and is given again")
                });
                let home = *self.homes.entry((*shard, *replica)).or_insert(placement.node);
                hold(home == placement.node, "replica ids", || {
                    format!("{replica} of {shard} was on {home}, and is given again on {}", placement.node)
                });
                hold(!self.ended.contains(&(*shard, *replica)), "replica ids", || {
                    format!("{replica} of {shard} has ended on {home}, and is given again")
                });
            }
        }
    }

    /// A node is told to create a replica.
    pub fn told(&mut self, node: NodeId, shard: ShardId, replica: ReplicaId) {
        self.told.insert((node, shard, replica));
    }

    /// A proposal was taken as this entry; it was decided on the configuration of that one.
    pub fn proposed(&mut self, shard: ShardId, entry: LogId, derived_from: Index) {
        self.derived.insert((shard, entry.index, entry.term), derived_from);
    }

    /// A worker handed out a batch.
    pub fn accepted(&mut self, node: NodeId, batch: &Batch) {
        for (shard, record) in batch.records() {
            match record {
                Record::Entries(entries) => {
                    for entry in entries {
                        if let Payload::Configuration(configuration) = &entry.payload {
                            let place = (*shard, entry.id.index, entry.id.term);
                            self.written.insert(place, configuration.clone());
                        }
                    }
                }
                Record::Birth { replica, .. } => self.check_birth(node, *shard, *replica),
                _ => {}
            }
        }
    }

    /// A batch is durable.
    pub fn durable(&mut self, node: NodeId, batch: &Batch) {
        for (shard, record) in batch.records() {
            if let Record::Birth { replica, .. } = record {
                self.born.insert((*shard, *replica));
                let greatest = self.greatest.entry((node, *shard)).or_default();
                *greatest = (*replica).max(*greatest);
            }
        }
    }

    /// A node starts again: its log remembers the greatest replica that it ever had, alive, ended or out of service. How many only the
    /// map knows.
    ///
    /// `blind`: the map on its disk, where rot took records of which nobody can say whose they were. A tombstone among them is
    /// forgotten if that map places no replica of the shard there. Then the map itself says that the replica has ended; the node
    /// takes no older one, and replicas are born from maps only. That none is born under such an id is held where it would be
    /// born (`check_birth`), whatever was forgotten.
    pub fn recovered(&self, node: NodeId, found: &Recovered, blind: Option<&ClusterMap>) -> u64 {
        let mut by_map_alone = 0;
        for ((_, shard), greatest) in self.greatest.range((node, ShardId(0))..=(node, ShardId(u64::MAX))) {
            let alive = found.shards.get(shard).map(|state| state.replica);
            let known = alive.max(found.tombstones.get(shard).copied());
            let is_known = known >= Some(*greatest);
            let by_map = blind.is_some_and(|map| map.has_ended(*shard, *greatest));
            hold(is_known || by_map, "replica ids", || {
                format!("{node} had {greatest} of {shard}, and its log remembers {known:?}")
            });
            by_map_alone += u64::from(!is_known);
        }
        by_map_alone
    }

    /// A replica is born because a map says so, on the node that it names, and never twice.
    fn check_birth(&self, node: NodeId, shard: ShardId, replica: ReplicaId) {
        hold(self.told.contains(&(node, shard, replica)), "replica ids", || {
            format!("{replica} of {shard} is born on {node}, which no map told it")
        });
        let home = self.homes.get(&(shard, replica));
        hold(home == Some(&node), "replica ids", || {
            format!("{replica} of {shard} is born on {node}, and its home is {home:?}")
        });
        hold(!self.is_lost(shard, replica), "out of service", || {
            format!("{replica} of {shard} is born on {node}, where rot took it before")
        });
        hold(!self.born.contains(&(shard, replica)), "replica ids", || {
            format!("{replica} of {shard} is born again on {node}")
        });
        let greatest = self.greatest.get(&(node, shard)).copied().unwrap_or_default();
        hold(replica > greatest, "replica ids", || {
            format!("{replica} of {shard} is born on {node}, which had {greatest} before")
        });
    }

    /// Rot took out of service whoever a shard had on a node, up to this id.
    pub fn out_of_service(&mut self, node: NodeId, shard: ShardId, replica: ReplicaId) {
        let all = self.up_to(node, shard, replica);
        self.lost.extend(all.into_iter().map(|replica| (shard, replica)));
    }

    /// Whether a replica is out of service, or was when it was replaced.
    #[must_use]
    pub fn is_lost(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.lost.contains(&(shard, replica))
    }

    /// A message leaves a node: whoever is out of service says nothing.
    pub fn check_speaker(&self, node: NodeId, shard: ShardId, message: &Message) {
        hold(!self.is_lost(shard, message.from), "out of service", || {
            format!("{node} {shard}: {message:?}, of whom rot took what it had promised")
        });
    }

    /// A worker writes a tombstone, when `committed` is the newest committed entry of the shard. It ends all replicas of the node up
    /// to this id, which is greater than theirs where only the map knew what is spent.
    ///
    /// Who was lost may be a voter still when another one that was to replace it there ends. Its own end was when it was lost: since then it
    /// says nothing (`check_speaker`), and is counted as lost in every quorum.
    pub fn buried(&mut self, node: NodeId, shard: ShardId, replica: ReplicaId, committed: Index) {
        let ends = self.up_to(node, shard, replica);
        hold(!ends.is_empty(), "ends of replicas", || {
            format!("{replica} of {shard} ends on {node}, and nobody up to it lived there")
        });
        let lived = ends.into_iter().filter(|id| !self.is_lost(shard, *id)).collect::<Vec<_>>();
        lived.into_iter().for_each(|id| self.check_end(node, shard, id, committed));
    }

    /// Nobody needs the replica any more.
    /// The configurations have gone on without it; and if it counted until then, an entry after that is committed, so that whoever
    /// may be elected knows it.
    fn check_end(&mut self, node: NodeId, shard: ShardId, replica: ReplicaId, committed: Index) {
        self.ended.insert((shard, replica));
        let chain = self.chain(shard);
        let named = chain.iter().rfind(|(_, it)| it.is_member(replica)).map(|(index, _)| *index);
        hold(named.is_some(), "ends of replicas", || {
            format!("{replica} of {shard} ends on {node}, and was no member yet: it may become one")
        });
        let left = named.and_then(|named| chain.range(named.next()..).next()).map(|(index, _)| *index);
        let counted = named.is_some_and(|named| chain[&named].is_voter(replica));
        let is_over = |left: Index| committed > left || !counted && committed == left;
        hold(left.is_some_and(is_over), "ends of replicas", || {
            format!(
                "{replica} of {shard} ends on {node}; it left with entry {left:?}, {committed} is the newest committed entry"
            )
        });
    }

    /// An entry was committed, the first time that anybody says so.
    pub fn committed(&mut self, shard: ShardId, entry: LogId) {
        let Some(next) = self.written.get(&(shard, entry.index, entry.term)).cloned() else { return };
        let Some((at, before)) = self.chain(shard).last_key_value() else { return };
        hold(follows(before, &next), "one change at a time", || {
            format!("{shard}: after {before} (entry {at}) came {next} (entry {})", entry.index)
        });
        let derived = self.derived.get(&(shard, entry.index, entry.term));
        hold(derived.is_none_or(|derived| derived == at), "one change at a time", || {
            format!(
                "{shard}: {next} (entry {}) was derived from entry {derived:?}, not from {at}",
                entry.index
            )
        });
        self.chain.entry(shard).or_default().insert(entry.index, next);
    }

    /// Whether a quorum of each half of the configuration in force says yes: of one of those that were in effect at a replica in a
    /// turn, which began with that of `from`; for an entry, only of those before it.
    pub fn decide(
        &self,
        shard: ShardId,
        (from, status): (Index, &ReplicaStatus),
        before: Index,
        yes: &BTreeSet<ReplicaId>,
    ) -> bool {
        let to = status.configuration_index;
        let mut in_force = self.chain(shard).range(from.min(to)..=to).filter(|(index, _)| **index < before);
        in_force.any(|(_, configuration)| has_quorums(configuration, yes))
    }

    /// Looks at a replica: what it has in effect is the last configuration that it has applied, unless a snapshot is just taking the
    /// place of its state.
    pub fn check(&self, node: NodeId, status: &ReplicaStatus, installing: bool) {
        let (shard, applied) = (status.shard, status.applied.index);
        let known = self.chain(shard).get(&status.configuration_index);
        hold(known == Some(&status.configuration), "members", || {
            format!(
                "{node} {shard}: {} is in effect, of entry {}; there is {known:?}",
                status.configuration, status.configuration_index
            )
        });
        let last = self.chain(shard).range(..=applied).next_back().map(|(index, _)| *index);
        hold(installing || last == Some(status.configuration_index), "members", || {
            format!(
                "{node} {shard}: applied {applied}, in effect is the configuration of entry {}, not of {last:?}",
                status.configuration_index
            )
        });
    }

    fn chain(&self, shard: ShardId) -> &BTreeMap<Index, Configuration> {
        self.chain.get(&shard).unwrap_or_else(|| unreachable!("nobody founded {shard}"))
    }

    /// The newest committed configuration of a shard, and its entry.
    #[must_use]
    pub fn newest(&self, shard: ShardId) -> (Index, &Configuration) {
        let newest = self.chain(shard).last_key_value();
        newest.map_or_else(|| unreachable!("{shard} has no members"), |(index, members)| (*index, members))
    }

    /// Every configuration by which somebody may still have to decide: the newest committed one; the one before, unless an entry
    /// after the newest is committed; and those that were written since and may be committed yet.
    pub fn needed(&self, shard: ShardId, committed: Index) -> Vec<&Configuration> {
        let chain =
            self.chain(shard).values().rev().take(if self.is_settled(shard, committed) { 1 } else { 2 });
        let since =
            self.written.range((shard, committed.next(), Term(0))..=(shard, Index(u64::MAX), Term(u64::MAX)));
        chain.chain(since.map(|(_, configuration)| configuration)).collect()
    }

    /// Nobody needs anything of this node any more: whoever had a replica there has gone on without it.
    pub fn check_gone(&self, node: NodeId, shard: ShardId, committed: Index) {
        let chain = self.chain(shard);
        let needed = chain.iter().rev().take(if self.is_settled(shard, committed) { 1 } else { 2 });
        for (place, (index, it)) in needed.enumerate() {
            // Of the configuration before, learners are not needed.
            let counts = |replica: ReplicaId| it.is_voter(replica) || place == 0 && it.is_member(replica);
            let here = self.up_to(node, shard, ReplicaId(u64::MAX)).into_iter().find(|id| counts(*id));
            hold(here.is_none(), "nodes", || {
                format!(
                    "{node} is no member of the fleet, and {shard} needs its {here:?}: {it} (entry {index})"
                )
            });
        }
    }

    /// Whether an entry after that of the newest configuration is committed.
    fn is_settled(&self, shard: ShardId, committed: Index) -> bool {
        let (newest, _) = self.newest(shard);
        committed > newest || newest == Index(0)
    }

    /// The node of a replica, as a map once said.
    #[must_use]
    pub fn home(&self, shard: ShardId, replica: ReplicaId) -> Option<NodeId> {
        self.homes.get(&(shard, replica)).copied()
    }

    /// The replicas of a shard that maps placed on a node, up to this id.
    fn up_to(&self, node: NodeId, shard: ShardId, replica: ReplicaId) -> Vec<ReplicaId> {
        let all = self.homes.range((shard, ReplicaId(0))..=(shard, replica));
        all.filter(|(_, home)| **home == node).map(|((_, id), _)| *id).collect()
    }

    /// The entries that brought configurations, the genesis left out.
    #[must_use]
    pub fn changes(&self, shard: ShardId) -> Vec<String> {
        self.chain(shard).iter().skip(1).map(|(_, members)| members.to_string()).collect()
    }
}

/// Whether one configuration may come after another: learners come and go, a joint one begins with both halves, and ends with the
/// incoming one.
fn follows(before: &Configuration, next: &Configuration) -> bool {
    if !before.outgoing.is_empty() {
        let left = next.voters == before.voters && next.learners == before.learners;
        return left && next.outgoing.is_empty();
    }
    if next.outgoing.is_empty() {
        return next.voters == before.voters && next.learners != before.learners;
    }
    let knows = |replica: &ReplicaId| before.voters.contains(replica) || before.learners.contains(replica);
    next.outgoing == before.voters && !next.voters.is_empty() && next.voters.iter().all(knows)
}

/// Whether these are more than half of each half that there is.
pub(super) fn has_quorums(configuration: &Configuration, yes: &BTreeSet<ReplicaId>) -> bool {
    let won = |half: &BTreeSet<ReplicaId>| half.is_empty() || half.intersection(yes).count() * 2 > half.len();
    won(&configuration.voters) && won(&configuration.outgoing)
}

#[cfg(test)]
mod tests;
