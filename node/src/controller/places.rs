//! Where a replica may go.

use std::collections::BTreeMap;

use flotilla_topology::{ClusterMap, Membership, NodeId, ShardId};

use super::seen::FleetSeen;
use super::start::Danger;

/// A replica that is written while older tables are merged takes its place twice, until it has come to rest.
const COMING_FACTOR: u64 = 2;

/// What each node has, and is about to get.
#[derive(Debug)]
pub(super) struct Places<'a> {
    map: &'a ClusterMap,
    seen: &'a FleetSeen,
    /// How many replicas each will have when the moves that are under way have ended, as they are meant to.
    loads: BTreeMap<NodeId, usize>,
    /// What the replicas on their way take beside what they have taken, in bytes.
    coming: BTreeMap<NodeId, u64>,
}

impl<'a> Places<'a> {
    pub(super) fn of(map: &'a ClusterMap, seen: &'a FleetSeen) -> Self {
        let mut loads: BTreeMap<NodeId, usize> = map.nodes.keys().map(|node| (*node, 0)).collect();
        let mut coming = BTreeMap::new();
        for (shard, info) in &map.shards {
            let moving = map.move_of(*shard).map(|(_, it)| it);
            let gone = moving.map(|it| if it.cancelled { it.arriving } else { it.leaving });
            for (replica, placement) in info.replicas.iter().filter(|(replica, _)| Some(**replica) != gone) {
                *loads.entry(placement.node).or_default() += 1;
                // Whoever votes has all of it. One that takes its own place takes no more than it had.
                let is_coming = placement.membership != Membership::Voter
                    && moving.is_some_and(|it| it.arriving == *replica && it.from != it.to);
                if is_coming {
                    let shown = seen.shards.get(shard).and_then(|it| it.replicas.get(&placement.node));
                    let has = shown.filter(|it| it.replica == *replica).map_or(0, |it| it.bytes);
                    add(&mut coming, placement.node, need(seen, *shard).saturating_sub(has));
                }
            }
        }
        Self { map, seen, loads, coming }
    }

    pub(super) fn loads(&self) -> &BTreeMap<NodeId, usize> {
        &self.loads
    }

    /// The node that should get a replica of a shard: one that is up and stays, has none of it, has room for it, and has the fewest; of
    /// several the lowest id. `not`: who gives it up.
    pub(super) fn home(&self, shard: ShardId, not: Option<NodeId>) -> Option<NodeId> {
        let able = |node: &&NodeId| {
            self.map.is_home(**node)
                && Some(**node) != not
                && self.map.replica_on(shard, **node).is_none()
                && self.has_room(shard, **node)
        };
        let load = |node: &NodeId| self.loads.get(node).copied().unwrap_or(0);
        self.seen.up.iter().filter(able).min_by_key(|node| (load(node), **node)).copied()
    }

    /// Whether the disk of a node can take one more replica.
    pub(super) fn has_room(&self, shard: ShardId, node: NodeId) -> bool {
        self.check_room(node, need(self.seen, shard)).is_ok()
    }

    /// Whether the disk of a node can take what is coming, and so many bytes more.
    ///
    /// # Errors
    /// It cannot, as far as is known.
    pub(super) fn check_room(&self, node: NodeId, more: u64) -> Result<(), Danger> {
        let Some(room) = self.seen.rooms.get(&node) else { return Ok(()) };
        let needed = self.coming.get(&node).copied().unwrap_or(0).saturating_add(more);
        if needed.saturating_add(room.reserve()) <= room.free {
            return Ok(());
        }
        Err(Danger::Full { node, needed, free: room.free, reserve: room.reserve() })
    }

    /// A replica is meant to go there, although the map does not say so yet. It has come to rest when the next one comes: of many no
    /// more go at once than there is room for.
    pub(super) fn take(&mut self, shard: ShardId, node: NodeId) {
        *self.loads.entry(node).or_default() += 1;
        add(&mut self.coming, node, self.seen.bytes(shard));
    }
}

fn add(coming: &mut BTreeMap<NodeId, u64>, node: NodeId, bytes: u64) {
    let sum = coming.entry(node).or_default();
    *sum = sum.saturating_add(bytes);
}

/// What a replica of a shard takes while it comes to a disk that has none of it, in bytes.
fn need(seen: &FleetSeen, shard: ShardId) -> u64 {
    seen.bytes(shard).saturating_mul(COMING_FACTOR)
}
