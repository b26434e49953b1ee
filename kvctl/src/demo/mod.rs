//! The proof behind `kvctl demo`: writes that never stop, leaders that die, and every acknowledged write read back.
//!
//! ```text
//! writers ──put──► all shards, evenly, all the time ──┐
//! probe   ──put──► the victim's shard, every 2 ms ────┴─► ledger: every acknowledged key
//! round:  find the leader of a shard · probe · SIGKILL it · wait for a write that began after the kill to succeed
//!         · ask who leads now · start the node again · wait until it has caught up
//! end:    read every key of the ledger, compare every value
//! ```
//!
//! The **gap** is the longest time between two acknowledged writes of the victim's shard around the kill, as a client of
//! the SDK sees it: retries and the finding of the new leader included.
//!
//! What it does not do: it kills processes, not machines. A power cut also loses what a disk only promised.

pub mod gap;
pub mod keys;
pub mod ledger;
pub mod load;
pub mod round;
