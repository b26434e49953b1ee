//! The words of the fleet: ids, slots, the ring and the cluster map.
//!
//! A key falls into a [`Slot`]; the [`ring`] plans which shard owns each slot; the [`ClusterMap`] holds that plan with
//! nodes, shards and replicas under one [`Epoch`]; a [`Route`] says who leads the shard of a slot. Everything here is a
//! value and a pure function on it: changes of the map are decided by [`ClusterMap::apply`], wherever it is called.
//!
//! Reading order: `id`, `slot`, `slot_set`, `slot_map`, `ring`, `map`, `genesis`, `change`, `moving`, `leaving`, `codec`,
//! `route`.
//!
//! What it does not do: it does not store the map (shard 0 does, as an ordinary value), send it (the node does), or know
//! who leads a shard at this moment (the shard's own log does; a route is only a hint).

mod change;
mod codec;
mod genesis;
mod id;
mod leaving;
mod map;
mod moving;
pub mod ring;
mod route;
mod slot;
mod slot_map;
mod slot_set;

pub use change::{Change, Refusal};
pub use codec::{DecodeError, FORMAT};
pub use genesis::{PlanError, plan_initial};
pub use id::{Epoch, MoveId, NodeId, ShardId};
pub use leaving::Leaving;
pub use map::{
    ADDRESS_BYTES_MAX, ClusterMap, Fault, Membership, NodeInfo, Placement, ShardGenesis, ShardInfo,
};
pub use moving::{Move, Report};
pub use route::Route;
pub use slot::{SLOTS, Slot, hash_tag};
pub use slot_map::{SlotMap, SlotMapError, SlotRun};
pub use slot_set::{SlotRange, SlotSet};
