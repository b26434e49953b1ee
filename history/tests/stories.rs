//! Runs the histories in `tests/stories`: good ones, and one or more for each way in which a store can lie. Each says what
//! both judges say of it. After a change, `UPDATE_GOLDENFILES=1 cargo test -p flotilla-history --test stories` writes what they
//! say now: read the difference as critically as the code.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod notation;

use std::path::Path;

fn run(story: &str) {
    let path = Path::new("tests/stories").join(story);
    goldenscript::run(&mut notation::Story::default(), path)
        .unwrap_or_else(|error| panic!("{story}: {error}"));
}

/// One test per story, and a check that no story is forgotten.
macro_rules! stories {
    ($($story:ident)*) => {
        $(#[test] fn $story() { run(stringify!($story)); })*

        #[test]
        fn every_story_is_told() {
            let told = [$(stringify!($story)),*];
            for file in std::fs::read_dir("tests/stories").unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                assert!(name == "README.md" || told.contains(&name.as_str()), "{name} is not in the list of stories");
            }
        }
    };
}

stories! {
    ambiguous_writes
    compare_and_swap
    deletes
    lost_update
    refused_writes
    retries
    scans
    stale_reads
    terms_and_counters
    transactions
}
