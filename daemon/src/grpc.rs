//! The client address: `Kv`, `Cluster`, health and reflection on one listener.

use std::future::Future;
use std::time::Duration;

use flotilla_proto::FILE_DESCRIPTOR_SET;
use flotilla_proto::v1::cluster_server::{self, Cluster, ClusterServer};
use flotilla_proto::v1::kv_server::{self, Kv, KvServer};
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::lingering::Lingering;
use crate::tls::{Door, Gate};
use crate::together::Together;

/// How much a client may send ahead on one stream, in bytes: HTTP/2 begins with 64 KiB, less than one large value. A
/// pipeline must be able to send its next batch while the last is still executed.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// … and on all streams of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The longest HTTP/2 frame that is taken, in bytes. The 16 KiB that it begins with would cut a batch into hundreds.
const FRAME_BYTES_MAX: u32 = 256 << 10;
/// How many requests and streams of one connection may be under way. More wait in the client.
const STREAMS_MAX: u32 = 4096;
/// A client that says nothing is asked for a sign of life this often …
const ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and given up when the sign does not come for so long: its streams end, and what they hold is freed.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);

/// What health speaks of. The empty name stands for the whole server.
const HEALTH_NAMES: [&str; 3] = ["", kv_server::SERVICE_NAME, cluster_server::SERVICE_NAME];

/// Why the client address is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener failed.
    #[error("the client address cannot be served: {0}")]
    Listener(#[from] tonic::transport::Error),
    /// The descriptors that the program carries are broken: a bug in its build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves until `shutdown` ends, then until the requests under way have ended. `ready` says when health turns from
/// NOT_SERVING to SERVING and back. Messages may have so many bytes, both ways. Who may come in
/// is for the gate to say.
///
/// Streams that have no end of their own (pipelines, watches of the map) must be ended by their service.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve<K: Kv, C: Cluster>(
    listener: TcpListener,
    gate: &Gate,
    kv: K,
    cluster: C,
    message_bytes_max: usize,
    ready: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Only what is served here: the descriptors also speak of what nodes say to each other.
        .with_service_name(kv_server::SERVICE_NAME)
        .with_service_name(cluster_server::SERVICE_NAME)
        .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
        .build_v1()?;
    let kv = KvServer::new(kv)
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max);
    let cluster = ClusterServer::new(cluster)
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max);
    let telling = tokio::spawn(tell_health(reporter.clone(), ready));
    let ending = telling.abort_handle();
    let shutdown = async move {
        shutdown.await;
        ending.abort();
        fall_silent(reporter).await;
    };
    let incoming = gate.arrivals(listener, Door::Client, Lingering::new);
    let incoming = incoming.map(|accepted| accepted.map(Together::new));
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(ALIVE_TIMEOUT))
        .add_service(health)
        .add_service(reflection)
        .add_service(kv)
        .add_service(cluster)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await;
    telling.abort();
    Ok(served?)
}

async fn tell_health(reporter: HealthReporter, mut ready: watch::Receiver<bool>) {
    loop {
        let serving = *ready.borrow_and_update();
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in HEALTH_NAMES {
            reporter.set_service_status(service, status).await;
        }
        if ready.changed().await.is_err() {
            return;
        }
    }
}

/// Says for the last time that nothing is served. Then who watches health is let go: such a watch is a request under way
/// and would hold up the end.
async fn fall_silent(mut reporter: HealthReporter) {
    for service in HEALTH_NAMES {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
        reporter.clear_service_status(service).await;
    }
}
