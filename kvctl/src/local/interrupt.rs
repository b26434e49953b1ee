//! Signals that ask `kvctl dev` and `kvctl demo` to end: Ctrl-C, SIGTERM, and the closing of their terminal.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Once made, the process is no longer ended by these signals: whoever made it must listen.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the system refuses.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::Internal(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next of them. Safe to cancel.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
