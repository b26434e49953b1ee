//! How a connection to a server is made, in clear or encrypted.
//!
//! In TLS 1.3 a client has done its part before the server has judged its certificate. A connection that is refused would
//! look as if it stood, and what is sent over it could not be told from what was executed. So an encrypted connection
//! counts as made when the server has said its first word, which HTTP/2 obliges it to say. Who is refused learns it here, with
//! the reason, and has sent nothing.

use std::future::Future;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use flotilla_topology::NodeId;
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::{Tls, identity, refusal};

/// Room for a server's first word: its HTTP/2 settings.
const WORD_BYTES_MAX: usize = 256;

/// Who shall answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Any server whose certificate is good for the host.
    Server,
    /// This node, at a host that its certificate is good for.
    Node(NodeId),
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is none.
    #[error("{0:?} is no host and port")]
    Address(String),
    /// Nobody is there.
    #[error(transparent)]
    Network(#[from] std::io::Error),
    /// The other side is not whom we trust, or speaks no TLS.
    #[error("no TLS: {0}")]
    Tls(String),
    /// It does not take our certificate.
    #[error("it refuses us: {0}")]
    Refused(&'static str),
    /// It has a certificate of the authority, but is not the node that was meant.
    #[error("wanted node {}, but the certificate at its address names {}", wanted.0, found(*.named))]
    OtherNode {
        /// Who was meant.
        wanted: NodeId,
        /// Who is there.
        named: Option<NodeId>,
    },
    /// It closed before it had said anything.
    #[error("it closed the connection without a word")]
    Closed,
}

fn found(named: Option<NodeId>) -> String {
    named.map_or("no node".to_owned(), |node| format!("node {}", node.0))
}

/// Connects an endpoint `http://HOST:PORT`: in clear, or encrypted where there are credentials. Its host is resolved now.
///
/// # Errors
/// It is not reached; encrypted: or one side does not know the other.
pub async fn connect(
    endpoint: Endpoint,
    tls: Option<&Tls>,
    whom: Whom,
) -> std::result::Result<Channel, tonic::transport::Error> {
    match tls {
        None => endpoint.connect().await,
        Some(tls) => endpoint.connect_with_connector(Connector { tls: tls.clone(), whom }).await,
    }
}

/// As [`connect`], but when something is asked for the first time, and again whenever the connection broke.
#[must_use]
pub fn connect_lazy(endpoint: &Endpoint, tls: Option<&Tls>, whom: Whom) -> Channel {
    match tls {
        None => endpoint.connect_lazy(),
        Some(tls) => endpoint.connect_with_connector_lazy(Connector { tls: tls.clone(), whom }),
    }
}

/// Makes encrypted connections.
#[derive(Clone, Debug)]
struct Connector {
    tls: Tls,
    whom: Whom,
}

type Dialling = Pin<Box<dyn Future<Output = std::result::Result<TokioIo<Greeted>, DialError>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Greeted>;
    type Error = DialError;
    type Future = Dialling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Dialling {
        let Self { tls, whom } = self.clone();
        Box::pin(async move { dial(&tls, whom, &uri).await.map(TokioIo::new) })
    }
}

async fn dial(tls: &Tls, whom: Whom, uri: &Uri) -> std::result::Result<Greeted, DialError> {
    let wrong = || DialError::Address(uri.to_string());
    let (host, port) = uri.host().zip(uri.port_u16()).ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
    tls.look_if_client().await;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.credentials().dialling));
    let mut stream = connector.connect(name, stream).await.map_err(failed)?;
    if let Whom::Node(wanted) = whom {
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let named = shown.map_or(Ok(None), identity::node_of);
        let named = named.map_err(|error| DialError::Tls(error.to_string()))?;
        if named != Some(wanted) {
            return Err(DialError::OtherNode { wanted, named });
        }
    }
    let mut word = Vec::with_capacity(WORD_BYTES_MAX);
    if stream.read_buf(&mut word).await.map_err(failed)? == 0 {
        return Err(DialError::Closed);
    }
    Ok(Greeted { stream, word, heard: 0 })
}

fn failed(error: std::io::Error) -> DialError {
    match refusal::tls(&error) {
        Some(rustls::Error::AlertReceived(alert)) => refused(*alert),
        Some(other) => DialError::Tls(other.to_string()),
        None => DialError::Network(error),
    }
}

/// What the other side's alert means to an operator.
fn refused(alert: AlertDescription) -> DialError {
    DialError::Refused(match alert {
        AlertDescription::CertificateRequired => "it wants a certificate",
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "our certificate is not of its authority"
        }
        AlertDescription::UnsupportedCertificate => "our certificate is for another use",
        AlertDescription::CertificateUnknown => "our certificate names no node",
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3",
        other => return DialError::Tls(format!("the other side ends it: {other:?}")),
    })
}

/// A connection on which the server has said its first word, which is heard first.
#[derive(Debug)]
struct Greeted {
    stream: TlsStream<TcpStream>,
    word: Vec<u8>,
    /// So much of it was read.
    heard: usize,
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let Self { stream, word, heard } = &mut *self;
        let left = &word[*heard..];
        if left.is_empty() {
            return Pin::new(stream).poll_read(context, into);
        }
        let bytes = left.len().min(into.remaining());
        into.put_slice(&left[..bytes]);
        *heard += bytes;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
