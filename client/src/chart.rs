//! The route cache as all operations of a client share it: the deterministic [`Routes`] behind a lock, and in front of it the
//! ways that the hot path takes without that lock.
//!
//! A way is a copy of what `Routes` says of a slot. It is made and dropped only under the lock of `Routes`, and all ways are
//! dropped whenever `Routes` changes: so no copy outlives its original. Changes are rare (a leader falls, slots move), lookups
//! are not.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use flotilla_raft::Term;
use flotilla_topology::{ShardId, Slot};

use crate::dispatch::{Routes, Target};

/// Who leads the shard of a slot, as far as is known.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) shard: ShardId,
    pub(crate) term: Term,
    pub(crate) address: Arc<str>,
}

/// The route cache.
#[derive(Debug)]
pub(crate) struct Chart {
    routes: Mutex<Routes>,
    /// At most one for each slot.
    ways: DashMap<Slot, Way>,
}

impl Chart {
    pub(crate) fn new(routes: Routes) -> Self {
        Self { routes: Mutex::new(routes), ways: DashMap::new() }
    }

    /// The way to the leader of a slot's shard; nothing, if none is known.
    pub(crate) fn way(&self, slot: Slot) -> Option<Way> {
        if let Some(way) = self.ways.get(&slot) {
            return Some(way.clone());
        }
        self.read(|routes| {
            let target = Target::Slot(slot);
            let (shard, route) = (routes.shard(target)?, routes.route(target)?);
            let address = Arc::from(routes.leader(target)?);
            let way = Way { shard, term: route.term, address };
            self.ways.insert(slot, way.clone());
            Some(way)
        })
    }

    /// Looks at the routes.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Routes) -> T) -> T {
        look(&self.routes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the routes something.
    pub(crate) fn change<T>(&self, tell: impl FnOnce(&mut Routes) -> T) -> T {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = routes.changes();
        let told = tell(&mut routes);
        if routes.changes() != before {
            self.ways.clear();
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_topology::{Epoch, NodeId, NodeInfo, Route, plan_initial};

    #[test]
    fn a_way_never_outlives_what_the_routes_say() {
        let info = NodeInfo { client_addr: "a:1".into(), peer_addr: "p:1".into(), http_addr: "h:1".into() };
        let map = plan_initial(1, [(NodeId(1), info)].into(), 1, 1).unwrap();
        let chart = Chart::new(Routes::new(vec!["e:1".into()]));
        let slot = Slot::of(b"ship");
        assert!(chart.way(slot).is_none(), "without a map");
        chart.change(|routes| routes.set_map(map));
        assert!(chart.way(slot).is_none(), "without a leader");

        let leader = |address: &str| Some((NodeId(1), address.to_owned()));
        let route = |term, address| Route {
            slot,
            shard: ShardId(1),
            epoch: Epoch(1),
            term: Term(term),
            leader: leader(address),
        };
        chart.change(|routes| routes.learn(&route(3, "a:1")));
        assert_eq!(chart.way(slot).map(|way| (way.term, way.address)), Some((Term(3), "a:1".into())));
        chart.change(|routes| routes.learn(&route(4, "b:1")));
        assert_eq!(chart.way(slot).map(|way| (way.term, way.address)), Some((Term(4), "b:1".into())));
        chart.change(|routes| routes.doubt(Target::Slot(slot), "b:1"));
        assert!(chart.way(slot).is_none());
    }
}
