//! The program as a function: a router from its configuration to its end.

use std::ffi::OsString;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, ConfigError, HostPort, LogFormat, Parsed, parse};
use crate::fleet::{Fleet, Lookout};
use crate::http::serve_http;
use crate::serve::serve;

/// A wrong flag.
const EXIT_USAGE: u8 = 2;
/// The router could not start, or could not go on serving.
const EXIT_FAILED: u8 = 1;
/// How long requests under way may take to end at a shutdown.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(8);
/// How long tasks may take to end after everything else has.
const TASKS_PATIENCE: Duration = Duration::from_millis(500);

/// Why a router does not serve.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// A flag is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that cannot be bound.
    #[error("{flag}: cannot listen on {address}: {source}")]
    Bind {
        /// The flag.
        flag: &'static str,
        /// What it says.
        address: HostPort,
        /// Why.
        source: std::io::Error,
    },
    /// The listener of the client address failed.
    #[error("the client address cannot be served: {0}")]
    Listener(#[from] tonic::transport::Error),
    /// The descriptors that the program carries are broken: a bug in its build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The operating system gave no signals, or the HTTP listener failed.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// A router with its addresses bound, not yet serving.
#[derive(Debug)]
pub struct Router {
    clients: TcpListener,
    http: TcpListener,
    fleet: Fleet,
    lookout: Lookout,
}

impl Router {
    /// Binds the addresses.
    ///
    /// # Errors
    ///
    /// See [`RouterError`].
    pub async fn bind(config: &Config) -> Result<Self, RouterError> {
        let clients = bind("--client-addr", &config.client_addr, config.insecure).await?;
        let http = bind("--http-addr", &config.http_addr, config.insecure).await?;
        let (fleet, lookout) = Fleet::new(config);
        Ok(Self { clients, http, fleet, lookout })
    }

    /// Serves until `shutdown` ends, then until the requests under way have ended, but not for ever.
    ///
    /// # Errors
    ///
    /// See [`RouterError`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RouterError> {
        let (end, ending) = watch::channel(false);
        let ended = || {
            let mut ending = ending.clone();
            async move { drop(ending.wait_for(|ended| *ended).await) }
        };
        let lookout = self.lookout.run(ending.clone());
        // Half a router is none: when one listener fails, the other ends too.
        let http = async {
            let served = serve_http(self.http, self.fleet.missing(), ended()).await;
            end.send_replace(true);
            served
        };
        let clients = async {
            let served = serve(self.clients, self.fleet.clone(), ended()).await;
            end.send_replace(true);
            served
        };
        let serving = async { tokio::join!(lookout, http, clients) };
        tokio::pin!(serving);
        let results = tokio::select! {
            results = &mut serving => results,
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
    let config = match parse(args) {
        Ok(Parsed::Run(config)) => config,
        Ok(Parsed::Print(text)) => {
            // A closed pipe (`kvrouter --help | head -1`) is no failure.
            drop(std::io::stdout().write_all(text.as_bytes()));
            return ExitCode::SUCCESS;
        }
        Err(wrong) => return complain(&wrong.to_string(), EXIT_USAGE),
    };
    start_logging(&config);
    let runtime = match Builder::new_multi_thread().enable_all().thread_name("edge").build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start threads: {error}"), EXIT_FAILED),
    };
    let ended = runtime.block_on(async {
        let shutdown = termination()?;
        let router = Router::bind(&config).await?;
        info!(client_addr = %config.client_addr, http_addr = %config.http_addr, "listening");
        router.run(shutdown).await
    });
    runtime.shutdown_timeout(TASKS_PATIENCE);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(RouterError::Config(wrong)) => complain(&wrong.to_string(), EXIT_USAGE),
        Err(failure) => complain(&failure.to_string(), EXIT_FAILED),
    }
}

async fn bind(flag: &'static str, address: &HostPort, insecure: bool) -> Result<TcpListener, RouterError> {
    let resolved = address.to_bind(flag, insecure).await?;
    let bound = TcpListener::bind(&resolved[..]).await;
    bound.map_err(|source| RouterError::Bind { flag, address: address.clone(), source })
}

/// Ends with the first SIGTERM or SIGINT.
fn termination() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: shutting down"),
            _ = interrupt.recv() => info!("interrupt: shutting down"),
        }
    })
}

/// Starts the log of the process, on stderr. A process that has one already keeps it.
fn start_logging(config: &Config) {
    let filter = config.log_level.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let installed = match config.log_format {
        LogFormat::Text => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal());
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
        }
    };
    drop(installed);
}

fn complain(line: &str, code: u8) -> ExitCode {
    drop(writeln!(std::io::stderr(), "kvrouter: {line}"));
    ExitCode::from(code)
}
