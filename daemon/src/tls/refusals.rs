//! Who was not let in, counted by reason; and a line now and then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flotilla_tls::{Door, Reason, Refusal};
use metrics::{Counter, Gauge};
use tracing::warn;

use crate::metrics::{Registry, Scope};

/// One line for each door and reason in so long: a stranger may knock a thousand times a second.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// What is counted of an encrypted process.
#[derive(Debug)]
pub(super) struct Refusals {
    scope: Scope,
    expires: Gauge,
    lines: Mutex<BTreeMap<(&'static str, Reason), Line>>,
}

/// What was said of one door and reason.
#[derive(Debug)]
struct Line {
    said: Instant,
    /// How many came since.
    unsaid: u64,
}

impl Refusals {
    pub(super) fn new(registry: &Registry) -> Self {
        let scope = registry.scope();
        let expires = scope.gauge("kv_tls_certificate_expires_seconds", &[]);
        Self { scope, expires, lines: Mutex::default() }
    }

    pub(super) fn add(&self, door: Door, from: &str, refusal: &Refusal) {
        let (port, reason) = (port(door), refusal.reason);
        let labels = [("port", port.to_owned()), ("reason", reason.label().to_owned())];
        self.scope.counter("kv_tls_refused_total", &labels).increment(1);
        if let Some(unsaid) = self.to_say(port, reason, Instant::now()) {
            warn!(port, reason = reason.label(), %from, why = %refusal, unsaid, "refused a connection");
        }
    }

    /// How many came since the last line, if it is time for one.
    fn to_say(&self, port: &'static str, reason: Reason, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry((port, reason));
        let mut first = false;
        let line = line.or_insert_with(|| {
            first = true;
            Line { said: now, unsaid: 0 }
        });
        if first || now.duration_since(line.said) >= LINE_INTERVAL {
            line.said = now;
            return Some(std::mem::take(&mut line.unsaid));
        }
        line.unsaid += 1;
        None
    }

    /// What became of a look at changed files.
    pub(super) fn reloads(&self, outcome: &str) -> Counter {
        self.scope.counter("kv_tls_reloads_total", &[("outcome", outcome.to_owned())])
    }

    /// When our certificate expires, in seconds since 1970.
    pub(super) fn show_end(&self, seconds: f64) {
        self.expires.set(seconds);
    }
}

const fn port(door: Door) -> &'static str {
    match door {
        Door::Peer => "peer",
        Door::Client => "client",
        Door::Http => "http",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knocks_all_the_time_is_one_line_now_and_then() {
        let refusals = Refusals::new(&Registry::new());
        let begin = Instant::now();
        let say = |reason, after| refusals.to_say("peer", reason, begin + after);
        assert_eq!(say(Reason::Plaintext, Duration::ZERO), Some(0));
        for _ in 0..1000 {
            assert_eq!(say(Reason::Plaintext, Duration::from_secs(1)), None);
        }
        assert_eq!(say(Reason::Expired, Duration::from_secs(1)), Some(0), "another reason is news");
        assert_eq!(say(Reason::Plaintext, LINE_INTERVAL), Some(1000));
        assert_eq!(say(Reason::Plaintext, LINE_INTERVAL), None);
    }
}
