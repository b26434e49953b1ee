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
//! There is no call for a batch: operations that are under way at the same time travel together by themselves.
//!
//! ```no_run
//! # async fn example(client: flotilla_client::Client) -> Result<(), flotilla_client::Error> {
//! use futures_util::future::try_join_all;
//!
//! let versions = try_join_all((0..1000).map(|n| client.put(format!("ship:{n}"), "here"))).await?;
//! # drop(versions);
//! # Ok(())
//! # }
//! ```
//!
//! It is in two halves. [`dispatch`] decides, without I/O: what to do next with an operation, who leads, which request id, what
//! shard time it is, what leaves with which batch. The rest does it, over tonic: lanes, connections, the driver, the calls. A
//! write carries one request id in all its attempts, so it is executed at most once however often it is sent; an [`Error`] says
//! whether it may have been.
//!
//! Reading order: `value`, `error`, [`dispatch`], `client`, `txn`, `crew` (the driver), `chart` (the route cache), `lanes`,
//! `call`, `connections`, `scan`, `watch`, `cluster`; for programs that forward: `forward`, `survey`, `courier`.
//!
//! [`Builder::tls`] encrypts everything, and shows the fleet a certificate.
//!
//! What it does not do: transactions over several slots, change feeds.

mod call;
mod chart;
mod client;
mod cluster;
mod connections;
mod courier;
mod crew;
pub mod dispatch;
mod error;
mod forward;
mod lanes;
mod scan;
mod survey;
mod txn;
mod value;
mod watch;
pub mod wire_map;

pub use client::{Builder, Client};
pub use courier::{Courier, CourierOptions, Undelivered};
pub use error::Error;
pub use flotilla_tls::{Files, Owner, Tls, TlsError};
pub use forward::{Forwarder, Unanswered};
pub use scan::{Pages, Scan};
pub use txn::{Txn, TxnAnswer, TxnResult};
pub use value::{KeyValue, ScanRange, Stale, Swap, Value, Version};
