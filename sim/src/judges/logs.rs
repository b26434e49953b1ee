//! The judge of the log: what was durable is there after a crash, and nothing else; promises are durable before they leave.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_raft::{Index, Message, ReplicaId, Rpc, Term};
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::{Batch, Recovered};

use super::log_model::{LogModel, ShardLog, Stamp, difference, matches, write};
use super::matching::Matching;
use super::rot::Rot;
use super::violation::{hold, violated};

/// The logs of all nodes.
#[derive(Debug, Default)]
pub struct Logs {
    nodes: BTreeMap<NodeId, NodeLog>,
    matching: Matching,
    /// What the leader of a term sent as its entry at an index.
    sent: BTreeMap<(ShardId, Term, Index), Stamp>,
    /// For whom a replica voted in a term.
    votes: BTreeMap<(ShardId, Term, ReplicaId), ReplicaId>,
}

/// The log of one node.
#[derive(Debug, Default)]
struct NodeLog {
    /// With everything that its workers handed out.
    accepted: LogModel,
    /// With what is acknowledged as durable.
    durable: LogModel,
    /// What was durable of replicas that are out of service, each as it was. Whoever counted on it may go on: nobody who forgot it
    /// votes.
    forgotten: BTreeMap<(ShardId, ReplicaId), ShardLog>,
}

impl NodeLog {
    /// Rot took these shards out of service: the log holds nothing of them any more. It takes nobody whom it did not hit, and whoever
    /// was out before is so still, under the same id. Whom it took now.
    fn quarantined(&mut self, node: NodeId, found: &Recovered, rot: &Rot) -> Vec<(ShardId, ReplicaId)> {
        let all = found.quarantined.iter().map(|(shard, out)| (*shard, out.replica));
        let lost: Vec<_> =
            all.filter(|(shard, out)| self.durable.out_of_service(*shard) != Some(*out)).collect();
        for (shard, replica) in &lost {
            hold(rot.may_concern(node, *shard), "log", || {
                format!("{node} takes {shard} out of service, of which nothing rotted")
            });
            self.accepted.take_out(*shard, *replica);
            let before = self.durable.take_out(*shard, *replica);
            self.forgotten.extend(before.map(|before| ((*shard, before.replica), before)));
        }
        lost
    }
}

impl Logs {
    /// A worker handed out a batch. How many entries each of its cuts took off.
    pub fn accepted(&mut self, node: NodeId, batch: &Batch) -> Vec<u64> {
        let log = self.nodes.entry(node).or_default();
        let cuts = write(&mut log.accepted, batch);
        self.matching.check(node, batch, &log.accepted);
        cuts
    }

    /// A batch is durable.
    pub fn durable(&mut self, node: NodeId, batch: &Batch) {
        write(&mut self.nodes.entry(node).or_default().durable, batch);
    }

    /// A node starts again. `in_flight`: what was being written when it ended, which may be there or not. How many batches of it
    /// are there. `rot`: what may have been lost.
    pub fn recovered(&mut self, node: NodeId, found: &Recovered, in_flight: &[Batch], rot: &Rot) -> u64 {
        let log = self.nodes.entry(node).or_default();
        let lost = log.quarantined(node, found, rot);
        let mut candidate = log.durable.clone();
        let mut fits = matches(&candidate, found);
        let mut there = 0;
        for batch in in_flight {
            if fits.is_ok() {
                break;
            }
            write(&mut candidate, batch);
            for (shard, replica) in &lost {
                candidate.take_out(*shard, *replica);
            }
            there += 1;
            fits = matches(&candidate, found);
        }
        if let Err(shard) = fits {
            violated(
                "log",
                format!("{node} came back with another log: {}", difference(&log.durable, found, shard)),
            );
        }
        log.accepted = candidate.clone();
        log.durable = candidate;
        there
    }

    /// The log of a shard with everything that was handed out.
    pub fn of(&self, node: NodeId, shard: ShardId) -> Option<&ShardLog> {
        self.nodes.get(&node)?.accepted.get(&shard)
    }

    /// The durable log of a shard.
    pub fn durable_of(&self, node: NodeId, shard: ShardId) -> Option<&ShardLog> {
        self.nodes.get(&node)?.durable.get(&shard)
    }

    /// The replicas of a shard on whose disks this entry is, or was, of those that forgot it and do not vote any more.
    pub fn holders(&self, shard: ShardId, index: Index, stamp: Stamp) -> BTreeSet<ReplicaId> {
        let replicas = (shard, ReplicaId(0))..=(shard, ReplicaId(u64::MAX));
        let logs = self.nodes.values().flat_map(|log| {
            let forgotten = log.forgotten.range(replicas.clone()).map(|(_, it)| it);
            log.durable.get(&shard).into_iter().chain(forgotten)
        });
        logs.filter(|log| log.holds(index, stamp)).map(|log| log.replica).collect()
    }

    /// Who has voted for a candidate, itself included: as its own disk says.
    pub fn voters_for(
        &self,
        node: NodeId,
        shard: ShardId,
        term: Term,
        whom: ReplicaId,
    ) -> BTreeSet<ReplicaId> {
        let votes = self.votes.range((shard, term, ReplicaId(0))..=(shard, term, ReplicaId(u64::MAX)));
        let mut voters: BTreeSet<ReplicaId> =
            votes.filter(|(_, voted)| **voted == whom).map(|((_, _, voter), _)| *voter).collect();
        let own = self.durable_of(node, shard).map(|log| log.hard_state);
        if own.is_some_and(|own| own.term == term && own.vote == Some(whom)) {
            voters.insert(whom);
        }
        voters
    }

    /// What a replica takes for durable must be on its disk: not what a later append has cut away, at the same place.
    pub fn check_persisted(&self, node: NodeId, shard: ShardId, persisted: Index) {
        // Where a snapshot takes the place of the log, there is nothing at that index any more.
        let Some(stamp) = self.of(node, shard).and_then(|log| log.at(persisted)) else { return };
        let disk = self.durable_of(node, shard);
        hold(disk.is_some_and(|disk| disk.holds(persisted, stamp)), "durable promises", || {
            let there = disk.and_then(|disk| disk.at(persisted));
            format!(
                "{node} takes {persisted} of {shard} for durable, which is {stamp:?}; on the disk is {there:?}"
            )
        });
    }

    /// A message leaves a node. What it says of its sender must be on the sender's disk.
    pub fn check_message(&mut self, node: NodeId, shard: ShardId, message: &Message) {
        let nothing = ShardLog::default();
        let disk = self.nodes.get(&node).and_then(|log| log.durable.get(&shard)).unwrap_or(&nothing);
        let (term, state) = (message.term, disk.hard_state);
        hold(state.term >= term, "durable promises", || {
            format!("{node} {message:?} left before its term was durable")
        });
        let voted = |whom| state.term > term || state.vote == Some(whom);
        match &message.rpc {
            Rpc::Vote { .. } => hold(voted(message.from), "durable promises", || {
                format!("{node} {message:?} left before its own vote was durable")
            }),
            Rpc::VoteReply { granted: true } => {
                hold(voted(message.to), "durable promises", || {
                    format!("{node} {message:?} left before the vote was durable")
                });
                let first = *self.votes.entry((shard, term, message.from)).or_insert(message.to);
                hold(first == message.to, "one vote a term", || {
                    format!("{node} {message:?}, and {first} had the vote already")
                });
            }
            Rpc::AppendReply { matched } | Rpc::HeartbeatReply { matched, .. } => {
                let sent = self.sent.get(&(shard, term, *matched));
                let logged = *matched <= disk.last().max(disk.compacted.index)
                    && sent.is_none_or(|stamp| disk.holds(*matched, *stamp));
                // A snapshot that is current in the base and announced in the log is as durable as entries are: were the power
                // cut now, the next start would find both, and go on from there.
                let there = logged || disk.intent.is_some_and(|intent| intent.index >= *matched);
                hold(there, "durable promises", || {
                    format!("{node} acknowledges what is not durable: {message:?}")
                });
            }
            Rpc::Append { entries, .. } => {
                let sent = entries.iter().map(|entry| ((shard, term, entry.index()), Stamp::of(entry)));
                for (place, stamp) in sent {
                    let known = *self.sent.entry(place).or_insert(stamp);
                    hold(known == stamp, "leader append-only", || {
                        format!("{node} sent {place:?} twice, differently")
                    });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
