//! The client address: `Kv`, `Cluster`, health and reflection on one listener.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flotilla_proto::FILE_DESCRIPTOR_SET;
use flotilla_proto::v1::cluster_server::ClusterServer;
use flotilla_proto::v1::kv_server::KvServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::cluster::ClusterService;
use super::front::Front;
use super::kv::KvService;
use super::node_status::NodeStatus;

/// How much a client may send ahead on one connection, in bytes: HTTP/2 begins with 64 KiB, less than one large value.
const WINDOW_BYTES: u32 = 4 << 20;
/// A client that says nothing is asked for a sign of life this often …
const ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// … and given up when the sign does not come for so long.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

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
/// NOT_SERVING to SERVING and back.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    status: Arc<NodeStatus>,
    message_bytes_max: usize,
    ready: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let telling = tokio::spawn(tell_health(reporter, ready));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Only what is served here: the descriptors also speak of what nodes say to each other.
        .with_service_name(flotilla_proto::v1::kv_server::SERVICE_NAME)
        .with_service_name(flotilla_proto::v1::cluster_server::SERVICE_NAME)
        .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
        .build_v1()?;
    let kv = KvServer::new(KvService(Arc::clone(&front)))
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max);
    let cluster = ClusterServer::new(ClusterService { front, status })
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max);
    let served = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(ALIVE_TIMEOUT))
        .add_service(health)
        .add_service(reflection)
        .add_service(kv)
        .add_service(cluster)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), shutdown)
        .await;
    telling.abort();
    Ok(served?)
}

async fn tell_health(reporter: tonic_health::server::HealthReporter, mut ready: watch::Receiver<bool>) {
    loop {
        let serving = *ready.borrow_and_update();
        let status = if serving {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        // The empty name stands for the whole server.
        for service in ["", "flotilla.v1.Kv", "flotilla.v1.Cluster"] {
            reporter.set_service_status(service, status).await;
        }
        if ready.changed().await.is_err() {
            return;
        }
    }
}
