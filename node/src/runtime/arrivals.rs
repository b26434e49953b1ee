//! Where the transport leaves the cluster maps that other nodes send, for the keeper.
//!
//! Only the newest waits. A queue of all would fill up while the keeper waits for a disk, and then drop the newest, which
//! nobody would send again. What was taken is forgotten here: the keeper knows what it has, and whether a map can be read, so
//! a mad epoch that was sent once keeps no later map out.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flotilla_topology::Epoch;
use tokio::sync::Notify;

/// The newest map that waits. Many leave, one takes.
#[derive(Debug, Default)]
pub struct Arrivals {
    newest: Mutex<Option<(Epoch, Bytes)>>,
    bell: Notify,
}

impl Arrivals {
    /// Leaves a map, unless a newer one waits.
    pub fn leave(&self, epoch: Epoch, map: Bytes) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|(waiting, _)| *waiting < epoch) {
            *newest = Some((epoch, map));
            self.bell.notify_one();
        }
    }

    /// Waits for a map and takes it. Nothing is lost when the wait is given up.
    pub async fn take(&self) -> Bytes {
        loop {
            let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).take();
            match newest {
                Some((_, map)) => return map,
                None => self.bell.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn however_many_come_the_newest_is_taken() {
        let arrivals = Arrivals::default();
        for epoch in [1, 5, 40, 3, 39] {
            arrivals.leave(Epoch(epoch), Bytes::from(format!("map {epoch}")));
        }
        assert_eq!(arrivals.take().await, "map 40");
        arrivals.leave(Epoch(7), Bytes::from_static(b"map 7"));
        assert_eq!(arrivals.take().await, "map 7", "what was taken keeps nothing out");
    }

    #[tokio::test]
    async fn who_waits_is_woken_and_who_gave_up_has_taken_nothing() {
        let arrivals = Arc::new(Arrivals::default());
        let taker = tokio::spawn({
            let arrivals = Arc::clone(&arrivals);
            async move { arrivals.take().await }
        });
        tokio::task::yield_now().await;
        arrivals.leave(Epoch(1), Bytes::from_static(b"first"));
        assert_eq!(taker.await.unwrap(), "first");
        {
            let mut given_up = std::pin::pin!(arrivals.take());
            tokio::select! {
                biased;
                map = &mut given_up => panic!("took {map:?} from nowhere"),
                () = std::future::ready(()) => {}
            }
            arrivals.leave(Epoch(2), Bytes::from_static(b"second"));
        }
        assert_eq!(arrivals.take().await, "second");
    }
}
