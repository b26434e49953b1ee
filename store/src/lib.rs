//! The state machine of a shard.
//!
//! Reading order: [`Command`] (what an entry says) → [`Machine`] (what it does) → the overlay and
//! exactly-once bookkeeping inside it → [`Flush`] (how the overlay becomes part of the [`Base`]) →
//! [`snapshot`] (how a whole state travels).
//!
//! The Raft log is the journal: nothing is journalled twice. Entries are applied to an ordered overlay in
//! memory; a flusher thread writes frozen overlays to the base, one atomic batch and one sync each; the log
//! is replayed from there after a restart.
//!
//! Everything here is deterministic and synchronous, without clock, randomness or threads of its own. Only
//! [`disk`] touches the file system. What it deliberately does not do: propose, replicate or time anything
//! (the host does), check limits (the gate does), or move slots (the states have room for it).

mod base;
mod command;
mod digest;
pub mod disk;
mod encoding;
mod error;
mod flush;
mod genesis;
mod layout;
mod machine;
pub mod memory;
mod outcome;
mod overlay;
mod read;
mod remembered;
mod scan;
mod slots;
pub mod snapshot;

pub use base::{Base, BaseError, View, WriteBatch};
pub use command::{Action, Command, Compare, Condition, Operation, RequestId, Txn, TxnOperation};
pub use digest::{Digest, Stats, Tally};
pub use encoding::DecodeError;
pub use error::Error;
pub use flush::{EXPIRED_PER_FLUSH, Flush, Flushed, Retired, stats};
pub use genesis::Genesis;
pub use machine::Machine;
pub use outcome::{
    CONFLICT_VALUE_BYTES_MAX, Outcome, Record, Refusal, TXN_VALUES_BYTES_MAX, TxnOutcome, TxnResult,
};
pub use read::{BaseRead, Lookup};
pub use remembered::Burden;
pub use scan::{Limits, Page, ScanRange, ScanSlice};
pub use slots::{META_PREFIX, Misplaced, Scope, SlotRange, SlotSpan, SlotState, Slots};
