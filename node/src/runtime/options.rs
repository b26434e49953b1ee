//! From flags to the options of the parts.

use std::time::Duration;

use flotilla_tls::Tls;

use crate::config::Config;
use crate::{host, transport};

/// What the consensus core holds beside the data of a command, and what one append may exceed its window by.
const APPENDS_PER_WINDOW: u64 = 8;

/// The options of each worker. What is bounded per node is shared among them.
pub(super) fn host(config: &Config) -> host::Options {
    let (memory, timing) = (&config.memory, &config.timing);
    let workers = memory.workers();
    let batch_bytes_max = config.limits.batch_bytes_max;
    host::Options {
        raft: flotilla_raft::Options {
            election_timeout_min: Duration::from_millis(timing.election_timeout_min_ms),
            election_timeout_max: Duration::from_millis(timing.election_timeout_max_ms),
            heartbeat_interval: Duration::from_millis(timing.heartbeat_interval_ms),
            silence_wait_max: silence_wait_max(timing.election_timeout_min_ms),
            idle_after: (timing.idle_after_ms > 0).then(|| Duration::from_millis(timing.idle_after_ms)),
            inflight_bytes_max: batch_bytes_max.0 * APPENDS_PER_WINDOW / 4,
            append_bytes_max: batch_bytes_max.0 / 4,
            proposal_bytes_max: batch_bytes_max.0 * 2,
            uncommitted_bytes_max: memory.proposed_bytes_max.0 * 2,
            ..flotilla_raft::Options::default()
        },
        entry_bytes_max: batch_bytes_max.as_usize(),
        proposed_bytes_max: memory.proposed_bytes_max.as_usize(),
        overlay_bytes_max: memory.overlay_bytes_max.as_usize() / workers,
        flush_bytes: memory.flush_bytes.as_usize(),
        flush_interval: Duration::from_millis(memory.flush_interval_ms),
        log_retain_bytes: memory.log_retain_bytes.0,
        deadline_max_ms: config.limits.deadline_max_ms,
        ..host::Options::default()
    }
}

/// Who knows that its leader is gone does not wait longer than who does not know.
fn silence_wait_max(election_timeout_min_ms: u64) -> Duration {
    flotilla_raft::Options::default().silence_wait_max.min(Duration::from_millis(election_timeout_min_ms))
}

/// The options of the transport.
pub(crate) fn transport(config: &Config, tls: Option<Tls>) -> transport::Options {
    transport::Options {
        frame_bytes_max: frame_bytes_max(config),
        queue_bytes_max: config.memory.peer_inbox_bytes_max.as_usize(),
        tls,
        snapshot_bytes_per_second: config.memory.snapshot_bytes_per_second.0,
        snapshots_sent_max: usize::from(config.memory.snapshots_max),
        snapshots_received_max: usize::from(config.memory.snapshots_max),
        ..transport::Options::default()
    }
}

/// The longest message on a client address, in bytes: a batch and what surrounds it.
#[must_use]
pub(crate) fn message_bytes_max(config: &Config) -> usize {
    config.limits.batch_bytes_max.as_usize() + flotilla_proto::limits::ENVELOPE_BYTES_MAX
}

/// The longest frame between nodes: at least one entry, which holds at most one batch.
fn frame_bytes_max(config: &Config) -> usize {
    2 * config.limits.batch_bytes_max.as_usize() + flotilla_proto::limits::ENVELOPE_BYTES_MAX
}

const _: () = assert!(APPENDS_PER_WINDOW >= 4);
