//! For a node that passes operations on to other nodes: one attempt each, on lanes that all of them share.
//!
//! A node knows itself who leads, and follows redirects itself, because it says who it asked. So it needs neither routes nor
//! retries from here, only that what goes to the same address at the same time travels together.
//!
//! ```text
//!   unary call ─┐
//!   unary call ─┼─ carry ─▶ room? ─▶ the lane to that address ─▶ Kv.Pipeline ─▶ node
//!   a pipeline ─┘             └ no: refused at once, surely not executed
//! ```
//!
//! What it does not do: choose the address, change the operation, try again, or wait for room.

use std::sync::Arc;
use std::time::Duration;

use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_tls::Tls;
use tokio::sync::Semaphore;

use crate::connections::Connections;
use crate::crew::OPERATION_BYTES;
use crate::dispatch::Failure;
use crate::lanes::{Arrival, Lanes};

/// How long things may take, and how much may be under way.
#[derive(Clone, Debug)]
pub struct CourierOptions {
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long the other side may take to agree to a stream. Nothing leaves before.
    pub opening_timeout: Duration,
    /// How many bytes of keys and values may be under way; each operation counts for 256 more.
    pub under_way_bytes_max: usize,
    /// How many bytes a message may have, both ways.
    pub message_bytes_max: usize,
    /// With what connections are encrypted; nothing: they are not.
    pub tls: Option<Tls>,
}

/// Why an operation has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Too much is under way: it was surely not executed, and is worth trying again.
    Full,
    /// The attempt failed.
    Failed(Failure),
}

/// Carries operations.
#[derive(Debug)]
pub struct Courier {
    lanes: Lanes,
    room: Semaphore,
    room_bytes: usize,
}

impl Courier {
    /// Without any connection yet.
    #[must_use]
    pub fn new(options: &CourierOptions) -> Self {
        let connections = Arc::new(Connections::new(options.connect_timeout, options.tls.clone()));
        let room_bytes = options.under_way_bytes_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            lanes: Lanes::new(connections, options.opening_timeout, options.message_bytes_max),
            room: Semaphore::new(room_bytes),
            room_bytes,
        }
    }

    /// Makes one attempt. `bytes` is what the keys and values take; without `patience` it waits until the answer is there or the
    /// connection breaks. Whoever drops the future gives the operation up.
    ///
    /// # Errors
    ///
    /// See [`Undelivered`].
    pub async fn carry(
        &self,
        address: &str,
        operation: Operation,
        bytes: usize,
        patience: Option<Duration>,
    ) -> Result<Outcome, Undelivered> {
        // What is larger than all the room goes alone.
        let wanted = bytes.saturating_add(OPERATION_BYTES).min(self.room_bytes);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let Ok(_room) = self.room.try_acquire_many(wanted) else { return Err(Undelivered::Full) };
        let arrival = match self.lanes.join(address, operation, bytes, patience) {
            Ok(passage) => passage.await,
            Err(arrival) => arrival,
        };
        match arrival {
            Arrival::Answered(outcome) => Ok(outcome),
            Arrival::Failed(failure) => Err(Undelivered::Failed(failure)),
            Arrival::Late(at) => Err(Undelivered::Failed(Arrival::late(address, at, patience))),
            Arrival::NoPipeline => {
                self.lanes.ask_again(address);
                Err(Undelivered::Failed(Failure::not_sent(format!("{address}: has no pipeline"))))
            }
        }
    }
}
