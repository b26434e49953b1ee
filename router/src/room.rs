//! How much may be under way in this router at once, in bytes of requests.

use std::sync::Arc;

use flotilla_proto::status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// What each request takes beside its own bytes: its future, its place in queues, a small answer.
const REQUEST_BYTES: usize = 1024;
/// Not worth asking again sooner.
const RETRY_MS: u64 = 20;

/// The room of one router. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    bytes_max: usize,
}

impl Room {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(bytes_max)), bytes_max }
    }

    /// Room for a message, until what comes back is dropped; or RESOURCE_EXHAUSTED, surely not executed.
    pub(crate) fn take(&self, message_bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let wanted = u32::try_from(cost(message_bytes)).unwrap_or(u32::MAX);
        Arc::clone(&self.free).try_acquire_many_owned(wanted).map_err(|_| {
            let bytes_max = self.bytes_max;
            status::exhausted(
                None,
                RETRY_MS,
                format!("requests of {bytes_max} bytes are under way in this router"),
            )
        })
    }
}

/// What a message of so many bytes takes.
pub(crate) const fn cost(message_bytes: usize) -> usize {
    message_bytes.saturating_add(REQUEST_BYTES)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_does_not_fit_is_surely_not_executed() {
        let room = Room::new(3 * REQUEST_BYTES);
        let held = room.take(REQUEST_BYTES).unwrap();
        let refused = room.take(1).unwrap_err();
        assert_eq!((refused.code(), status::definite(&refused)), (Code::ResourceExhausted, true));
        drop(held);
        assert!(room.take(2 * REQUEST_BYTES).is_ok(), "what was given back is free");
    }
}
