//! The holder's side: what others promised this node.

use std::collections::BTreeMap;
use std::time::Duration;

use flotilla_raft::{Held, SupportNumber, Time};
use flotilla_topology::NodeId;

use super::BeatAnswer;

/// Millionths in a whole.
const WHOLE_PPM: u128 = 1_000_000;

/// What each other node promised.
#[derive(Debug, Default)]
pub(super) struct Holding(BTreeMap<NodeId, Promised>);

#[derive(Debug)]
struct Promised {
    held: Held,
    /// When the newest beat was sent that was answered under this number.
    answered: Time,
}

impl Holding {
    /// An answer to a beat of this life. Answers may come late, twice, and in any order.
    pub(super) fn take(&mut self, from: NodeId, answer: BeatAnswer, drift_ppm: u32) {
        // From the moment of *sending*: the promise counts from receiving, which was later, however long the answer took.
        let promised = Held { number: answer.number, until: answer.sent + surely(answer.support, drift_ppm) };
        let new = || Promised { held: promised, answered: answer.sent };
        let known = self.0.entry(from).or_insert_with(new);
        if promised.number > known.held.number {
            *known = new();
        } else if promised.number == known.held.number {
            known.held.until = known.held.until.max(promised.until);
            known.answered = known.answered.max(answer.sent);
        }
    }

    pub(super) fn of(&self, from: NodeId) -> Option<Held> {
        self.0.get(&from).map(|known| known.held)
    }

    /// Under which number a node answers, and when the newest of the beats was sent that it has.
    pub(super) fn heard(&self, from: NodeId) -> Option<(SupportNumber, Time)> {
        self.0.get(&from).map(|known| (known.held.number, known.answered))
    }
}

/// How long one may count on what another's clock measures as `support`. The other's may be too fast by the drift, one's own too
/// slow by as much: `support × (1 − d) / (1 + d)`.
fn surely(support: Duration, drift_ppm: u32) -> Duration {
    let drift = u128::from(drift_ppm).min(WHOLE_PPM);
    let micros = support.as_micros() * (WHOLE_PPM - drift) / (WHOLE_PPM + drift);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_ends_before_what_is_given_at_the_edges_of_the_drift() {
        let support = Duration::from_millis(90);
        for drift in [0, 1, 200, 10_000, 250_000, 999_999, 1_000_000, u32::MAX] {
            let held = u128::from(u64::try_from(surely(support, drift).as_micros()).unwrap());
            let drift = u128::from(drift).min(WHOLE_PPM);
            // True time, in millionths of a microsecond times the drift's denominators: the holder's clock too slow, the
            // supporter's too fast.
            assert!(
                held * (WHOLE_PPM + drift) <= support.as_micros() * (WHOLE_PPM - drift),
                "{held} us with {drift} ppm"
            );
        }
        assert_eq!(surely(support, 0), support);
        assert_eq!(surely(support, 10_000), Duration::from_micros(88_217));
    }
}
