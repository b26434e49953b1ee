//! The program as a function: a router from its configuration to its end.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use flotilla_daemon::address::ListenError;
use flotilla_daemon::causes::Causes;
use flotilla_daemon::grpc::{self, ServeError};
use flotilla_daemon::http;
use flotilla_daemon::metrics::keep_up;
use flotilla_daemon::program::Failure;
use flotilla_daemon::tls::Gate;
use flotilla_proto::limits::MESSAGE_BYTES_MAX;
use flotilla_tls::{Owner, TlsError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::cluster::ClusterService;
use crate::config::Config;
use crate::fleet::{Fleet, Lookout};
use crate::http::Face;
use crate::kv::KvService;
use crate::metrics::RouterMetrics;

/// How much longer than a request's deadline HTTP waits for its answer, which comes by then.
const HTTP_MARGIN: Duration = Duration::from_secs(1);
/// How long requests under way may take to end at a shutdown.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(8);

/// Why a router does not serve.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// An address that is not listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client address.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The HTTP listener failed.
    #[error("the HTTP address cannot be served: {0}")]
    Http(#[from] std::io::Error),
}

/// A router with its addresses bound, not yet serving.
#[derive(Debug)]
pub struct Router {
    config: Config,
    clients: TcpListener,
    http: TcpListener,
    gate: Gate,
    fleet: Fleet,
    lookout: Lookout,
    end: watch::Sender<bool>,
}

impl Router {
    /// Binds the addresses.
    ///
    /// # Errors
    ///
    /// See [`RouterError`].
    pub async fn bind(config: &Config) -> Result<Self, RouterError> {
        let tls = config.tls.load(Owner::Server)?;
        let anywhere = config.insecure || tls.is_some();
        let clients = config.client_addr.resolve("--client-addr", anywhere).await?;
        let http = config.http_addr.resolve("--http-addr", anywhere).await?;
        let (clients, http) = (clients.bind().await?, http.bind().await?);
        let metrics = tokio::task::spawn_blocking(RouterMetrics::new).await.map_err(std::io::Error::other)?;
        let (end, ending) = watch::channel(false);
        let gate = Gate::new(tls.clone(), metrics.registry());
        let (fleet, lookout) = Fleet::new(config, tls, metrics, ending);
        Ok(Self { config: config.clone(), clients, http, gate, fleet, lookout, end })
    }

    /// Serves until `shutdown` ends, then until the requests under way have ended, but not for ever.
    ///
    /// # Errors
    ///
    /// See [`RouterError`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RouterError> {
        let end = self.end;
        let ended = || self.fleet.ending();
        let lookout = self.lookout.run(end.subscribe());
        let registry = self.fleet.metrics().registry().clone();
        let upkeep = async { tokio::join!(keep_up(registry), self.gate.clone().keep()) };
        let endpoints = self.config.nodes.iter().map(ToString::to_string).collect();
        let face = Arc::new(Face::new(self.fleet.clone(), endpoints));
        let options = http::Options {
            value_bytes_max: self.config.value_bytes_max.as_usize(),
            patience: self.config.deadline() + HTTP_MARGIN,
        };
        // Half a router is none: when one listener fails, the other ends too.
        let http = async {
            let served = http::serve(self.http, &self.gate, face, options, ended()).await;
            end.send_replace(true);
            served
        };
        let clients = async {
            let (kv, cluster) = (KvService(self.fleet.clone()), ClusterService(self.fleet.clone()));
            let ready = self.fleet.ready();
            let (gate, bytes_max) = (&self.gate, MESSAGE_BYTES_MAX);
            let served = grpc::serve(self.clients, gate, kv, cluster, bytes_max, ready, ended()).await;
            end.send_replace(true);
            served
        };
        let serving = async { tokio::join!(lookout, http, clients) };
        tokio::pin!(serving);
        tokio::pin!(upkeep);
        let results = tokio::select! {
            results = &mut serving => results,
            _ = upkeep => return Ok(()),
            () = shutdown => {
                end.send_replace(true);
                match timeout(REQUESTS_PATIENCE, &mut serving).await {
                    Ok(results) => results,
                    Err(_) => {
                        warn!("some requests did not end in time and are broken off");
                        return Ok(());
                    }
                }
            }
        };
        let ((), http, clients) = results;
        clients?;
        Ok(http?)
    }
}

/// Runs `kvrouter` with these arguments, the program's name first, until SIGTERM or Ctrl-C. Made for `main`: it takes the
/// signals and the log of the process.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    flotilla_daemon::program::run(args, |config: Config, shutdown| async move {
        let router = Router::bind(&config).await.map_err(|error| failure(&error))?;
        info!(client_addr = %config.client_addr, http_addr = %config.http_addr, "listening");
        router.run(shutdown).await.map_err(|error| failure(&error))
    })
}

fn failure(error: &RouterError) -> Failure {
    match error {
        RouterError::Listen(wrong) => wrong.into(),
        RouterError::Tls(wrong) => Failure::Usage(wrong.to_string()),
        other => Failure::Failed(Causes(other).to_string()),
    }
}
