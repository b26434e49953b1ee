//! What a router counts.
//!
//! Handles are kept: to count is to find a place in an array and to add one.

use std::time::Instant;

use flotilla_daemon::metrics::{ProcessMetrics, Registry, Scope};
use flotilla_proto::status;
use metrics::{Counter, Gauge, Histogram};
use tonic::{Code, Status};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Get,
    Put,
    Delete,
    Cas,
    Txn,
    Scan,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    NotFound,
    Conflict,
    Redirected,
    /// Surely not executed.
    Refused,
    /// Nobody knows.
    Unknown,
    Invalid,
}

const OPS: [&str; 6] = ["get", "put", "delete", "cas", "txn", "scan"];
const OUTCOMES: [&str; 7] = ["ok", "not_found", "conflict", "redirected", "refused", "unknown", "invalid"];

const _: () = assert!(Op::Scan as usize == OPS.len() - 1);
const _: () = assert!(Outcome::Invalid as usize == OUTCOMES.len() - 1);

/// All metrics of a router.
#[derive(Debug)]
pub(crate) struct RouterMetrics {
    registry: Registry,
    process: ProcessMetrics,
    _scope: Scope,
    requests: [[Counter; OUTCOMES.len()]; OPS.len()],
    seconds: Histogram,
    redirects: Counter,
    epoch: Gauge,
}

impl RouterMetrics {
    /// Takes up to 200 ms: not for a thread that serves.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let scope = registry.scope();
        let counter = |op: &str, outcome: &str| {
            let labels = [("op", op.to_owned()), ("outcome", outcome.to_owned())];
            scope.counter("kv_router_requests_total", &labels)
        };
        Self {
            process: ProcessMetrics::new(&registry, flotilla_daemon::VERSION, flotilla_daemon::COMMIT),
            requests: OPS.map(|op| OUTCOMES.map(|outcome| counter(op, outcome))),
            seconds: scope.histogram("kv_router_request_seconds", &[]),
            redirects: scope.counter("kv_router_redirects_total", &[]),
            epoch: scope.gauge("kv_router_epoch", &[]),
            registry,
            _scope: scope,
        }
    }

    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A request is answered.
    pub(crate) fn answered(&self, op: Op, outcome: Outcome, began: Instant) {
        self.requests[op as usize][outcome as usize].increment(1);
        self.seconds.record(began.elapsed().as_secs_f64());
    }

    /// The text of a scrape.
    pub(crate) fn scrape(&self, epoch: u64, redirects: u64) -> String {
        self.process.refresh();
        self.epoch.set(epoch as f64);
        self.redirects.absolute(redirects);
        self.registry.render()
    }
}

impl From<&Status> for Outcome {
    fn from(failure: &Status) -> Self {
        match (failure.code(), status::definite(failure)) {
            (Code::InvalidArgument, true) => Self::Invalid,
            (_, true) => Self::Refused,
            (_, false) => Self::Unknown,
        }
    }
}
