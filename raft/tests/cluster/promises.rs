//! The support between nodes, as the host of each replica would keep it: here every replica has a node of its own.

use std::collections::BTreeMap;

use flotilla_raft::{Held, Life, ReplicaId, SupportNumber, Time};

/// Who promised what to whom.
#[derive(Default)]
pub struct Promises {
    /// By supporter and supported: what the supporter knows.
    given: BTreeMap<(ReplicaId, ReplicaId), Held>,
    /// By the same: what the supported one knows.
    held: BTreeMap<(ReplicaId, ReplicaId), Held>,
    /// Until when who has restarted votes for nobody.
    restarted: BTreeMap<ReplicaId, Time>,
    /// In which life each node is heard; the first, if nothing else was said.
    lives: BTreeMap<ReplicaId, Life>,
}

impl Promises {
    /// A supporter promises until a moment, under a number; `held`: and the other has heard so.
    pub fn give(&mut self, from: ReplicaId, to: ReplicaId, number: u64, until: Time, held: bool) {
        let promise = Held { number: SupportNumber(number), until };
        self.given.insert((from, to), promise);
        if held {
            self.held.insert((from, to), promise);
        }
    }

    /// A node restarts: it forgets what it promised, and waits.
    pub fn restart(&mut self, node: ReplicaId, until: Time) {
        self.given.retain(|(from, _), _| *from != node);
        self.held.retain(|(_, to), _| *to != node);
        self.restarted.insert(node, until);
    }

    /// A node is heard in this life.
    pub fn live(&mut self, node: ReplicaId, life: u64) {
        self.lives.insert(node, Life(life));
    }

    pub fn life(&self, node: ReplicaId) -> Life {
        self.lives.get(&node).copied().unwrap_or(Life(1))
    }

    /// The number under which a node supports another.
    pub fn number(&self, from: ReplicaId, to: ReplicaId) -> Option<SupportNumber> {
        self.given.get(&(from, to)).map(|promise| promise.number)
    }

    pub fn held(&self, from: ReplicaId, to: ReplicaId) -> Option<Held> {
        self.held.get(&(from, to)).copied()
    }

    pub fn restart_until(&self, node: ReplicaId) -> Time {
        self.restarted.get(&node).copied().unwrap_or_default()
    }

    /// Until when a promise stands that was acknowledged under this number. One that ran out is withdrawn.
    pub fn bound_until(&mut self, from: ReplicaId, to: ReplicaId, number: SupportNumber, now: Time) -> Time {
        let Some(promise) = self.given.get_mut(&(from, to)) else { return Time(0) };
        if promise.number != number {
            return Time(0);
        }
        if promise.until <= now {
            promise.number.0 += 1;
        }
        promise.until
    }
}
