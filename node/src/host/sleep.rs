//! Sleep, as far as one replica has to do with it: who may fall asleep, what it watches meanwhile, and how it wakes.

use flotilla_raft::{Message, Rpc, Sign, Time};
use flotilla_store::Base;

use super::boundary::Event;
use super::replica::{Replica, Turn};
use super::sleepers::{Disturbance, Watched};
use super::support::Supports;

/// What wakes a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wakeup {
    /// A leader was asked for something: a write, a read that no lease answers, a transfer, other members.
    Asked,
    /// Another replica spoke: the leader, or one that wants to lead.
    Told,
    /// A node whose sign it slept under was silent for an election timeout.
    Silent,
    /// Such a node has started anew, or promises under another number.
    Changed,
    /// A connection with such a node broke.
    Broken,
    /// The node of the leader says that it leads no more.
    Fallen,
}

impl Replica {
    /// Before a timer fires: a leader may put its group to sleep, if the nodes of all members answer our beats.
    pub(super) fn quiesce<B: Base>(&mut self, turn: &Turn<'_, B>) {
        if !self.raft.is_leader() {
            return;
        }
        let patience = turn.options.raft.election_timeout_min;
        let (now, supports) = (turn.now.time, turn.supports);
        let Self { raft, placement, .. } = self;
        raft.quiesce(now, |member| {
            let pair = supports.pair(*placement.get(&member)?);
            pair.number.filter(|_| now < pair.answered + patience)
        });
    }

    /// A sleeper awakes.
    pub(super) fn rouse<B: Base>(&mut self, turn: &Turn<'_, B>, why: Wakeup) {
        if !self.raft.is_asleep() {
            return;
        }
        self.woken_by = Some(why);
        self.bind(turn.now, turn.supports);
        let (leads, supports) = (self.raft.is_leader(), turn.supports);
        let Self { raft, placement, .. } = self;
        raft.wake(turn.now.time, |replica| {
            let pair = supports.pair(*placement.get(&replica)?);
            Some(if leads { pair.answered } else { pair.beaten })
        });
    }

    /// A node whose sign this replica sleeps under is silent, or shows another one.
    pub(super) fn disturbed<B: Base>(&mut self, turn: &Turn<'_, B>, why: Disturbance) {
        let follows = self.raft.leader().filter(|leader| *leader != self.id);
        match why {
            Disturbance::Silent => self.rouse(turn, Wakeup::Silent),
            Disturbance::Changed => {
                self.rouse(turn, Wakeup::Changed);
                // The leader that it followed was of another life: there is nothing to wait for.
                if let Some(leader) = follows {
                    self.raft.silent(turn.now.time, leader);
                }
            }
        }
    }

    /// Before a message is stepped. Whoever asks for votes hears no leader, so the nodes do not speak for all.
    pub(super) fn rouse_for<B: Base>(&mut self, turn: &Turn<'_, B>, message: &Message) {
        if matches!(message.rpc, Rpc::PreVote { .. } | Rpc::Vote { .. }) {
            self.rouse(turn, Wakeup::Told);
        }
    }

    /// The nodes that this replica watches while it sleeps; none, if it is awake.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let signs = self.raft.sleeps_under().into_iter();
        // A message came from there, so the home is known. If it were not, the sign is one that nobody shows, and it wakes.
        signs.map(|(replica, sign)| (self.node_of(replica).unwrap_or_default(), sign)).collect()
    }

    /// After a turn in which it fell asleep, or awoke.
    pub(super) fn note_sleep<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let why = self.woken_by.take();
        let event = if self.raft.is_asleep() {
            Event::Slept
        } else {
            // Who was not woken by name was asked for something, or heard its leader.
            let asked = if self.raft.is_leader() { Wakeup::Asked } else { Wakeup::Told };
            Event::Woke { why: why.unwrap_or(asked) }
        };
        turn.out.event(self.shard, event);
    }

    /// When the node of a sleeping follower's leader was last heard: so old is what it knows of commits.
    pub(super) fn heard_by_node(&self, supports: &Supports) -> Option<Time> {
        let (leader, sign) = self.raft.sleeps_under().into_iter().next()?;
        let node = self.node_of(leader).filter(|_| matches!(sign, Sign::Life(_)))?;
        supports.pair(node).shown(sign)
    }
}
