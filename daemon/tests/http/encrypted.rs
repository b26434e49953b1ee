//! The HTTP address of a process with a certificate: what anybody sees, what needs one, and who costs nothing lasting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flotilla_daemon::metrics::Registry;
use flotilla_daemon::tls::{Gate, HANDSHAKE_PATIENCE};
use flotilla_notary::{Authority, Issued, Subject};
use flotilla_tls::{Files, Owner, Tls};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fake::{Answer, Stage};

/// A stage behind TLS, and who may come.
struct Encrypted {
    stage: Stage,
    authority: Authority,
    metrics: Registry,
    _directory: TempDir,
}

impl Encrypted {
    async fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("our fleet");
        let paths = authority.write(directory.path(), "router", &Subject::server("router", ["localhost"]));
        let files = Files { certificate: paths.certificate, key: paths.key, authority: paths.authority };
        let metrics = Registry::new();
        let gate = Gate::new(Some(Tls::load(files, Owner::Server).unwrap()), &metrics);
        Self { stage: Stage::set_behind(gate).await, authority, metrics, _directory: directory }
    }

    async fn connect(&self, shows: Option<Issued>) -> std::io::Result<TlsStream<TcpStream>> {
        let config = Arc::new(self.authority.stranger(shows.as_ref()));
        let socket = TcpStream::connect(&self.stage.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config).connect(name, socket).await
    }

    /// Asks, showing a certificate or none.
    async fn ask(&self, shows: Option<Issued>, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let stream = self.connect(shows).await.unwrap();
        self.stage.raw_over(stream, request.as_bytes()).await
    }

    fn client(&self) -> Option<Issued> {
        Some(self.authority.issue(&Subject::client("sdk")))
    }

    async fn await_refused(&self, reason: &str, count: u64) {
        let line = format!("kv_tls_refused_total{{port=\"http\",reason=\"{reason}\"}} {count}\n");
        let begun = Instant::now();
        while !self.metrics.render().contains(&line) {
            assert!(begun.elapsed() < Duration::from_secs(60), "not {line:?}: {}", self.metrics.render());
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn who_watches_needs_no_certificate_and_who_wants_keys_does() {
    let house = Encrypted::set().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(house.ask(None, "GET", path, "").await.status, 200, "{path}");
    }
    for (method, path) in
        [("PUT", "/v1/kv/ship"), ("GET", "/v1/kv/ship"), ("GET", "/v1/status"), ("GET", "/"), ("GET", "/x")]
    {
        let refused = house.ask(None, method, path, "Bounty").await;
        assert_eq!(refused.status, 401, "{method} {path}");
        let error = refused.error();
        assert_eq!((&error["code"], &error["definite"]), (&"UNAUTHENTICATED".into(), &true.into()));
    }
    assert_eq!(house.ask(house.client(), "GET", "/v1/kv/ship", "").await.status, 404, "nothing was written");
    assert_eq!(house.ask(house.client(), "PUT", "/v1/kv/ship", "Bounty").await.status, 200);
    assert_eq!(house.ask(house.client(), "GET", "/v1/kv/ship", "").await.body, b"Bounty");
    assert_eq!(house.ask(house.client(), "GET", "/v1/status", "").await.status, 200);
}

#[tokio::test]
async fn a_certificate_that_is_shown_must_be_good() {
    let house = Encrypted::set().await;
    let bad = [
        ("unknown_authority", Authority::new("our fleet").issue(&Subject::client("sdk"))),
        ("expired", house.authority.issue(&Subject::client("sdk").expired())),
    ];
    for (reason, shows) in bad {
        let mut heard = Vec::new();
        if let Ok(mut stream) = house.connect(Some(shows)).await {
            drop(stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").await);
            drop(stream.read_to_end(&mut heard).await);
        }
        assert_eq!(heard, b"", "{reason}");
        house.await_refused(reason, 1).await;
    }
    let mut plain = TcpStream::connect(&house.stage.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    drop(plain.read_to_end(&mut heard).await);
    assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    house.await_refused("plaintext", 1).await;
}

/// Takes as long as a handshake may.
#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let house = Encrypted::set().await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(&house.stage.address).await.unwrap();
    let mut heard = Vec::new();
    let let_go = tokio::time::timeout(6 * HANDSHAKE_PATIENCE, silent.read_to_end(&mut heard)).await;
    drop(let_go.expect("it is waited for without an end"));
    assert!(begun.elapsed() >= HANDSHAKE_PATIENCE);
    house.await_refused("silent", 1).await;
}

#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let house = Encrypted::set().await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(TcpStream::connect(&house.stage.address).await.unwrap());
    }
    let asked = house.ask(None, "GET", "/healthz", "");
    let answer = tokio::time::timeout(HANDSHAKE_PATIENCE / 2, asked).await.expect("it waits for the crowd");
    assert_eq!(answer.status, 200);
    // 256 handshakes at once: these 45 were the oldest.
    house.await_refused("crowded", 45).await;
    let mut heard = Vec::new();
    drop(crowd[0].read_to_end(&mut heard).await);
    assert_eq!(heard, b"");
}
