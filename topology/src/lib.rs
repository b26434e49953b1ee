//! The words of the fleet: ids, slots, ring, cluster map (work in progress).
mod id;
mod slot;
pub use id::{Epoch, NodeId, ShardId};
pub use slot::{SLOTS, Slot, hash_tag};
