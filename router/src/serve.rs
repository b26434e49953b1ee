//! The client address: `Kv`, `Cluster`, health and reflection on one listener.

use std::future::Future;
use std::time::Duration;

use flotilla_proto::FILE_DESCRIPTOR_SET;
use flotilla_proto::limits::MESSAGE_BYTES_MAX;
use flotilla_proto::v1::cluster_server::ClusterServer;
use flotilla_proto::v1::kv_server::KvServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::cluster::ClusterService;
use crate::fleet::Fleet;
use crate::kv::KvService;
use crate::program::RouterError;

/// How much a client may send ahead on one connection, in bytes: HTTP/2 begins with 64 KiB, less than one large value.
const WINDOW_BYTES: u32 = 4 << 20;
/// A client that says nothing is asked for a sign of life this often …
const ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// … and given up when the sign does not come for so long.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves until `shutdown` ends, then until the requests under way have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    fleet: Fleet,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RouterError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let telling = tokio::spawn(tell_health(reporter, fleet.missing()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let kv = KvServer::new(KvService(fleet.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let cluster = ClusterServer::new(ClusterService(fleet))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
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

async fn tell_health(reporter: HealthReporter, mut missing: watch::Receiver<Option<String>>) {
    loop {
        let ready = missing.borrow_and_update().is_none();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        // The empty name stands for the whole server.
        for service in ["", "flotilla.v1.Kv", "flotilla.v1.Cluster"] {
            reporter.set_service_status(service, status).await;
        }
        if missing.changed().await.is_err() {
            return;
        }
    }
}
