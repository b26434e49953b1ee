//! What the router gives to its HTTP address.

use std::time::Instant;

use flotilla_client::dispatch::Target;
use flotilla_daemon::http::{Leader, Process, Report};

use crate::fleet::Fleet;
use crate::kv::KvService;

/// The router, as the HTTP address sees it.
#[derive(Debug)]
pub(crate) struct Face {
    fleet: Fleet,
    endpoints: Vec<String>,
    started: Instant,
}

impl Face {
    /// Of a router that looks for its fleet at these endpoints.
    pub(crate) fn new(fleet: Fleet, endpoints: Vec<String>) -> Self {
        Self { fleet, endpoints, started: Instant::now() }
    }
}

impl Process for Face {
    type Kv = KvService;

    fn kv(&self) -> Option<KvService> {
        Some(KvService(self.fleet.clone()))
    }

    async fn missing(&self) -> Option<String> {
        self.fleet.missing().borrow().clone()
    }

    async fn report(&self) -> Report {
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = Report::of_router(self.endpoints.clone(), uptime_ms);
        let Some(client) = self.fleet.client() else { return report };
        let leader = |shard| {
            let route = client.route(Target::Shard(shard))?;
            route.leader.map(|(node, _)| Leader { node, term: route.term.0 })
        };
        report.with_map(&client.map(), leader)
    }

    async fn metrics(&self) -> String {
        let client = self.fleet.client();
        let epoch = client.as_ref().map_or(0, |client| client.map().epoch.0);
        self.fleet.metrics().scrape(epoch, client.map_or(0, |client| client.redirects()))
    }
}
