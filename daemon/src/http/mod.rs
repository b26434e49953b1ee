//! The HTTP address of a node or a router: how it is, and its keys for who has no gRPC at hand.
//!
//! ```text
//!   /healthz /readyz /metrics     for supervisors and Prometheus
//!   /v1/status  /                 what the process knows of the fleet, as JSON and as a page
//!   /v1/kv/{key}                  GET, HEAD, PUT, DELETE: the unary methods of `Kv`, in PROXY mode
//! ```
//!
//! Reading order: this file (what a process gives, what is bounded), `kv.rs` (the verbs), `question.rs` (path, query and
//! headers become types), `refusal.rs` (errors as JSON), `report.rs` and `page.rs` (the status).
//!
//! With TLS, who shows no certificate of the authority sees the first line only: they are for who watches, and tell no key.
//!
//! What it does not do: HTTP/2, scans, request ids. A write that is repeated by the caller may be executed twice,
//! unless it names a version.

mod kv;
mod page;
mod question;
mod refusal;
mod report;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::serve::Listener;
use flotilla_proto::v1::kv_server::Kv;
use flotilla_tls::{self as tls, Caller};
use futures_util::{Stream, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::tls::{Door, Gate};
use refusal::Refusal;

pub use report::{Leader, Report};

/// How many connections are served; more wait unaccepted.
const CONNECTIONS_MAX: usize = 512;
/// How many requests for keys or status may be under way; more are refused.
const REQUESTS_MAX: usize = 256;
/// How many bytes of bodies may be held; more are refused.
const BODIES_BYTES_MAX: usize = 64 << 20;
/// How long the head of a request may take to come; also how long a connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// The longest head, in bytes: a key of 4 KiB, every byte percent-encoded, and headers.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What Prometheus reads.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a process gives to its HTTP address. It can be asked from the first moment.
pub trait Process: Send + Sync + 'static {
    /// Its keys and values.
    type Kv: Kv;

    /// Its keys and values, once it has them.
    fn kv(&self) -> Option<Self::Kv>;

    /// What is missing until it serves; nothing: it does.
    fn missing(&self) -> impl Future<Output = Option<String>> + Send;

    /// What it knows of itself and of the fleet.
    fn report(&self) -> impl Future<Output = Report> + Send;

    /// Its metrics, as Prometheus reads them.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

/// What may be turned.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest value that is taken, in bytes. Longer bodies are refused before they are read.
    pub value_bytes_max: usize,
    /// How long the answer to a request may take.
    pub patience: Duration,
}

/// What all requests share.
struct Face<P> {
    process: Arc<P>,
    options: Options,
    requests: Semaphore,
    bodies: Semaphore,
}

/// Serves the HTTP address until `shutdown` ends, then until the requests under way have ended.
///
/// # Errors
/// The address of the listener cannot be served.
pub async fn serve<P: Process>(
    listener: TcpListener,
    gate: &Gate,
    process: Arc<P>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let face = Arc::new(Face {
        process,
        options,
        requests: Semaphore::new(REQUESTS_MAX),
        bodies: Semaphore::new(BODIES_BYTES_MAX),
    });
    let all = TowerToHyperService::new(all_routes(Arc::clone(&face)));
    let public = TowerToHyperService::new(public_routes(face));
    let mut arrivals = Arrivals::new(gate, listener);
    let connections = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (arrivals.next().await, permit)
        };
        let (stream, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let service = if stream.caller() == Caller::Anonymous { &public } else { &all };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks needs no answer.
            drop(connection.await);
            drop(permit);
        });
    }
    drop(arrivals);
    connections.shutdown().await;
    Ok(())
}

/// Connections, in clear or encrypted.
enum Arrivals<E> {
    Clear(TcpListener),
    Encrypted(E),
}

impl Arrivals<()> {
    #[allow(clippy::new_ret_no_self, reason = "the encrypted ones have a type without a name")]
    fn new(
        gate: &Gate,
        listener: TcpListener,
    ) -> Arrivals<impl Stream<Item = std::io::Result<tls::Stream<TcpStream>>> + Unpin> {
        if gate.tls().is_some() {
            Arrivals::Encrypted(gate.arrivals(listener, Door::Http, |stream| stream))
        } else {
            Arrivals::Clear(listener)
        }
    }
}

impl<E: Stream<Item = std::io::Result<tls::Stream<TcpStream>>> + Unpin> Arrivals<E> {
    async fn next(&mut self) -> tls::Stream<TcpStream> {
        match self {
            // This accept waits out errors that pass, as too many open files.
            Self::Clear(listener) => tls::Stream::Clear(Listener::accept(listener).await.0),
            Self::Encrypted(arrivals) => match arrivals.next().await {
                Some(Ok(stream)) => stream,
                // Only who accepts can end it, and that ends when this is dropped.
                _ => std::future::pending().await,
            },
        }
    }
}

/// What anybody may see: supervisors and scrapers have no certificate.
fn public_routes<P: Process>(face: Arc<Face<P>>) -> Router {
    watched().fallback(async || Refusal::unknown_caller().into_response()).with_state(face)
}

fn watched<P: Process>() -> Router<Arc<Face<P>>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz::<P>))
        .route("/metrics", get(metrics::<P>))
}

fn all_routes<P: Process>(face: Arc<Face<P>>) -> Router {
    watched()
        .route("/v1/status", get(status::<P>))
        .route("/", get(status_page::<P>))
        .route("/v1/kv/{*key}", any(kv::serve::<P>))
        // Without a key: told so, not lost.
        .route("/v1/kv/", any(kv::serve::<P>))
        .route("/v1/kv", any(kv::serve::<P>))
        .fallback(async || Refusal::nowhere().into_response())
        .with_state(face)
}

async fn readyz<P: Process>(State(face): State<Arc<Face<P>>>) -> (StatusCode, String) {
    match face.process.missing().await {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}

async fn metrics<P: Process>(State(face): State<Arc<Face<P>>>) -> Response {
    ([(CONTENT_TYPE, EXPOSITION)], face.process.metrics().await).into_response()
}

async fn status<P: Process>(State(face): State<Arc<Face<P>>>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    match face.report().await {
        Ok(report) => (headers, report.json()).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn status_page<P: Process>(State(face): State<Arc<Face<P>>>) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    match face.report().await {
        Ok(report) => (headers, page::html(&report)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

impl<P: Process> Face<P> {
    async fn report(&self) -> Result<Report, Refusal> {
        let _room = self.requests.try_acquire().map_err(|_| Refusal::overloaded())?;
        let mut report = self.process.report().await;
        report.set_missing(self.process.missing().await);
        Ok(report)
    }
}
