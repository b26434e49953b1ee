//! Which groups this node stopped leading, and who has to hear of it.
//!
//! Their followers are bound to this node as long as it beats, and it goes on beating. Without a word they would wait for ever.

use std::collections::BTreeMap;

use flotilla_raft::Time;
use flotilla_topology::NodeId;

use super::FallenLeader;

/// How many of them one beat carries, so that it fits the smallest frame; the others wait until these were heard.
const OF_A_BEAT_MAX: usize = 64;

/// By who has to hear it, in the order in which it happened.
#[derive(Debug, Default)]
pub(super) struct Fallen(BTreeMap<NodeId, Vec<Unheard>>);

#[derive(Debug)]
struct Unheard {
    leader: FallenLeader,
    /// The first beat that carried it; all later ones do too.
    since: Option<Time>,
}

impl Fallen {
    /// One entry for each shard: a later fall covers an earlier one.
    pub(super) fn add(&mut self, to: NodeId, leader: FallenLeader) {
        let unheard = self.0.entry(to).or_default();
        unheard.retain(|known| known.leader.shard != leader.shard);
        unheard.push(Unheard { leader, since: None });
    }

    pub(super) fn of_beat(&mut self, to: NodeId, now: Time) -> Vec<FallenLeader> {
        let unheard = self.0.get_mut(&to).map(Vec::as_mut_slice).unwrap_or_default();
        let told = unheard.iter_mut().take(OF_A_BEAT_MAX);
        told.map(|unheard| {
            unheard.since.get_or_insert(now);
            unheard.leader
        })
        .collect()
    }

    /// A beat that was sent at this moment was heard.
    pub(super) fn heard(&mut self, by: NodeId, sent: Time) {
        if let Some(unheard) = self.0.get_mut(&by) {
            unheard.retain(|it| it.since.is_none_or(|since| since > sent));
        }
    }
}
