//! Connections as they come in. With encryption each has a handshake of its own before anybody hears of it.
//!
//! A handshake is given so much time, and so many may be under way. When one more comes, the oldest is given up: an honest one
//! takes milliseconds, so the oldest is who says nothing. Whoever connects and is silent holds a socket for a few seconds,
//! and nobody else up.

use std::collections::VecDeque;
use std::io::Result;
use std::time::Duration;

use axum::serve::Listener;
use flotilla_tls::{Door, Reason, Refusal, Stream, Tls};
use futures_util::StreamExt;
use futures_util::future::Either;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;

use super::Gate;

/// How long a handshake may take.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// How many may be under way at one address.
const HANDSHAKES_MAX: usize = 256;
/// How many connections whose handshake is done may wait to be served.
const DONE_MAX: usize = 16;

impl Gate {
    /// The connections that come in at a door, each wrapped in this before anything is said on it.
    pub fn arrivals<S>(
        &self,
        listener: TcpListener,
        door: Door,
        wrap: fn(TcpStream) -> S,
    ) -> impl futures_util::Stream<Item = Result<Stream<S>>> + Unpin + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some((tls, _)) = &self.encrypted else {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            return Either::Left(incoming.map(move |accepted| Ok(Stream::Clear(wrap(accepted?)))));
        };
        let (done, arrivals) = mpsc::channel(DONE_MAX);
        let welcome = Welcome { gate: self.clone(), tls: tls.clone(), door, wrap, done };
        tokio::spawn(welcome.run(listener));
        Either::Right(ReceiverStream::new(arrivals))
    }
}

/// Who accepts connections at one door.
struct Welcome<S> {
    gate: Gate,
    tls: Tls,
    door: Door,
    wrap: fn(TcpStream) -> S,
    done: mpsc::Sender<Result<Stream<S>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Welcome<S> {
    /// Until nobody takes what arrives.
    async fn run(self, mut listener: TcpListener) {
        let mut under_way: VecDeque<JoinHandle<()>> = VecDeque::new();
        loop {
            let (socket, from) = tokio::select! {
                // This accept waits out errors that pass, as too many open files.
                accepted = Listener::accept(&mut listener) => accepted,
                () = self.done.closed() => break,
            };
            // What cannot be set on a socket shows in its first read.
            drop(socket.set_nodelay(true));
            under_way.retain(|handshake| !handshake.is_finished());
            if under_way.len() >= HANDSHAKES_MAX
                && let Some(oldest) = under_way.pop_front()
            {
                oldest.abort();
                let refusal = Refusal::new(Reason::Crowded, "too many handshakes at once");
                self.gate.refused(self.door, &from.to_string(), &refusal);
            }
            let (gate, tls, door) = (self.gate.clone(), self.tls.clone(), self.door);
            let (stream, done) = ((self.wrap)(socket), self.done.clone());
            under_way.push_back(tokio::spawn(async move {
                let shaken = timeout(HANDSHAKE_PATIENCE, tls.accept(door, stream)).await;
                match shaken.unwrap_or_else(|_| Err(Refusal::new(Reason::Silent, "no handshake in time"))) {
                    // Nobody takes it any more: the process ends.
                    Ok(stream) => drop(done.send(Ok(stream)).await),
                    Err(refusal) => gate.refused(door, &from.to_string(), &refusal),
                }
            }));
        }
        under_way.iter().for_each(JoinHandle::abort);
    }
}
