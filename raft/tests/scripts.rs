//! Runs the stories in `tests/scripts`. Each file is one; its commands are explained in `tests/scripts/README.md`. After a change,
//! `UPDATE_GOLDENFILES=1 cargo test -p flotilla-raft --test scripts` writes what the replicas do now: read the difference as critically
//! as the code.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod cluster;

use std::path::Path;

fn run(story: &str) {
    let path = Path::new("tests/scripts").join(story);
    goldenscript::run(&mut cluster::stage::Stage::default(), path)
        .unwrap_or_else(|error| panic!("{story}: {error}"));
}

/// One test per story, and a check that no story is forgotten.
macro_rules! stories {
    ($($story:ident)*) => {
        $(#[test] fn $story() { run(stringify!($story)); })*

        #[test]
        fn every_story_is_told() {
            let told = [$(stringify!($story)),*];
            for file in std::fs::read_dir("tests/scripts").unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                assert!(name == "README.md" || told.contains(&name.as_str()), "{name} is not in the list of stories");
            }
        }
    };
}

stories! {
    election
}
