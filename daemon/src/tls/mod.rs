//! Encryption of what a process listens on: its flags, handshakes, what is refused, and files that change.
//!
//! ```text
//!   flags ─▶ Gate ─┬─ arrivals(listener, door): handshakes, bounded ─▶ connections whose other end is known
//!                  ├─ refused: counted by reason, a line now and then
//!                  └─ keep: looks at the files at SIGHUP and every 10 s, warns before the end
//! ```
//!
//! Who may come in at which door is the crate `tls`. Reading order: `flags.rs`, this file, `arrivals.rs`, `refusals.rs`,
//! `keeper.rs`.
//!
//! What it does not do: without certificates it is not there: connections come in as they were.

mod arrivals;
mod flags;
mod keeper;
mod refusals;

use std::sync::Arc;

use flotilla_tls::{Refusal, Tls};

pub use arrivals::HANDSHAKE_PATIENCE;
pub use flags::TlsFlags;
pub use flotilla_tls::Door;

use crate::metrics::Registry;
use refusals::Refusals;

/// The credentials of a process, if it has any, and what became of who knocked. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Gate {
    encrypted: Option<(Tls, Arc<Refusals>)>,
}

impl Gate {
    /// Nothing is encrypted, everybody comes in.
    #[must_use]
    pub const fn open() -> Self {
        Self { encrypted: None }
    }

    /// With these credentials, or [open](Self::open) without.
    #[must_use]
    pub fn new(tls: Option<Tls>, registry: &Registry) -> Self {
        Self { encrypted: tls.map(|tls| (tls, Arc::new(Refusals::new(registry)))) }
    }

    /// The credentials.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.encrypted.as_ref().map(|(tls, _)| tls)
    }

    /// Counts somebody who was not let in here, and says so now and then.
    pub fn refused(&self, door: Door, from: &str, refusal: &Refusal) {
        if let Some((_, refusals)) = &self.encrypted {
            refusals.add(door, from, refusal);
        }
    }
}
