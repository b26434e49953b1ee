//! What a disk said when it last answered: the base of its shards, or the file system of its room.
//!
//! Asking it may take long, and a scrape must not: it waits a moment and then shows what was known before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::warn;

/// How long a scrape waits for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// The newest answer.
#[derive(Debug)]
pub(super) struct LastAnswer<T> {
    /// Who is asked.
    whom: &'static str,
    known: Arc<Mutex<T>>,
    /// One reader at a time: scrapes of a disk that hangs must not pile up threads.
    reading: Arc<Semaphore>,
}

impl<T: Clone + Default + Send + 'static> LastAnswer<T> {
    pub(super) fn of(whom: &'static str) -> Self {
        Self { whom, known: Arc::default(), reading: Arc::new(Semaphore::new(1)) }
    }

    /// Asks away from the threads that serve, and returns what is known then.
    pub(super) async fn read(&self, ask: impl FnOnce() -> Result<T, String> + Send + 'static) -> T {
        let whom = self.whom;
        if let Ok(permit) = Arc::clone(&self.reading).try_acquire_owned() {
            let known = Arc::clone(&self.known);
            let reading = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                match ask() {
                    Ok(answer) => *known.lock().unwrap_or_else(PoisonError::into_inner) = answer,
                    Err(reason) => warn!(whom, reason, "it cannot be read: its numbers are old"),
                }
            });
            if tokio::time::timeout(PATIENCE, reading).await.is_err() {
                warn!(whom, "it is slow: its numbers are old");
            }
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_base_that_hangs_holds_nobody_up_and_takes_one_thread() {
        let base = LastAnswer::of("the base");
        assert_eq!(base.read(|| Ok(1)).await, 1);
        let (release, hanging) = mpsc::channel::<()>();
        let old = base.read(move || {
            let _ = hanging.recv();
            Ok(2)
        });
        assert_eq!(old.await, 1, "what was known before is shown");
        let second = base.read(|| panic!("a second reader of a base that hangs"));
        assert_eq!(second.await, 1);
        drop(release);
        // The hanging reader has ended when its permit is back.
        drop(base.reading.acquire().await);
        assert_eq!(base.read(|| Err("it is being reopened".to_string())).await, 2);
    }
}
