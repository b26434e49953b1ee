//! What may be turned in the transport, each with its unit.

use std::time::Duration;

use flotilla_proto::limits;
use flotilla_tls::Tls;

use super::connection::Patience;

/// The limits and times of the transport.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest frame that this node sends or accepts, in bytes. A stream uses the smaller limit of its two nodes.
    pub frame_bytes_max: usize,
    /// How many bytes of messages may wait for one peer. Beyond that the newest are dropped.
    pub queue_bytes_max: usize,
    /// How many bytes of messages may wait for a peer to which no stream stands. Beyond that the oldest are dropped.
    pub queue_unconnected_bytes_max: usize,
    /// How long a connection and its handshake may take.
    pub connect_timeout: Duration,
    /// The wait before the second attempt to connect; it doubles with each further one …
    pub backoff_min: Duration,
    /// … up to this. Each wait is shortened by up to half, by chance, so that nodes do not knock in step.
    pub backoff_max: Duration,
    /// A connection on which nothing arrives is asked for a sign of life after this …
    pub keepalive_interval: Duration,
    /// … and broken when none comes for this long.
    pub keepalive_timeout: Duration,
    /// How many bytes of snapshots leave in a second, those of all streams together; 0: as many as go.
    pub snapshot_bytes_per_second: u64,
    /// How many snapshots are sent at once; further ones wait.
    pub snapshots_sent_max: usize,
    /// How many snapshots are received at once; further ones are refused and come again.
    pub snapshots_received_max: usize,
    /// The data of one chunk of a snapshot, in bytes.
    pub snapshot_chunk_bytes_max: usize,
    /// A snapshot stream on which nothing moves for this long is given up.
    pub snapshot_idle_timeout: Duration,
    /// With what connections to peers are encrypted; nothing: they are not.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            queue_bytes_max: 64 << 20,
            queue_unconnected_bytes_max: 64 << 10,
            connect_timeout: Duration::from_secs(2),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(2),
            snapshot_bytes_per_second: 0,
            snapshots_sent_max: 2,
            snapshots_received_max: 2,
            snapshot_chunk_bytes_max: 1 << 20,
            snapshot_idle_timeout: Duration::from_secs(20),
            tls: None,
        }
    }
}

impl Options {
    /// The longest message that gRPC lets through on a peer address, in bytes. Frames obey their own limit, which is
    /// smaller: an envelope more keeps a frame of exactly the limit from failing in a layer that knows nothing of it.
    pub(super) const fn message_bytes_max(&self) -> usize {
        self.frame_bytes_max + limits::ENVELOPE_BYTES_MAX
    }

    /// How long things may take on a connection.
    pub(super) const fn patience(&self) -> Patience {
        Patience {
            connect: self.connect_timeout,
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
        }
    }
}

/// The chunk of a default snapshot stream leaves room for its envelope in the smallest default frame.
const _: () = assert!((1 << 20) + limits::ENVELOPE_BYTES_MAX <= limits::FRAME_BYTES_MAX);
