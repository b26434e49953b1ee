//! Makes a failing scenario smaller while the same judge still says the same of it: what is left is what matters.

use std::time::Duration;

use crate::network::Weather;
use crate::runs::{Failure, run};
use crate::scenario::Scenario;

/// So many worlds are tried at most.
const TRIES_MAX: usize = 60;

/// A smaller scenario that breaks the same promise, and how. `tried` hears of each attempt.
pub fn shrink(
    scenario: Scenario,
    failure: Failure,
    mut tried: impl FnMut(&Scenario, bool),
) -> (Scenario, Failure) {
    let (mut smallest, mut tries) = ((scenario, failure), 0);
    loop {
        let mut smaller = None;
        for candidate in candidates(&smallest.0) {
            if tries == TRIES_MAX {
                return smallest;
            }
            tries += 1;
            let failure = run(&candidate, false).failure.filter(|failure| failure.judge == smallest.1.judge);
            tried(&candidate, failure.is_some());
            if let Some(failure) = failure {
                smaller = Some((candidate, failure));
                break;
            }
        }
        match smaller {
            Some(found) => smallest = found,
            None => return smallest,
        }
    }
}

/// Each a little smaller than the scenario, the boldest first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut push = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        all.push(candidate);
    };
    if scenario.operations_min > 0 {
        push(&|it| it.operations_min = 0);
    }
    if scenario.lasts > Duration::from_secs(2) {
        push(&|it| it.lasts /= 2);
    }
    if scenario.nodes > 3 && !scenario.moves {
        push(&|it| {
            it.nodes = 3;
            it.replicas = it.replicas.min(3);
        });
    }
    if scenario.moves {
        push(&|it| {
            it.moves = false;
            it.faults.retain(|kind| !kind.is_of_moves());
        });
    }
    if scenario.nodes > 4 && scenario.moves {
        push(&|it| it.nodes = 4);
    }
    if scenario.joiners > 0 {
        push(&|it| it.joiners -= 1);
    }
    if scenario.repair_after.is_some() {
        push(&|it| it.repair_after = None);
    }
    if scenario.shards > 1 {
        push(&|it| it.shards = 1);
    }
    if scenario.clients > 1 {
        push(&|it| it.clients /= 2);
    }
    if scenario.workers > 1 {
        push(&|it| it.workers = 1);
    }
    if scenario.weather.lost_permille + scenario.weather.doubled_permille > 0 {
        push(&|it| it.weather = Weather::FAIR);
    }
    for place in 0..scenario.faults.len() {
        push(&move |it: &mut Scenario| {
            it.faults.remove(place);
        });
    }
    all
}
