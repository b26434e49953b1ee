//! `/healthz` (the process lives) and `/readyz` (each shard has a node that answers and leads it).

use std::future::Future;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

type Missing = watch::Receiver<Option<String>>;

/// Serves the HTTP address until `shutdown` ends.
///
/// # Errors
///
/// The listener failed.
pub(crate) async fn serve_http(
    listener: TcpListener,
    missing: Missing,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(missing);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn readyz(State(missing): State<Missing>) -> (StatusCode, String) {
    match &*missing.borrow() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}
