//! The SDK of Flotilla: finds the leader of each key's shard, retries what can be retried, and says truthfully what
//! happened.
//!
//! ```no_run
//! # async fn example() -> Result<(), flotilla_client::Error> {
//! use flotilla_client::Client;
//!
//! let client = Client::builder(["127.0.0.1:7501", "127.0.0.1:7502"]).build().await?;
//! let version = client.put("ship", "Bounty").await?;
//! let value = client.get("ship").await?;
//! assert!(value.is_some_and(|value| value.version >= version));
//! # Ok(())
//! # }
//! ```
//!
//! It is in two halves. [`dispatch`] decides, without I/O: what to do next with an operation, who leads, which request id, what
//! shard time it is. The rest does it, over tonic: connections, the driver, the calls. A write carries one request id in all
//! its attempts, so it is executed at most once however often it is sent; an [`Error`] says whether it may have been.
//!
//! Reading order: `value`, `error`, [`dispatch`], `client`, `crew` (the driver), `call`, `connections`, `scan`, `cluster`; for
//! programs that forward: `forward`, `survey`.
//!
//! What it does not do: batches (each operation is a unary call), transactions over several slots, watches, TLS.

mod call;
mod client;
mod cluster;
mod connections;
mod crew;
pub mod dispatch;
mod error;
mod forward;
mod scan;
mod survey;
mod txn;
mod value;
pub mod wire_map;

pub use client::{Builder, Client};
pub use error::Error;
pub use forward::{Forwarder, Unanswered};
pub use scan::{Pages, Scan};
pub use txn::{Txn, TxnAnswer, TxnResult};
pub use value::{KeyValue, ScanRange, Stale, Swap, Value, Version};
