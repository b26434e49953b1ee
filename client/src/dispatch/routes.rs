//! Who leads which shard, as far as all operations of a client have learned.
//!
//! The map says which shard owns a slot and where its replicas live; answers and redirects say who leads. Of two reports
//! the one of the higher (epoch, term) is kept. All of it is hints: a wrong one costs a hop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flotilla_topology::{ClusterMap, Epoch, Route, ShardId, Slot};

/// How long an address that failed is asked last. About as long as a restart takes.
const SHUNNED_FOR: Duration = Duration::from_secs(2);

/// Of so many addresses it is remembered at once that they failed.
const SHUNNED_MAX: usize = 1024;

/// Whom an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The shard that owns this slot, whichever it is.
    Slot(Slot),
    /// This shard.
    Shard(ShardId),
    /// Any node at all: what the endpoint forwards, or answers itself.
    Anyone,
}

/// The route cache.
#[derive(Clone, Debug)]
pub struct Routes {
    endpoints: Vec<Arc<str>>,
    map: Option<Arc<ClusterMap>>,
    leaders: BTreeMap<ShardId, Route>,
    /// Slots that a redirect placed otherwise than the map does; until the map is of that epoch.
    moved: BTreeMap<Slot, (Epoch, ShardId)>,
    /// The greatest epoch that anyone spoke of.
    newest: Epoch,
    /// Until when these addresses are asked only if there is nobody else. Only some of those that were ever asked.
    shunned: BTreeMap<Arc<str>, Duration>,
    /// Counts what changed in who owns and leads what.
    changes: u64,
}

impl Routes {
    /// Knows nothing but where to begin: addresses, `host:port`.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Arc::from).collect(),
            map: None,
            leaders: BTreeMap::new(),
            moved: BTreeMap::new(),
            newest: Epoch::default(),
            shunned: BTreeMap::new(),
            changes: 0,
        }
    }

    /// Differs after every change of what is said here of owners and leaders, so that copies can be told to be old.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The newest map seen.
    #[must_use]
    pub const fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.map.as_ref()
    }

    /// Takes a map, if it is newer than the one here. The first one says which fleet this is; the map of another one is not
    /// taken, should a foreign node have come to live at a known address.
    pub fn set_map(&mut self, map: ClusterMap) {
        let older = |present: &Arc<ClusterMap>| present.epoch >= map.epoch || present.cluster != map.cluster;
        if self.map.as_ref().is_some_and(older) {
            return;
        }
        self.newest = self.newest.max(map.epoch);
        self.moved.retain(|_, (epoch, _)| *epoch > map.epoch);
        self.leaders.retain(|shard, _| map.shards.contains_key(shard));
        self.map = Some(Arc::new(map));
        self.changes += 1;
    }

    /// Whether someone spoke of a newer map than the one here.
    #[must_use]
    pub fn map_is_old(&self) -> bool {
        self.map.as_ref().is_none_or(|map| map.epoch < self.newest)
    }

    /// The shard of a target, if it is known.
    #[must_use]
    pub fn shard(&self, target: Target) -> Option<ShardId> {
        match target {
            Target::Shard(shard) => Some(shard),
            Target::Anyone => None,
            Target::Slot(slot) => match self.moved.get(&slot) {
                Some((_, shard)) => Some(*shard),
                None => self.map.as_ref().map(|map| map.shard_of(slot)),
            },
        }
    }

    /// The newest report about the leader of a target's shard.
    #[must_use]
    pub fn route(&self, target: Target) -> Option<&Route> {
        self.leaders.get(&self.shard(target)?)
    }

    /// The address of the leader of a target, if one is known.
    #[must_use]
    pub fn leader(&self, target: Target) -> Option<&str> {
        self.route(target)?.leader.as_ref().map(|(_, address)| address.as_str())
    }

    /// Whom to ask while no leader is known: the replicas of the shard in the order in which they should lead it, then the
    /// other nodes, then the endpoints; each address once.
    #[must_use]
    pub fn candidates(&self, target: Target) -> Vec<Arc<str>> {
        let Some(map) = self.map.as_ref().filter(|_| target != Target::Anyone) else {
            return self.endpoints.clone();
        };
        let replicas = self.shard(target).into_iter().flat_map(|shard| map.preference(shard));
        let replicas = replicas.filter_map(|node| map.nodes.get(&node));
        let addresses = replicas.chain(map.nodes.values()).map(|info| info.client_addr.as_str());
        let mut seen = BTreeSet::new();
        let addresses = addresses.chain(self.endpoints.iter().map(|endpoint| endpoint.as_ref()));
        addresses.filter(|address| seen.insert(*address)).map(Arc::from).collect()
    }

    /// This address has just failed someone: others are asked before it for a while.
    pub fn shun(&mut self, now: Duration, address: &str) {
        self.shunned.retain(|_, until| *until > now);
        if self.shunned.len() < SHUNNED_MAX {
            self.shunned.insert(Arc::from(address), now + SHUNNED_FOR);
        }
    }

    /// Whether others are to be asked before this address.
    #[must_use]
    pub fn is_shunned(&self, now: Duration, address: &str) -> bool {
        self.shunned.get(address).is_some_and(|until| *until > now)
    }

    /// Takes a report: a redirect, or the stamp of an answer from a leader. Returns whether it was news.
    pub fn learn(&mut self, route: &Route) -> bool {
        self.newest = self.newest.max(route.epoch);
        let map_epoch = self.map.as_ref().map_or(Epoch::default(), |map| map.epoch);
        let placed = self.moved.get(&route.slot).map_or(map_epoch, |(epoch, _)| *epoch);
        if route.epoch > placed {
            self.moved.insert(route.slot, (route.epoch, route.shard));
            self.changes += 1;
        }
        match self.leaders.get(&route.shard) {
            Some(known) if !route.supersedes(known) => false,
            _ => {
                self.leaders.insert(route.shard, route.clone());
                self.changes += 1;
                true
            }
        }
    }

    /// The node at this address did not answer as a leader: forget that it leads the target's shard. Its term stays known, so that
    /// an older report does not come back in its place.
    pub fn doubt(&mut self, target: Target, address: &str) {
        let route = self.shard(target).and_then(|shard| self.leaders.get_mut(&shard));
        if let Some(route) = route
            && route.leader.as_ref().is_some_and(|(_, leader)| leader == address)
        {
            route.leader = None;
            self.changes += 1;
        }
    }
}

#[cfg(test)]
mod tests;
