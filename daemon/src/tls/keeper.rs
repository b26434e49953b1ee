//! Looks at the files again, so that a certificate is renewed without a restart; and warns before it ends.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flotilla_tls::{Look, Tls};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::Gate;
use super::refusals::Refusals;

/// How often the files are looked at without being told.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// So long before its end a certificate is spoken of.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);
/// … once in so long.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 3600);

impl Gate {
    /// Keeps the credentials fresh. Runs until it is dropped; without encryption it has nothing to do.
    pub async fn keep(self) {
        let Some((tls, refusals)) = &self.encrypted else { return };
        let mut hangup = signal(SignalKind::hangup())
            .inspect_err(
                |error| warn!(%error, "SIGHUP will not be heard: the files are looked at all the same"),
            )
            .ok();
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = None;
        loop {
            show_end(tls, refusals, &mut warned);
            tokio::select! {
                _ = tick.tick() => {}
                () = told(&mut hangup) => info!("SIGHUP: reading the certificate again"),
            }
            let looking = tls.clone();
            // A look that panicked has changed nothing.
            if let Ok(look) = tokio::task::spawn_blocking(move || looking.look()).await {
                tell(refusals, look);
            }
        }
    }
}

async fn told(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

fn tell(refusals: &Refusals, look: Look) {
    match look {
        Look::Same => {}
        Look::Renewed => {
            refusals.reloads("renewed").increment(1);
            info!("the certificate was read again: new connections use it");
        }
        Look::Refused(error) => {
            refusals.reloads("refused").increment(1);
            error!(%error, "the changed certificate is no use: the old one goes on");
        }
    }
}

/// Shows when the certificate ends, and says so when that is soon.
fn show_end(tls: &Tls, refusals: &Refusals, warned: &mut Option<Instant>) {
    let end = tls.expires();
    let seconds = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    refusals.show_end(seconds as f64);
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    if left > WARN_BEFORE || warned.is_some_and(|warned| warned.elapsed() < WARN_INTERVAL) {
        return;
    }
    *warned = Some(Instant::now());
    let hours = left.as_secs() / 3600;
    if left.is_zero() {
        error!("our certificate has expired: nobody lets us in, and we are let in nowhere");
    } else {
        warn!(hours, "our certificate expires soon");
    }
}
