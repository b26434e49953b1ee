//! The fleet behind the router: finds it, and keeps an eye on who leads.
//!
//! A router starts whether or not anybody is there yet, and outlives the loss of all nodes. So the client is made in the
//! background, and what is missing is said at any time: the router is ready while each shard has a node that answers and says
//! that it leads it. A leader that was known a moment ago and is gone makes it not ready with the next survey.

use std::time::Duration;

use flotilla_client::Client;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::Config;

/// While something is missing, the nodes are asked this often, or as often as the user wants if that is more.
const SURVEY_INTERVAL_HURRIED: Duration = Duration::from_millis(100);

/// What the services see of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    clients: watch::Receiver<Option<Client>>,
    missing: watch::Receiver<Option<String>>,
    ready: watch::Receiver<bool>,
    deadline: Duration,
}

/// The other end: the task that looks for the fleet.
#[derive(Debug)]
pub(crate) struct Lookout {
    config: Config,
    clients: watch::Sender<Option<Client>>,
    missing: watch::Sender<Option<String>>,
    ready: watch::Sender<bool>,
}

impl Fleet {
    /// A fleet that nobody looks for yet.
    pub(crate) fn new(config: &Config) -> (Self, Lookout) {
        let (clients, clients_seen) = watch::channel(None);
        let (missing, missing_seen) = watch::channel(Some("no node has answered yet".to_owned()));
        let (ready, ready_seen) = watch::channel(false);
        let fleet = Self {
            clients: clients_seen,
            missing: missing_seen,
            ready: ready_seen,
            deadline: config.deadline(),
        };
        (fleet, Lookout { config: config.clone(), clients, missing, ready })
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

    /// How long a request may take at most.
    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
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
                leaderless.first().map(|shard| format!("no node that answers leads {shard}"))
            }
            None => match self.build().await {
                Ok(client) => {
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
            .connect_timeout(Duration::from_millis(self.config.connect_timeout_ms));
        builder.build().await
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
