//! Giving leadership away on request.

use flotilla_raft::ReplicaId;
use flotilla_store::Base;
use flotilla_topology::NodeId;

use super::boundary::{Answer, Event, Refusal, Token};
use super::replica::{Replica, Turn};
use super::sleep::Wakeup;

impl Replica {
    /// Starts a transfer to a replica on `to`, or to whichever follower is furthest.
    pub(super) fn transfer<B: Base>(&mut self, turn: &mut Turn<'_, B>, token: Token, to: Option<NodeId>) {
        if !self.raft.is_leader() {
            turn.out.refuse(token, self.not_leader());
            return;
        }
        self.rouse(turn, Wakeup::Asked);
        let answer = self.target(to).and_then(|target| {
            self.raft.transfer(turn.now.time, target).map_err(|error| format!("{}: {error}", self.shard))
        });
        match answer {
            Ok(()) => turn.out.reply(token, Answer::Transfer),
            Err(reason) => turn.out.refuse(token, Refusal::Impossible { reason }),
        }
    }

    /// The log of this node makes no progress: hands over to the follower that is furthest, if it is ahead of what is stable
    /// here. One that is not may hang at the same disk; then nothing would be won, and proposals be refused meanwhile.
    pub(super) fn hand_over<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        if !self.raft.is_leader() {
            return;
        }
        let status = self.raft.status();
        let ahead = status.progress.iter().filter(|(replica, progress)| {
            let is_voter = status.configuration.voters.contains(replica);
            is_voter && progress.recent_active && progress.matched > status.persisted
        });
        let target = ahead.max_by_key(|(_, progress)| progress.matched).map(|(replica, _)| *replica);
        // It is refused while another transfer is under way.
        if let Some(target) = target
            && self.raft.transfer(turn.now.time, target).is_ok()
        {
            turn.out.event(self.shard, Event::HandsOver);
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
