//! The limits of a worker, each named with its unit.

use std::time::Duration;

/// What may be turned in a worker.
#[derive(Clone, Debug)]
pub struct Options {
    /// The consensus core of every replica.
    pub raft: flotilla_raft::Options,
    /// The greatest encoded command, in bytes: operations that are ready at once are split into entries of this size.
    pub entry_bytes_max: usize,
    /// How many bytes of writes may be on their way from proposal to reply per shard; beyond that they are refused.
    pub proposed_bytes_max: usize,
    /// How many reads may wait per shard; beyond that they are refused.
    pub reads_waiting_max: usize,
    /// How many bytes the overlays of this worker may hold; beyond that writes are refused until the flusher caught up.
    pub overlay_bytes_max: usize,
    /// The overlay of one shard is flushed when it holds this many bytes.
    pub flush_bytes: usize,
    /// The overlay of one shard is flushed when its oldest write is this old.
    pub flush_interval: Duration,
    /// How many bytes of a shard's log are kept for followers although the base holds their effect.
    pub log_retain_bytes: u64,
    /// How many bytes of log are kept beyond that for followers that are being sent a snapshot.
    pub log_pinned_bytes_max: u64,
    /// How many bytes of committed entries may wait to be applied before appends are dropped.
    pub backlog_bytes_max: u64,
    /// How many bytes the remembered results of one shard may take; beyond that writes are refused until clients
    /// acknowledge their answers or the deadlines of their requests pass.
    pub remembered_bytes_max: usize,
    /// How many of these bytes the results of one client may take; beyond that this client alone is refused. What is on its
    /// way when the bound is reached comes on top, as for the whole shard.
    pub remembered_client_bytes_max: usize,
    /// For how long writes are held at most while the log is busy. Longer than a good disk's sync; short enough that the followers
    /// of a stalled log's leader get what they need to take over.
    pub hold_max: Duration,
    /// For how long writes are held at most while the last proposals of the worker are not committed. Longer than a round between
    /// machines of one place; a trifle between continents, where a commit takes a hundred milliseconds.
    pub round_wait_max: Duration,
    /// A log that has made nothing stable for this long, while a batch waits for it, is stalled: leaders here hand over to
    /// followers whose logs are ahead.
    pub log_stall: Duration,
    /// How far ahead of shard time a request's deadline may lie, in milliseconds.
    pub deadline_max_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            raft: flotilla_raft::Options::default(),
            entry_bytes_max: 4 << 20,
            proposed_bytes_max: 32 << 20,
            reads_waiting_max: 16_384,
            overlay_bytes_max: 256 << 20,
            flush_bytes: 16 << 20,
            flush_interval: Duration::from_secs(5),
            log_retain_bytes: 4 << 20,
            log_pinned_bytes_max: 64 << 20,
            backlog_bytes_max: 64 << 20,
            remembered_bytes_max: 64 << 20,
            remembered_client_bytes_max: 8 << 20,
            hold_max: Duration::from_millis(20),
            round_wait_max: Duration::from_millis(2),
            log_stall: Duration::from_millis(500),
            deadline_max_ms: 60_000,
        }
    }
}
