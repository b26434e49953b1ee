//! What the base says of the shards and of its disk, as it was when it last answered.
//!
//! Reading it may wait for a disk, and a scrape must not: it waits a moment and then shows what was known before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flotilla_store::disk::Room;
use flotilla_topology::ShardId;
use tokio::sync::Semaphore;
use tracing::warn;

use super::shards::Stored;

/// How long a scrape waits for the base.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the base says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BaseSaid {
    pub shards: BTreeMap<ShardId, Stored>,
    /// Of its disk, if that tells.
    pub room: Option<Room>,
}

/// The newest answer.
#[derive(Debug)]
pub(super) struct BaseNumbers {
    known: Arc<Mutex<BaseSaid>>,
    /// One reader at a time: scrapes of a base that hangs must not pile up threads.
    reading: Arc<Semaphore>,
}

impl Default for BaseNumbers {
    fn default() -> Self {
        Self { known: Arc::default(), reading: Arc::new(Semaphore::new(1)) }
    }
}

impl BaseNumbers {
    /// Reads the base away from the threads that serve, and returns what is known then.
    pub(super) async fn read(
        &self,
        read: impl FnOnce() -> Result<BaseSaid, String> + Send + 'static,
    ) -> BaseSaid {
        if let Ok(permit) = Arc::clone(&self.reading).try_acquire_owned() {
            let known = Arc::clone(&self.known);
            let reading = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                match read() {
                    Ok(numbers) => *known.lock().unwrap_or_else(PoisonError::into_inner) = numbers,
                    Err(reason) => warn!(reason, "the base cannot be read: its numbers are old"),
                }
            });
            if tokio::time::timeout(PATIENCE, reading).await.is_err() {
                warn!("the base is slow: its numbers are old");
            }
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn numbers(keys: u64) -> BaseSaid {
        let shards = BTreeMap::from([(ShardId(1), Stored { keys, bytes: 10 * keys })]);
        BaseSaid { shards, room: Some(Room { free: 100 - keys, total: 100 }) }
    }

    #[tokio::test]
    async fn a_base_that_hangs_holds_nobody_up_and_takes_one_thread() {
        let base = BaseNumbers::default();
        assert_eq!(base.read(|| Ok(numbers(1))).await, numbers(1));
        let (release, hanging) = mpsc::channel::<()>();
        let old = base.read(move || {
            let _ = hanging.recv();
            Ok(numbers(2))
        });
        assert_eq!(old.await, numbers(1), "what was known before is shown");
        let second = base.read(|| panic!("a second reader of a base that hangs"));
        assert_eq!(second.await, numbers(1));
        drop(release);
        // The hanging reader has ended when its permit is back.
        drop(base.reading.acquire().await);
        assert_eq!(base.read(|| Err("it is being reopened".to_string())).await, numbers(2));
    }
}
