//! The names: every family that a process of the house may show, with its kind, its labels and its help text.
//!
//! Names are public (the contract with dashboards and alerts): they are added, never changed. Base units only: seconds,
//! bytes, entries.

use super::buckets;

/// What a family counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples, in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// One family: all series of one name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// The labels of each of its series.
    pub labels: &'static [&'static str],
    /// What an operator reads beside it.
    pub help: &'static str,
}

impl Family {
    /// The family of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name == name)
    }
}

/// A histogram that nobody sees: its one sample calibrates the exporter's clock.
pub(super) const CALIBRATION: &str = "kv_metrics_calibration_seconds";

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    bounds: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Histogram(bounds), labels, help }
}

/// All families.
#[rustfmt::skip]
pub const FAMILIES: &[Family] = &[
    // Of every process.
    gauge("kv_build_info", &["version", "commit"], "Always 1; the labels say what runs."),
    gauge("kv_process_uptime_seconds", &[], "Seconds since the process started."),
    gauge("kv_process_resident_bytes", &[], "Memory of the process that is not swapped out, in bytes."),
    histogram(CALIBRATION, buckets::SECONDS, &[], "Never shown."),

    // Of every process with a certificate.
    gauge("kv_tls_certificate_expires_seconds", &[], "When the certificate of this process expires, in seconds since 1970."),
    counter("kv_tls_refused_total", &["port", "reason"], "Connections that were not let in, by address and reason."),
    counter("kv_tls_reloads_total", &["outcome"], "Changed certificate files: renewed, or refused while the old ones go on."),

    // Per shard, on each node that hosts a replica of it.
    gauge("kv_shard_leader", &["shard"], "1 if this node's replica leads the shard, else 0."),
    gauge("kv_shard_term", &["shard"], "The term of this node's replica."),
    gauge("kv_shard_commit_index", &["shard"], "The newest entry that this node's replica knows to be committed."),
    gauge("kv_shard_applied_index", &["shard"], "The newest entry that this node's replica has applied."),
    gauge("kv_shard_durable_index", &["shard"], "The newest entry whose effect is in this node's base."),
    counter("kv_shard_ops_total", &["shard", "op", "outcome"], "Requests of clients that this node took, by what became of them."),
    counter("kv_shard_proposals_total", &["shard"], "Log entries that this node proposed as leader; one carries many operations."),
    histogram("kv_shard_commit_seconds", buckets::SECONDS, &["shard"], "From the proposal of an entry to its application on the leader, in seconds."),
    counter("kv_shard_elections_total", &["shard"], "Elections that this node's replica won."),
    counter(
        "kv_shard_read_batches_total",
        &["shard", "confirmed"],
        "Batches of linearizable reads that the leader here confirmed: by its lease at once, or by a round of heartbeats.",
    ),
    counter("kv_shard_handovers_total", &["shard"], "How often its leader here tried to hand over because the log made no progress."),
    counter("kv_shard_campaigns_total", &["shard"], "Elections in which this node's replica stood, won or not."),
    gauge("kv_shard_replica_lag_entries", &["shard", "replica"], "On the leader: how many entries this replica's log lacks."),
    counter("kv_shard_snapshots_total", &["shard", "direction"], "Snapshots sent to followers, and received and installed."),
    gauge("kv_shard_keys", &["shard"], "Keys in this node's base; a flush behind."),
    gauge("kv_shard_bytes", &["shard"], "Keys and values in this node's base, in bytes; a flush behind."),
    gauge("kv_shard_slots", &["shard"], "Slots that the shard owns, as this node's replica has applied."),
    gauge("kv_shard_overlay_bytes", &["shard"], "Writes of the shard that are in memory and not in the base, in bytes."),
    gauge(
        "kv_shard_quarantined",
        &["shard", "segment", "offset"],
        "1 while the shard is out of service on this node: its log is damaged there.",
    ),

    // Per node.
    histogram("kv_wal_fsync_seconds", buckets::SECONDS, &[], "How long the log's syncs took, in seconds."),
    histogram("kv_wal_batch_bytes", buckets::BYTES, &[], "Size of each write of the log, in bytes."),
    histogram("kv_wal_batch_shards", buckets::COUNTS, &[], "How many shards each write of the log was for."),
    gauge("kv_wal_segments", &[], "Segment files of the log, without spares."),
    gauge("kv_wal_bytes", &[], "Length of the log's segment files, in bytes."),
    gauge("kv_wal_live_bytes", &[], "What of the log's bytes is still needed."),
    gauge("kv_disk_free_bytes", &[], "What the node may still fill of the file system that holds its base, in bytes."),
    gauge("kv_disk_total_bytes", &[], "The size of that file system, in bytes."),
    gauge("kv_wal_queue_batches", &[], "Batches of workers that wait for the log."),
    counter("kv_peer_bytes_total", &["peer", "direction"], "Bytes of frames to and from each peer."),
    counter("kv_peer_frames_total", &["peer", "direction"], "Frames to and from each peer."),
    counter("kv_peer_dropped_messages_total", &["peer"], "Messages to a peer that were dropped: its queue was full."),
    gauge("kv_peer_connected", &["peer"], "1 if the stream to the peer stands, else 0."),
    counter("kv_snapshot_bytes_total", &["direction"], "Bytes of snapshots sent and received."),
    gauge("kv_snapshot_streams", &["direction"], "Snapshots that are being sent and received now."),
    gauge("kv_snapshots_waiting", &[], "Snapshots that wait to be sent until another has ended."),
    gauge("kv_inbox_bytes", &[], "Requests and peers' messages that wait for the workers, in bytes."),
    gauge("kv_overlay_bytes", &[], "Writes that are in memory and not in the base, in bytes."),
    gauge("kv_requests_waiting", &[], "Questions to the workers that are not answered yet."),
    gauge("kv_reads_queued", &[], "Reads that wait for the reader pool."),
    gauge("kv_flush_queue_jobs", &[], "Jobs that wait for the flusher."),
    histogram("kv_flush_seconds", buckets::SECONDS, &[], "How long writing an overlay into the base took, in seconds."),
    gauge("kv_replicas_asleep", &[], "Replicas here that sleep: they send nothing and own no timer, the beats of their nodes speak for them."),
    counter("kv_sleeps_total", &[], "How often a replica here fell asleep."),
    counter("kv_wakeups_total", &["why"], "How often a sleeping replica here awoke, and why."),
    counter("kv_unplaced_ops_total", &["op", "outcome"], "Requests for no shard, or for one without a replica on this node, by what became of them."),
    gauge("kv_map_epoch", &[], "The epoch of the cluster map that this node knows."),

    // Of a router.
    counter("kv_router_requests_total", &["op", "outcome"], "Requests of clients, by what became of them."),
    counter("kv_router_redirects_total", &[], "Answers of nodes that named another leader."),
    histogram("kv_router_request_seconds", buckets::SECONDS, &[], "From a request's arrival to its answer, in seconds."),
    gauge("kv_router_epoch", &[], "The epoch of the cluster map that the router knows."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_customs_of_prometheus() {
        let mut seen = BTreeSet::new();
        for family in FAMILIES {
            let name = family.name;
            assert!(seen.insert(name), "{name} stands there twice");
            assert!(
                name.starts_with("kv_") && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_')),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                family.kind == Kind::Counter,
                "{name}: counters, and only they"
            );
            assert!(
                family.help.ends_with('.') && !family.help.contains(['\n', '\\']),
                "{name}: {:?}",
                family.help
            );
            if let Kind::Histogram(bounds) = family.kind {
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{name}: {bounds:?}");
            }
        }
    }
}
