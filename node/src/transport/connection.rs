//! How a connection to another node's peer address is made: here and nowhere else.

use std::time::Duration;

use flotilla_tls::{Tls, Whom};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How many bytes may be under way unread on a stream, and on a connection: HTTP/2 begins with 64 KiB, which a single
/// append of a few writes would have to wait for.
pub(super) const WINDOW_BYTES: u32 = 8 << 20;

/// The largest HTTP/2 frame, in bytes: a frame of ours is cut into pieces of this size.
pub(super) const HTTP2_FRAME_BYTES_MAX: u32 = 256 << 10;

/// Why a node was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// What stands there is no address.
    #[error("{address:?} is no address")]
    Address {
        /// What stands there.
        address: String,
    },
    /// Nobody answers, or not as a node does.
    #[error("{address}: {}", innermost(.source))]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What the network says.
        source: tonic::transport::Error,
    },
}

/// How long things may take on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until it stands.
    pub(crate) connect: Duration,
    /// Without anything arriving until it is asked for a sign of life.
    pub(crate) keepalive_interval: Duration,
    /// Until that sign comes.
    pub(crate) keepalive_timeout: Duration,
}

/// Connects to `host:port`, encrypted where there are credentials. A host name is resolved anew at every call.
pub(crate) async fn connect(
    address: &str,
    whom: Whom,
    patience: Patience,
    tls: Option<&Tls>,
) -> Result<Channel, ConnectError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|_| ConnectError::Address { address: address.to_string() })?;
    let endpoint = endpoint
        .connect_timeout(patience.connect)
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES_MAX)
        .http2_keep_alive_interval(patience.keepalive_interval)
        .keep_alive_timeout(patience.keepalive_timeout)
        .keep_alive_while_idle(true);
    let connected = flotilla_tls::connect(endpoint, tls, whom).await;
    connected.map_err(|source| ConnectError::Unreachable { address: address.to_string(), source })
}

/// Says of a failed call what an operator can do with. What a server that wants TLS does to a connection in clear looks different
/// each time.
pub(crate) async fn explained(address: &str, status: Status, tls: Option<&Tls>) -> Status {
    let is_answer = !matches!(status.code(), Code::Unknown | Code::Unavailable | Code::Internal);
    if !is_answer && tls.is_none() && flotilla_tls::wants_tls(address).await {
        return Status::unavailable("it wants TLS, and this node has no --tls-cert, --tls-key and --tls-ca");
    }
    if status.message().is_empty() {
        return Status::new(status.code(), status.code().description());
    }
    status
}

/// The last of a chain of causes: the layers above only say that something failed.
fn innermost(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
