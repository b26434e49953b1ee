//! `/metrics`, `/healthz` (the process lives) and `/readyz` (it serves: it knows its shards and who leads them).

use std::future::Future;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use flotilla_topology::NodeId;
use tokio::net::TcpListener;

use super::front::Front;
use crate::metrics::Scraper;

/// What Prometheus reads.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a node serves. It can be asked from the first moment.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<OnceLock<Arc<Front>>>);

impl Readiness {
    /// The node runs: from now on the answer depends on its shards. Only the first call counts.
    pub fn open(&self, front: Arc<Front>) {
        drop(self.0.set(front));
    }

    /// What is missing; `None`: the node serves.
    pub async fn missing(&self) -> Option<String> {
        let Some(front) = self.0.get() else { return Some("the fleet is not founded yet".to_string()) };
        let map = match front.map() {
            Ok(map) => map,
            Err(status) => return Some(status.message().to_string()),
        };
        let Ok(replicas) = front.runtime.replicas().await else {
            return Some("this node is shutting down".to_string());
        };
        let node: NodeId = front.node;
        for (shard, _) in map.replicas_on(node) {
            let Some(replica) = replicas.iter().find(|replica| replica.shard == shard) else {
                return Some(format!("{shard} has no replica here yet"));
            };
            if replica.leader.is_none() {
                return Some(format!("{shard} has no known leader"));
            }
        }
        None
    }
}

/// Serves the HTTP address until `shutdown` ends.
///
/// # Errors
/// The listener failed.
pub async fn serve_http(
    listener: TcpListener,
    readiness: Readiness,
    scraper: Scraper,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async move || ([(CONTENT_TYPE, EXPOSITION)], scraper.scrape().await)))
        .with_state(readiness);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.missing().await {
        None => (StatusCode::OK, "ready\n".to_string()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}
