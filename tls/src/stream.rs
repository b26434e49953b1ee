//! A connection, in clear or encrypted, and who is at its other end.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use flotilla_topology::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Who opened a connection to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nothing is encrypted: nobody was asked.
    Unasked,
    /// Encrypted, but it showed no certificate.
    Anonymous,
    /// It has a certificate of the authority: of this node, or of a client.
    Certified(Option<NodeId>),
}

/// A connection that was accepted.
#[derive(Debug)]
pub enum Stream<S> {
    /// As it comes from the network.
    Clear(S),
    /// Over TLS.
    Encrypted(Box<TlsStream<S>>, Caller),
}

/// What a service is told of the connection of a request.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// Between which addresses.
    pub tcp: TcpConnectInfo,
    /// Who is at the other end.
    pub caller: Caller,
}

impl<S> Stream<S> {
    /// Who is at the other end.
    #[must_use]
    pub const fn caller(&self) -> Caller {
        match self {
            Self::Clear(_) => Caller::Unasked,
            Self::Encrypted(_, caller) => *caller,
        }
    }

    fn socket(&self) -> &S {
        match self {
            Self::Clear(stream) => stream,
            Self::Encrypted(stream, _) => stream.get_ref().0,
        }
    }
}

impl<S: Connected<ConnectInfo = TcpConnectInfo>> Connected for Stream<S> {
    type ConnectInfo = CallInfo;

    fn connect_info(&self) -> CallInfo {
        CallInfo { tcp: self.socket().connect_info(), caller: self.caller() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(context, into),
            Self::Encrypted(stream, _) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Encrypted(stream, _) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Encrypted(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
