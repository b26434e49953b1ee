//! A connection that is closed without losing what was last said on it.
//!
//! A server that closes a connection on which the client is still sending makes the kernel answer with a reset, and a
//! reset throws away what the client has received and not read yet: the last statuses, which say that nothing else was
//! executed. So our direction is closed first, and what still comes in is read and dropped until the client closes too.
//! nginx calls this a lingering close.
//!
//! What it does not do: wait for ever. A client that neither reads nor closes is left after a while.

use std::future::Future;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long a client may take to read the end and close. Far longer than a round trip, far shorter than a shutdown.
const PATIENCE: Duration = Duration::from_secs(1);

/// So much is dropped at once.
const SCRAP_BYTES: usize = 16 << 10;

/// A connection of a client.
#[derive(Debug)]
pub(crate) struct Lingering {
    stream: TcpStream,
    /// Our direction is closed; so long we wait for the other.
    closed: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, closed: None }
    }
}

impl Connected for Lingering {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Lingering {
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
        let Self { stream, closed } = &mut *self;
        if closed.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let patience = closed.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        let mut scrap = [0; SCRAP_BYTES];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut *stream).poll_read(context, &mut scrap) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => {}
                // Closed, or gone: there is nobody to lose anything.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return patience.as_mut().poll(context).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Without lingering the connection is gone with its first unread byte: the client's next write fails, and an HTTP/2
    /// client whose write fails gives the connection up without reading on.
    #[tokio::test]
    async fn the_last_words_reach_a_client_that_is_still_sending() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = Lingering::new(listener.accept().await.unwrap().0);
        client.write_all(&[7; 1000]).await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        server.write_all(b"last words").await.unwrap();
        let closing = tokio::spawn(async move { server.shutdown().await });
        for round in 0..100 {
            tokio::task::yield_now().await;
            let written = client.write_all(&[7; 1000]).await;
            assert!(written.is_ok(), "round {round}: {written:?}");
        }
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"last words");
        drop(client);
        closing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_does_not_close_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = Lingering::new(listener.accept().await.unwrap().0);
        server.shutdown().await.unwrap();
    }
}
