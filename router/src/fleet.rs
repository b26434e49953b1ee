//! The fleet behind the router: finds it, and keeps an eye on who leads.
//!
//! A router starts whether or not anybody is there yet, and outlives the loss of all nodes. So the client is made in the
//! background, and what is missing is said at any time: the router is ready while each shard has a node that answers and says
//! that it leads it. A leader that was known a moment ago and is gone makes it not ready with the next survey.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flotilla_client::Client;
use flotilla_tls::Tls;
use flotilla_topology::ClusterMap;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::Config;
use crate::metrics::{Op, Outcome, RouterMetrics};
use crate::room::Room;

/// While something is missing, the nodes are asked this often, or as often as the user wants if that is more.
const SURVEY_INTERVAL_HURRIED: Duration = Duration::from_millis(100);

/// What the services see of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    clients: watch::Receiver<Option<Client>>,
    missing: watch::Receiver<Option<String>>,
    ready: watch::Receiver<bool>,
    maps: watch::Receiver<Option<Arc<ClusterMap>>>,
    ending: watch::Receiver<bool>,
    room: Room,
    metrics: Arc<RouterMetrics>,
    deadline: Duration,
    stream_bytes_max: usize,
}

/// The other end: the task that looks for the fleet.
#[derive(Debug)]
pub(crate) struct Lookout {
    config: Config,
    tls: Option<Tls>,
    clients: watch::Sender<Option<Client>>,
    missing: watch::Sender<Option<String>>,
    ready: watch::Sender<bool>,
    maps: watch::Sender<Option<Arc<ClusterMap>>>,
}

impl Fleet {
    /// A fleet that nobody looks for yet. `ending` turns true when the router shall end.
    pub(crate) fn new(
        config: &Config,
        tls: Option<Tls>,
        metrics: RouterMetrics,
        ending: watch::Receiver<bool>,
    ) -> (Self, Lookout) {
        let (clients, clients_seen) = watch::channel(None);
        let (missing, missing_seen) = watch::channel(Some("no node has answered yet".to_owned()));
        let (ready, ready_seen) = watch::channel(false);
        let (maps, maps_seen) = watch::channel(None);
        let fleet = Self {
            clients: clients_seen,
            maps: maps_seen,
            ending,
            room: Room::new(config.inflight_bytes_max.as_usize()),
            metrics: Arc::new(metrics),
            stream_bytes_max: config.stream_bytes_max.as_usize(),
            missing: missing_seen,
            ready: ready_seen,
            deadline: config.deadline(),
        };
        (fleet, Lookout { config: config.clone(), tls, clients, missing, ready, maps })
    }

    /// The client, once some node has told it the map.
    pub(crate) fn client(&self) -> Option<Client> {
        self.clients.borrow().clone()
    }

    /// What is missing; nothing: the router is ready.
    pub(crate) fn missing(&self) -> watch::Receiver<Option<String>> {
        self.missing.clone()
    }

    /// Whether the router is ready.
    pub(crate) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// The maps that the router has seen, the newest first.
    pub(crate) fn maps(&self) -> watch::Receiver<Option<Arc<ClusterMap>>> {
        self.maps.clone()
    }

    /// Ends when the router shall end: streams without an end of their own end then.
    pub(crate) fn ending(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ending = self.ending.clone();
        // An error says that the router itself is gone, which is as good.
        async move { drop(ending.wait_for(|ended| *ended).await) }
    }

    /// How much may be under way.
    pub(crate) const fn room(&self) -> &Room {
        &self.room
    }

    /// How many bytes of one pipeline may be under way before more is read of it.
    pub(crate) const fn stream_bytes_max(&self) -> usize {
        self.stream_bytes_max
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &RouterMetrics {
        &self.metrics
    }

    /// Begins to count a request.
    pub(crate) fn counting(&self, op: Op) -> Counting<'_> {
        Counting { metrics: &self.metrics, op, began: Instant::now() }
    }

    /// How long a request may take at most.
    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }
}

/// A request that is counted when it is answered.
pub(crate) struct Counting<'a> {
    metrics: &'a RouterMetrics,
    op: Op,
    began: Instant,
}

impl Counting<'_> {
    pub(crate) fn answered(self, outcome: &Outcome) {
        self.metrics.answered(self.op, *outcome, self.began);
    }
}

impl Lookout {
    /// Looks for the fleet until `ending` turns true.
    pub(crate) async fn run(self, mut ending: watch::Receiver<bool>) {
        let mut ended = ending.clone();
        tokio::select! {
            () = self.look(&mut ending) => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
        self.tell(Some("the router is shutting down".to_owned()));
    }

    async fn look(&self, ending: &mut watch::Receiver<bool>) {
        loop {
            let pause = match self.survey().await {
                None => self.config.survey_interval(),
                Some(_) => self.config.survey_interval().min(SURVEY_INTERVAL_HURRIED),
            };
            // Waits for the end; the time is how long the result of the survey is good for.
            if timeout(pause, ending.wait_for(|ended| *ended)).await.is_ok() {
                return;
            }
        }
    }

    /// Asks once, and tells what is missing.
    async fn survey(&self) -> Option<String> {
        let known = self.clients.borrow().clone();
        let missing = match known {
            Some(client) => {
                let leaderless = client.find_leaders().await;
                self.show(client.map());
                leaderless.first().map(|shard| format!("no node that answers leads {shard}"))
            }
            None => match self.build().await {
                Ok(client) => {
                    self.show(client.map());
                    self.clients.send_replace(Some(client));
                    Some("the leaders are not known yet".to_owned())
                }
                Err(error) => Some(error.to_string()),
            },
        };
        self.tell(missing.clone());
        missing
    }

    async fn build(&self) -> Result<Client, flotilla_client::Error> {
        let builder = Client::builder(self.config.nodes.iter().map(ToString::to_string));
        let builder = builder
            .deadline(self.config.deadline())
            .attempt_timeout(Duration::from_millis(self.config.attempt_timeout_ms))
            .connect_timeout(Duration::from_millis(self.config.connect_timeout_ms))
            .tls(self.tls.clone());
        builder.build().await
    }

    /// Shows a map to who watches, if it is newer than the last.
    fn show(&self, map: Arc<ClusterMap>) {
        self.maps.send_if_modified(|present| {
            let newer = present.as_ref().is_none_or(|present| present.epoch < map.epoch);
            if newer {
                *present = Some(map);
            }
            newer
        });
    }

    fn tell(&self, missing: Option<String>) {
        let now = missing.is_none();
        self.ready.send_if_modified(|ready| std::mem::replace(ready, now) != now);
        self.missing.send_if_modified(|present| {
            match (&present, &missing) {
                (Some(_), None) => info!("ready"),
                (None, Some(reason)) => warn!(reason, "not ready"),
                _ => {}
            }
            let changed = *present != missing;
            *present = missing;
            changed
        });
    }
}
