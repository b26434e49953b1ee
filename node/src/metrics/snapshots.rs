//! What snapshots take of the network, per node.

use flotilla_daemon::metrics::Scope;
use metrics::{Counter, Gauge};

use crate::transport::SnapshotCounts;

/// The series of all snapshot streams of a node together.
#[derive(Debug)]
pub(super) struct SnapshotMetrics {
    sent_bytes: Counter,
    received_bytes: Counter,
    sending: Gauge,
    receiving: Gauge,
    waiting: Gauge,
}

impl SnapshotMetrics {
    pub(super) fn new(scope: &Scope) -> Self {
        let direction = |direction: &str| [("direction", direction.to_string())];
        let bytes = |way| scope.counter("kv_snapshot_bytes_total", &direction(way));
        let streams = |way| scope.gauge("kv_snapshot_streams", &direction(way));
        Self {
            sent_bytes: bytes("sent"),
            received_bytes: bytes("received"),
            sending: streams("sent"),
            receiving: streams("received"),
            waiting: scope.gauge("kv_snapshots_waiting", &[]),
        }
    }

    pub(super) fn show(&self, counts: SnapshotCounts) {
        self.sent_bytes.absolute(counts.sent_bytes);
        self.received_bytes.absolute(counts.received_bytes);
        self.sending.set(counts.sending as f64);
        self.receiving.set(counts.receiving as f64);
        self.waiting.set(counts.waiting as f64);
    }
}
