//! Random histories: what an honest store did must pass; what was lied about must be judged as the brute force judges it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod brute;
mod imitation;

use flotilla_history::{IN_FLIGHT_MAX, OPERATIONS_MAX, Verdict};
use imitation::{Plan, Told, draw, history, imitate, lie};
use rand_core::SeedableRng;
use rand_pcg::Pcg64;

/// Small enough to try every order.
const SMALL: Plan = Plan {
    operations: 7,
    clients: 3,
    keys: 1,
    lost: 15,
    refused: 10,
    hidden: 20,
    values: 0,
    together: false,
    stamps: false,
};

/// As large as the judges take.
const LARGE: Plan = Plan {
    operations: OPERATIONS_MAX,
    clients: IN_FLIGHT_MAX,
    keys: 1,
    lost: 3,
    refused: 3,
    hidden: 0,
    values: 0,
    together: false,
    stamps: true,
};

/// Prints a history before it fails.
#[track_caller]
fn agree(seed: u64, told: &[Told], said: &Verdict, expected: bool) {
    let passes = *said == Verdict::Linearizable;
    let decided = !matches!(said, Verdict::Undecided { .. });
    assert!(decided && passes == expected, "seed {seed}, expected {expected}: {said}\n{}", history(told));
}

fn honest(plan: Plan, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let told = imitate(&mut Pcg64::seed_from_u64(seed), plan);
        let judgement = history(&told).judge();
        agree(seed, &told, &judgement.search, true);
        agree(seed, &told, &judgement.replay, true);
    }
}

/// What the search and the brute force say of small histories with lies; how many of them were found out.
fn lies(plan: Plan, seeds: std::ops::Range<u64>) -> usize {
    let mut found = 0;
    for seed in seeds {
        let mut random = Pcg64::seed_from_u64(seed);
        let mut told = imitate(&mut random, plan);
        for _ in 0..=draw(&mut random, 3) {
            lie(&mut random, &mut told);
        }
        let expected = brute::linearizable(&told);
        agree(seed, &told, &history(&told).judge().search, expected);
        found += usize::from(!expected);
    }
    found
}

#[test]
fn small_honest_histories_pass() {
    honest(SMALL, 0..2_000);
    honest(Plan { keys: 3, together: true, operations: 20, stamps: true, hidden: 0, ..SMALL }, 0..1_000);
}

#[test]
fn small_lies_are_judged_as_by_brute_force() {
    let found = lies(SMALL, 0..3_000);
    assert!((500..2_500).contains(&found), "{found} of 3000: lies of one kind only prove little");
}

#[test]
fn values_that_are_written_twice_are_judged_as_by_brute_force() {
    let found = lies(Plan { values: 2, hidden: 60, ..SMALL }, 0..3_000);
    assert!((300..2_700).contains(&found), "{found} of 3000");
}

#[test]
fn transactions_and_scans_are_judged_as_by_brute_force() {
    let found =
        lies(Plan { keys: 2, together: true, operations: 6, hidden: 40, values: 3, ..SMALL }, 0..3_000);
    assert!((300..2_700).contains(&found), "{found} of 3000");
}

/// Of one key whose versions all are seen, with nothing lost, the replay knows as much as the search. Where something was lost
/// it may be milder, and never stricter.
#[test]
fn the_replay_is_never_wrong_and_with_all_versions_never_mild() {
    let mut found = 0;
    for seed in 0..6_000 {
        let mut random = Pcg64::seed_from_u64(seed);
        let lost = if seed % 2 == 0 { 0 } else { 15 };
        let mut told = imitate(&mut random, Plan { hidden: 0, lost, ..SMALL });
        for _ in 0..=draw(&mut random, 3) {
            lie(&mut random, &mut told);
        }
        let expected = brute::linearizable(&told);
        let said = history(&told).judge().replay;
        if expected || lost == 0 {
            agree(seed, &told, &said, expected);
        }
        found += usize::from(said != Verdict::Linearizable);
    }
    assert!((1_000..5_000).contains(&found), "{found} of 6000");
}

#[test]
fn large_honest_histories_pass() {
    honest(LARGE, 0..10);
    honest(Plan { lost: 10, hidden: 30, ..LARGE }, 0..10);
    honest(Plan { hidden: 100, ..LARGE }, 0..10);
    honest(Plan { keys: 8, together: true, ..LARGE }, 0..10);
}

/// A lie in the middle of a large history: everything after it must be searched through, or cut off.
#[test]
fn large_histories_with_a_lie_are_decided_and_the_judges_agree() {
    let mut found = 0;
    for seed in 0..40 {
        let mut random = Pcg64::seed_from_u64(seed);
        let lost = if seed % 2 == 0 { 0 } else { 3 };
        let mut told = imitate(&mut random, Plan { lost, ..LARGE });
        lie(&mut random, &mut told);
        let judgement = history(&told).judge();
        agree(seed, &told, &judgement.search, judgement.replay == Verdict::Linearizable);
        found += usize::from(!judgement.passes());
    }
    assert!((5..40).contains(&found), "{found} of 40");
}

#[test]
#[should_panic(expected = "key k0 of shard 1: 9 operations are under way at")]
fn more_in_flight_than_can_be_judged_is_refused() {
    let told = imitate(&mut Pcg64::seed_from_u64(1), Plan { clients: 9, operations: 500, ..LARGE });
    assert!(history(&told).judge().passes());
}

#[test]
#[should_panic(expected = "key k0 of shard 1: 1001 operations, at most 1000 can be judged")]
fn more_operations_than_can_be_judged_are_refused() {
    let told = imitate(&mut Pcg64::seed_from_u64(1), Plan { operations: OPERATIONS_MAX + 1, ..LARGE });
    assert!(history(&told).judge().passes());
}
