//! Giving leadership away on request.

use flotilla_raft::ReplicaId;
use flotilla_store::Base;
use flotilla_topology::NodeId;

use super::boundary::{Answer, Refusal, Token};
use super::replica::{Replica, Turn};

impl Replica {
    /// Starts a transfer to a replica on `to`, or to whichever follower is furthest.
    pub(super) fn transfer<B: Base>(&mut self, turn: &mut Turn<'_, B>, token: Token, to: Option<NodeId>) {
        if !self.raft.is_leader() {
            turn.out.refuse(token, self.not_leader());
            return;
        }
        let answer = self.target(to).and_then(|target| {
            self.raft.transfer(turn.now.time, target).map_err(|error| format!("{}: {error}", self.shard))
        });
        match answer {
            Ok(()) => turn.out.reply(token, Answer::Transfer),
            Err(reason) => turn.out.refuse(token, Refusal::Impossible { reason }),
        }
    }

    fn target(&self, to: Option<NodeId>) -> Result<ReplicaId, String> {
        let status = self.raft.status();
        let mut voters =
            status.progress.iter().filter(|(replica, _)| status.configuration.voters.contains(replica));
        match to {
            Some(node) if self.node_of(self.id) == Some(node) => Ok(self.id),
            Some(node) => voters
                .find(|(replica, _)| self.node_of(*replica) == Some(node))
                .map(|(replica, _)| *replica)
                .ok_or_else(|| format!("{} has no voter on {node}", self.shard)),
            None => voters
                .filter(|(_, progress)| progress.recent_active)
                .max_by_key(|(_, progress)| progress.matched)
                .map(|(replica, _)| *replica)
                .ok_or_else(|| format!("{} has no follower that could lead", self.shard)),
        }
    }
}
