//! How connections of other nodes are accepted: here and nowhere else.

use std::future::Future;

use flotilla_daemon::tls::{Door, Gate};
use flotilla_proto::v1::raft_server::RaftServer;
use tokio::net::TcpListener;
use tonic::transport::Server;

use super::connection::{HTTP2_FRAME_BYTES_MAX, WINDOW_BYTES};
use super::options::Options;
use super::service::PeerService;

/// Serves the peer address, to whom the gate lets in, until `shutdown` ends, then until all streams have ended: shut the [`Transport`] down too.
///
/// # Errors
/// The listener failed.
///
/// [`Transport`]: super::Transport
pub async fn serve(
    listener: TcpListener,
    gate: &Gate,
    service: PeerService,
    options: &Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let limit = options.message_bytes_max();
    let raft = RaftServer::new(service).max_decoding_message_size(limit).max_encoding_message_size(limit);
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES_MAX)
        .http2_keepalive_interval(Some(options.keepalive_interval))
        .http2_keepalive_timeout(Some(options.keepalive_timeout))
        .add_service(raft)
        .serve_with_incoming_shutdown(gate.arrivals(listener, Door::Peer, |stream| stream), shutdown)
        .await
}
