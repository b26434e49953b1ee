//! In which order everything is measured, and how long each measurement may last.
//!
//! ```text
//! round 1:  fleet A: start, fill, load, load, … stop │ fleet B: … │ fleet C: …
//! round 2:  fleet B │ fleet C │ fleet A                              rotated: nobody is always first or last
//! ```
//!
//! A machine's mood (other users, heat, a full disk) changes over minutes. So rounds of all targets alternate instead of one target
//! after the other. Pure: time is an argument.

use std::time::Duration;

use super::suite::Panel;
use crate::fleet::Setup;

/// What starting, filling and stopping one fleet is thought to cost, until it was measured.
pub(super) const FLEET_COST: Duration = Duration::from_secs(4);

/// What one load costs beside its own time: connections, the last answers.
const LOAD_COST: Duration = Duration::from_millis(50);

/// A shorter load measures nothing.
const LOAD_MIN: Duration = Duration::from_millis(400);

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    pub(crate) budget: Option<Duration>,
    pub(crate) rounds: u32,
}

/// Names a load: panel, series, point.
pub(super) type Address = (usize, usize, usize);

/// One fleet, and the loads that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) round: u32,
    pub(super) setup: Setup,
    pub(super) loads: Vec<Address>,
}

/// All turns of all rounds. Only setups that pass `wanted`.
pub(super) fn turns(panels: &[Panel], rounds: u32, wanted: impl Fn(Setup) -> bool) -> Vec<Turn> {
    let mut fleets: Vec<(Setup, Vec<Address>)> = Vec::new();
    for (panel_at, panel) in panels.iter().enumerate() {
        for (series_at, series) in panel.series.iter().enumerate() {
            for (point_at, point) in series.points.iter().enumerate().filter(|(_, it)| wanted(it.setup)) {
                let address = (panel_at, series_at, point_at);
                match fleets.iter_mut().find(|(setup, _)| *setup == point.setup) {
                    Some((_, loads)) => loads.push(address),
                    None => fleets.push((point.setup, vec![address])),
                }
            }
        }
    }
    let mut turns = Vec::new();
    for round in 1..=rounds {
        for (setup, loads) in &fleets {
            turns.push(Turn { round, setup: *setup, loads: loads.clone() });
        }
        if !fleets.is_empty() {
            fleets.rotate_left(1);
        }
    }
    turns
}

/// What is still to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead {
    pub(super) fleets: usize,
    pub(super) loads: usize,
}

impl Ahead {
    pub(super) fn of(turns: &[Turn]) -> Self {
        Self { fleets: turns.len(), loads: turns.iter().map(|turn| turn.loads.len()).sum() }
    }
}

impl Times {
    /// Warm-up and duration of the next load, so that what is ahead fits into what is left; `None`: it cannot.
    pub(super) fn next(
        &self,
        left: Option<Duration>,
        ahead: Ahead,
        fleet_cost: Duration,
    ) -> Option<(Duration, Duration)> {
        let whole = self.warm_up + self.duration;
        let Some(left) = left else { return Some((self.warm_up, self.duration)) };
        let loads = u32::try_from(ahead.loads.max(1)).unwrap_or(u32::MAX);
        let fleets = u32::try_from(ahead.fleets).unwrap_or(u32::MAX);
        let share = (left.saturating_sub(fleet_cost * fleets) / loads).saturating_sub(LOAD_COST);
        if share >= whole {
            return Some((self.warm_up, self.duration));
        }
        let part = share.as_secs_f64() / whole.as_secs_f64();
        (share >= LOAD_MIN).then(|| (self.warm_up.mul_f64(part), self.duration.mul_f64(part)))
    }

    /// How long what is ahead will take.
    pub(super) fn estimate(&self, left: Option<Duration>, ahead: Ahead, fleet_cost: Duration) -> Duration {
        let (warm_up, duration) = self.next(left, ahead, fleet_cost).unwrap_or((Duration::ZERO, LOAD_MIN));
        let loads = u32::try_from(ahead.loads).unwrap_or(u32::MAX);
        let fleets = u32::try_from(ahead.fleets).unwrap_or(u32::MAX);
        (warm_up + duration + LOAD_COST) * loads + fleet_cost * fleets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::suite::{Scale, Suite};

    const SECOND: Duration = Duration::from_secs(1);

    fn times(budget: Option<Duration>) -> Times {
        Times { warm_up: SECOND, duration: 4 * SECOND, budget, rounds: 3 }
    }

    #[test]
    fn every_round_measures_everything_once_and_another_fleet_begins_each() {
        let panels = Suite::All.panels(Scale::Full);
        let turns = turns(&panels, 3, |_| true);
        let points: usize = panels.iter().flat_map(|it| &it.series).map(|it| it.points.len()).sum();
        for round in 1..=3 {
            let mut loads: Vec<Address> =
                turns.iter().filter(|turn| turn.round == round).flat_map(|turn| turn.loads.clone()).collect();
            loads.sort_unstable();
            loads.dedup();
            assert_eq!(loads.len(), points);
        }
        let mut firsts: Vec<Setup> =
            (1..=3).map(|round| turns.iter().find(|turn| turn.round == round).unwrap().setup).collect();
        firsts.dedup();
        assert_eq!(firsts.len(), 3);
        for turn in &turns {
            assert!(turn.loads.iter().all(|(p, s, i)| panels[*p].series[*s].points[*i].setup == turn.setup));
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_started() {
        let panels = Suite::Puts.panels(Scale::Full);
        let turns = turns(&panels, 2, |setup| !matches!(setup, Setup::Etcd { .. } | Setup::Redis));
        assert_eq!(Ahead::of(&turns), Ahead { fleets: 2, loads: 30 });
    }

    #[test]
    fn loads_become_shorter_when_the_budget_is_short() {
        let ahead = Ahead { fleets: 2, loads: 10 };
        let times = times(None);
        assert_eq!(times.next(None, ahead, SECOND), Some((SECOND, 4 * SECOND)));
        assert_eq!(times.next(Some(60 * SECOND), ahead, SECOND), Some((SECOND, 4 * SECOND)));
        // 2 s for the fleets, half a second beside the loads: 25 s are left for 10 loads.
        let (warm_up, duration) = times.next(Some(Duration::from_millis(27_500)), ahead, SECOND).unwrap();
        assert_eq!((warm_up.as_millis(), duration.as_millis()), (500, 2000));
        assert_eq!(times.next(Some(4 * SECOND), ahead, SECOND), None);
        assert_eq!(times.next(Some(Duration::ZERO), ahead, SECOND), None);
    }

    #[test]
    fn the_whole_comparison_takes_what_the_documents_say() {
        let turns = turns(&Suite::All.panels(Scale::Full), 3, |_| true);
        let usual = Times { warm_up: SECOND * 3 / 4, duration: 3 * SECOND, ..times(None) };
        let all = usual.estimate(None, Ahead::of(&turns), FLEET_COST);
        assert!((20 * 60..=25 * 60).contains(&all.as_secs()), "{all:?}");
    }
}
