//! Pure Raft consensus: no I/O, no clock, no threads, no randomness of its own.

mod configuration;
mod entry;
mod id;
mod message;
mod options;
mod ready;
mod recovered;
mod snapshot;
mod status;
mod time;

pub use configuration::Configuration;
pub use entry::{Entry, HardState, Payload};
pub use id::{Index, LogId, ReplicaId, Term};
pub use message::{Message, Round, Rpc};
pub use options::{Options, OptionsError};
pub use ready::{ReadId, Ready, Ticket, Write};
pub use recovered::Recovered;
pub use snapshot::SnapshotMeta;
pub use status::{ProgressKind, ProgressStatus, RoleKind, Status};
pub use time::Time;
