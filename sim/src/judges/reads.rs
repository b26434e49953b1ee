//! The judge of reads: a linearizable read is served from a state that holds everything that was committed before the read reached
//! the node, whoever committed it.

use std::collections::BTreeMap;

use flotilla_node::host::{Answer, Effects, ReadJob, ReplicaStatus, Token};
use flotilla_raft::Index;
use flotilla_store::memory::Memory;
use flotilla_topology::{NodeId, ShardId};

use super::violation::hold;

/// The linearizable reads that wait for a node.
#[derive(Debug, Default)]
pub struct Reads {
    /// With the newest index that was committed when each arrived.
    asked: BTreeMap<Token, (ShardId, Index)>,
}

impl Reads {
    /// A read reaches a node.
    pub fn asked(&mut self, token: Token, shard: ShardId, committed: Index) {
        self.asked.insert(token, (shard, committed));
    }

    /// Nobody waits any more.
    pub fn forget(&mut self, token: Token) {
        self.asked.remove(&token);
    }

    /// A worker ended a turn, whose last deed is to serve reads: from the states that its replicas show now.
    pub fn check(&mut self, node: NodeId, effects: &Effects<Memory>, statuses: &[ReplicaStatus]) {
        if self.asked.is_empty() {
            return;
        }
        let answered = effects.replies.iter().filter_map(|reply| match &reply.answer {
            Answer::Got(..) | Answer::Page(..) => Some(reply.token),
            _ => None,
        });
        let handed_on = effects.reads.iter().filter_map(|job| match job {
            ReadJob::Get { token, .. } | ReadJob::Scan { token, .. } => Some(*token),
            ReadJob::Load { .. } => None,
        });
        for token in answered.chain(handed_on) {
            let Some((shard, committed)) = self.asked.remove(&token) else { continue };
            let Some(status) = statuses.iter().find(|status| status.shard == shard) else { continue };
            hold(status.applied.index >= committed, "reads see what was committed", || {
                format!(
                    "{node} serves a read of {shard} in term {} after {}, and {committed} was committed before it came",
                    status.term, status.applied
                )
            });
        }
    }
}
