//! Metrics: what a process counts, and the text in which Prometheus reads it.
//!
//! A [`Registry`] holds any number of [`Scope`]s. A scope hands out the handles of the `metrics` crate; a handle is kept by
//! whoever counts, and costs an atomic addition. When a scope is dropped its series vanish from the next scrape: so each
//! replica, each peer and each leadership has a scope of its own, and nothing ever shows the last value of what is gone.
//!
//! ```text
//!   process scope ─┐
//!   shard 1 ───────┼─ each a recorder of metrics-exporter-prometheus ──► render: families merged, HELP and TYPE once
//!   shard 2 ───────┘
//! ```
//!
//! Every name stands in one table, [`FAMILIES`], with its kind, its labels and its help text; a handle for a name that is not
//! there, or with other labels, is a bug and panics where it is asked for.
//!
//! A histogram keeps its samples one by one until somebody looks. [`Registry::upkeep`] puts them into their buckets, so that
//! memory stays bounded while nobody scrapes; [`keep_up`] does it once a second.
//!
//! What it does not do: it serves nothing (the HTTP face does), and it installs no global recorder, so that several nodes
//! can live in one process of a test, each with numbers of its own.

mod buckets;
mod exposition;
mod families;
mod process;
mod scope;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::time::MissedTickBehavior;

pub use families::{FAMILIES, Family, Kind};
pub use process::ProcessMetrics;
pub use scope::Scope;

use exposition::Exposition;

/// How often samples are put into their buckets: at 100,000 samples a second they take a few megabytes meanwhile.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// All metrics of a process, or of one of its nodes. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Registry {
    scopes: Arc<Mutex<Vec<Weak<PrometheusRecorder>>>>,
}

impl Registry {
    /// A registry without scopes.
    ///
    /// The first of a process takes up to 200 ms: the exporter calibrates its clock with the first sample, and that must
    /// not happen on a thread that serves.
    #[must_use]
    pub fn new() -> Self {
        let registry = Self { scopes: Arc::default() };
        registry.scope().histogram(families::CALIBRATION, &[]).record(0.0);
        registry
    }

    /// A scope without series.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let scope = Scope::new();
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.retain(|scope| scope.strong_count() > 0);
        scopes.push(scope.downgrade());
        scope
    }

    /// The text of a scrape: the series of all scopes that live, in the order of their names.
    #[must_use]
    pub fn render(&self) -> String {
        let mut exposition = Exposition::default();
        for recorder in self.living() {
            exposition.add(&recorder.handle().render());
        }
        exposition.text()
    }

    /// Puts the samples of all histograms into their buckets.
    pub fn upkeep(&self) {
        for recorder in self.living() {
            recorder.handle().run_upkeep();
        }
    }

    fn living(&self) -> Vec<Arc<PrometheusRecorder>> {
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the memory of the histograms bounded. Runs until it is dropped.
pub async fn keep_up(registry: Registry) {
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        registry.upkeep();
    }
}
