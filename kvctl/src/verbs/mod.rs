//! One file per verb: its arguments, what it does, and how its result looks as a table and as JSON.

pub mod cas;
pub mod completion;
pub mod del;
pub mod demo;
pub mod dev;
pub mod get;
pub mod node_list;
pub mod put;
pub mod route;
pub mod scan;
pub mod shard_list;
pub mod shard_show;
pub mod shard_transfer_leader;
pub mod status;
