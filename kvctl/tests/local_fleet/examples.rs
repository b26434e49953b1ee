//! The SDK's examples, as cargo builds them, against the router of a real fleet. They judge themselves by their exit code.
//!
//! Cargo puts them beside the tests when it builds the whole workspace for testing; with `-p flotilla-kvctl` it does not, and
//! older ones are run, or none is found, which the story says.

use std::process::Command;

use crate::dev::{Dev, SMALL, free_base};

const EXAMPLES: [&str; 6] = ["put_get", "many", "cas_counter", "txn_transfer", "scan", "readme"];

#[test]
fn each_example_works_through_a_router() {
    let here = std::env::current_exe().unwrap();
    // The test itself lies in `deps`, beside `examples`.
    let folder = here.parent().unwrap().parent().unwrap().join("examples");
    let missing: Vec<&str> = EXAMPLES.into_iter().filter(|name| !folder.join(name).is_file()).collect();
    assert!(missing.is_empty(), "not built: {missing:?}; cargo build -p flotilla-client --examples");

    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path(), free_base(), &SMALL);
    for name in EXAMPLES {
        let output = Command::new(folder.join(name)).env_clear().arg(&dev.endpoint).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{name}: {output:?}");
    }
}
