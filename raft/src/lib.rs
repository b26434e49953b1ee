//! Pure Raft consensus (work in progress).
mod id;
pub use id::{Index, LogId, ReplicaId, Term};
