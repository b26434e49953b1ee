//! What the promises between nodes mean for a replica here: told to the core before it acts on them.

use flotilla_raft::{Message, Rpc, Term, Time};
use flotilla_store::Base;
use flotilla_topology::NodeId;

use super::boundary::Now;
use super::replica::{Replica, Turn};
use super::sleep::Wakeup;
use super::support::{FallenLeader, Supports};

impl Replica {
    /// Before a message is stepped.
    pub(super) fn heed<B: Base>(&mut self, turn: &Turn<'_, B>, message: &Message) {
        if message.rpc.is_of_election() {
            self.bind(turn.now, turn.supports);
        }
        if matches!(message.rpc, Rpc::Heartbeat { .. })
            && let Some((number, life)) =
                self.node_of(message.from).and_then(|node| turn.supports.number(node))
        {
            self.raft.supported(message.from, number, life);
        }
    }

    /// Before anything that may end in a vote.
    pub(super) fn bind(&mut self, now: Now, supports: &Supports) {
        let support_until = match self.raft.acknowledged() {
            None => Time(0),
            Some(it) => match self.node_of(it.leader) {
                Some(node) => supports.bound_until(node, it.number, now.time),
                // It was known when the promise was acknowledged, and no home of a replica is ever forgotten.
                None => unreachable!("{}: {} has no home", self.shard, it.leader),
            },
        };
        self.raft.bind(support_until, supports.restart_until());
    }

    /// The node of a leader says that it leads no more.
    pub(super) fn leader_fell(&mut self, now: Now, node: NodeId, leader: FallenLeader) {
        if self.node_of(leader.leader) == Some(node) {
            if self.raft.is_asleep() {
                self.woken_by = Some(Wakeup::Fallen);
            }
            self.raft.released(now.time, leader.leader, leader.term);
        }
    }

    /// If this replica has stopped leading, the nodes of the others hear of it with every beat until they answer.
    pub(super) fn note_fall<B: Base>(&mut self, turn: &Turn<'_, B>) {
        let leads = self.raft.is_leader().then(|| self.raft.term());
        let Some(led) = self.raft.led().filter(|led| Some(*led) != leads && Some(*led) != self.fell_in)
        else {
            return;
        };
        self.tell_fall(turn, led);
    }

    /// This replica ends. If it leads, or led and has not said that it does no more, nobody shall wait for it.
    pub(super) fn fall_for_ever<B: Base>(&mut self, turn: &Turn<'_, B>) {
        if let Some(led) = self.raft.led().filter(|led| Some(*led) != self.fell_in) {
            self.tell_fall(turn, led);
        }
    }

    fn tell_fall<B: Base>(&mut self, turn: &Turn<'_, B>, led: Term) {
        self.fell_in = Some(led);
        let fallen = FallenLeader { shard: self.shard, leader: self.id, term: led };
        let here = self.node_of(self.id);
        turn.supports.fell(fallen, self.placement.values().copied().filter(|node| Some(*node) != here));
    }
}
