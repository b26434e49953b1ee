//! The corpora of the fuzzer, and thousands of their neighbours, on stable.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use flotilla_hostile::mutation::Mutator;
use flotilla_hostile::{DOORS, Door, door};

const SEED: u64 = 1;

/// How many neighbours are tried: `FLOTILLA_HOSTILE_INPUTS=100000` tries more.
fn neighbours() -> usize {
    std::env::var("FLOTILLA_HOSTILE_INPUTS").map_or(4_000, |text| text.parse().expect("a number of inputs"))
}

/// Goes through the door; a panic names the input.
fn enter(door: &Door, name: &str, bytes: &[u8]) -> bool {
    let entered = catch_unwind(AssertUnwindSafe(|| (door.enter)(bytes)));
    entered.unwrap_or_else(|_| {
        let kept = std::env::temp_dir().join(format!("hostile-{}-{name}", door.name));
        std::fs::write(&kept, bytes).expect("the input is kept");
        panic!(
            "{}: {name} breaks a promise; {} bytes in {}: give it a name in the corpus",
            door.name,
            bytes.len(),
            kept.display()
        );
    })
}

fn hold(name: &str) {
    let door = door(name);
    let corpus = door.corpus().unwrap_or_else(|error| panic!("the corpus of {name}: {error}"));
    for (seed, bytes) in (door.seeds)() {
        let there = corpus.iter().any(|(name, content)| *name == seed && *content == bytes);
        assert!(
            there,
            "{name}: the corpus lacks {seed}, or holds it in another form: cargo run -p flotilla-hostile"
        );
    }
    let understood = corpus.iter().filter(|(input, bytes)| enter(door, input, bytes)).count();
    assert!(
        understood * 4 >= corpus.len(),
        "{name}: of {} inputs only {understood} are understood",
        corpus.len()
    );

    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let (mut mutator, neighbours) = (Mutator::new(SEED), neighbours());
    let tried =
        (0..neighbours).filter(|nth| enter(door, &format!("neighbour-{nth}"), &mutator.neighbour(&inputs)));
    let understood = tried.count();
    // Else the checksums alone keep everything out, and nothing behind them is tried.
    assert!(
        understood * 100 >= neighbours,
        "{name}: of {neighbours} neighbours only {understood} are understood"
    );
}

macro_rules! one_test_for_each {
    ($($door:ident)*) => {
        $(#[test] fn $door() { hold(stringify!($door)); })*

        #[test]
        fn every_door_is_tried_and_has_a_corpus_and_a_target() {
            let doors: Vec<_> = DOORS.iter().map(|door| door.name).collect();
            assert_eq!(doors, [$(stringify!($door)),*]);
            let fuzz = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");
            let manifest = std::fs::read_to_string(format!("{fuzz}/Cargo.toml")).unwrap();
            for door in doors {
                assert!(manifest.contains(&format!("name = \"{door}\"")), "no target for {door}");
                let target = std::fs::read_to_string(format!("{fuzz}/fuzz_targets/{door}.rs")).unwrap();
                assert!(target.contains(&format!("door(\"{door}\")")), "the target of {door} enters another door");
            }
        }
    };
}

one_test_for_each! { log_recovery snapshot peer request config map }
