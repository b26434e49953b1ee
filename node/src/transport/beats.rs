//! Beats: one small message to each peer every so often, for all shards.
//!
//! They are drawn up and answered on the transport's own threads, and pass everything that waits in an outbox: a worker with much to
//! do, or a log that hangs, delays none. What they say is the host's (`host/support/`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::switchboard::Shared;
use crate::host::Supports;
use crate::runtime::Clock;

/// What beats are made of.
#[derive(Clone, Debug)]
pub struct Pulse {
    /// The promises between this node and others.
    pub supports: Supports,
    /// The clock of the workers: a promise that is made here is kept there.
    pub clock: Clock,
    /// Between two beats.
    pub interval: Duration,
}

/// Beats until the transport is shut down.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut ended = shared.ended();
    let mut ticks = interval(shared.pulse.interval);
    // Beats that were missed are worth nothing.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        let Pulse { supports, clock, .. } = &shared.pulse;
        for peer in shared.all_peers().into_iter().filter(|peer| peer.outbox.is_open()) {
            // The clock is read before the beat leaves: what is held counts from there.
            peer.outbox.beat(&supports.beat(peer.node, clock.time()));
        }
    }
}
