//! How a story waits: for something to become true, never for a time to pass.

use std::time::{Duration, Instant};

/// Longer than anything here takes on a machine that is busy with other things; only a failure waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at other processes, which cannot call us.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// There is none within [`PATIENCE`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// A pause between two questions to processes that have just refused one.
pub async fn breath() {
    tokio::time::sleep(PAUSE).await;
}
