//! Follows the cluster map: asks one node to send every newer one, so that a client learns of moves without being redirected.
//!
//! When that node is gone the next one is asked, after a wait that grows. Meanwhile a redirect that speaks of a newer map makes the
//! client fetch it, as ever; and so does a watch that could not be had, if a newer map was spoken of.
//!
//! What it does not do: watch through routers, which do not tell the map; a client that only goes through them needs none.

use std::sync::{Arc, Weak};
use std::time::Duration;

use flotilla_proto::v1;
use flotilla_topology::ShardId;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::call::cluster;
use crate::crew::{Crew, pause};
use crate::dispatch::{Backoff, Routes, Target};
use crate::wire_map;

/// The first wait after a watch that broke.
const WAIT_FIRST: Duration = Duration::from_millis(50);

/// The longest wait before the next node is asked.
const WAIT_LONGEST: Duration = Duration::from_secs(5);

/// Watches until aborted, or the client is gone.
pub(crate) fn start(crew: &Arc<Crew>, seed: u64) -> AbortHandle {
    tokio::spawn(follow(Arc::downgrade(crew), seed)).abort_handle()
}

async fn follow(crew: Weak<Crew>, seed: u64) {
    let mut backoff = Backoff::between(WAIT_FIRST, WAIT_LONGEST, seed);
    let mut turn = 0;
    loop {
        // Not held while the stream is silent: the client must be able to go away.
        let Some(present) = crew.upgrade() else { return };
        let stream = open(&present, turn).await;
        turn += 1;
        drop(present);
        if let Some(mut stream) = stream {
            while let Ok(Some(message)) = stream.message().await {
                let Some(crew) = crew.upgrade() else { return };
                if !take(&crew, message) {
                    break;
                }
                backoff = Backoff::between(WAIT_FIRST, WAIT_LONGEST, seed);
            }
        }
        pause(backoff.draw()).await;
        let Some(crew) = crew.upgrade() else { return };
        crew.refresh();
    }
}

/// Asks the next node in turn.
async fn open(crew: &Arc<Crew>, turn: usize) -> Option<Streaming<v1::WatchMapResponse>> {
    let mut candidates = crew.chart.read(|routes| routes.candidates(Target::Shard(ShardId::META)));
    if candidates.is_empty() {
        return None;
    }
    let address = candidates.swap_remove(turn % candidates.len());
    let known_epoch = crew.chart.read(|routes| routes.map().map_or(0, |map| map.epoch.0));
    let connection = crew.connections.get(&address).await.ok()?;
    let mut client = cluster(connection.channel.clone());
    let opening = client.watch_map(v1::WatchMapRequest { known_epoch });
    match timeout(crew.options.attempt, opening).await {
        Ok(Ok(response)) => Some(response.into_inner()),
        Ok(Err(status)) => {
            // Who does not know the method is no broken connection.
            if flotilla_proto::status::detail(&status).is_none() && status.code() != Code::Unimplemented {
                crew.connections.forget(&address, &connection).await;
            }
            None
        }
        Err(_) => None,
    }
}

/// Takes a map. Whether the node is to be believed further.
fn take(crew: &Crew, message: v1::WatchMapResponse) -> bool {
    let map = message.map.map(wire_map::decode);
    let Some(Ok(map)) = map else { return false };
    crew.chart.change(|routes: &mut Routes| routes.set_map(map));
    true
}
