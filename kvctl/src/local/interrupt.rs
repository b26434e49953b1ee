//! Signals that ask a command to end in order: Ctrl-C, SIGTERM, and the closing of its terminal.

use futures_util::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Once made, the process is no longer ended by these signals: whoever made it must listen.
#[derive(Debug)]
pub struct Interrupts {
    signals: Vec<Signal>,
}

impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the system refuses.
    pub fn listen() -> Result<Self, Failure> {
        Self::to(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
    }

    /// Begins to listen to Ctrl-C alone: for a command that ends while the process goes on.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the system refuses.
    pub fn listen_to_ctrl_c() -> Result<Self, Failure> {
        Self::to(&[SignalKind::interrupt()])
    }

    fn to(kinds: &[SignalKind]) -> Result<Self, Failure> {
        let signals = kinds.iter().map(|kind| {
            signal(*kind).map_err(|error| Failure::Internal(format!("cannot listen for signals: {error}")))
        });
        Ok(Self { signals: signals.collect::<Result<_, _>>()? })
    }

    /// Waits for the next of them. Safe to cancel.
    pub async fn next(&mut self) {
        select_all(self.signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    }
}
