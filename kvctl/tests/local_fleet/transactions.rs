//! `kvctl txn` through the router of a fleet: both branches, their exit codes, and keys that do not belong together.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::dev::{Dev, SMALL, free_base};

/// Founds a ship, or tells which one there is and dismisses its crew.
const FOUND: &str = r#"{
    "compares":  [{"key": "{ship}:name", "exists": false}],
    "then":      [{"put": {"key": "{ship}:name", "value": "Argo"}}, {"put": {"key": "{ship}:crew", "value": "50"}},
                  {"get": {"key": "{ship}:crew"}}],
    "otherwise": [{"get": {"key": "{ship}:name"}}, {"delete": {"key": "{ship}:crew"}}]
}"#;

/// Its keys are of two slots.
const APART: &str = r#"{"then": [{"put": {"key": "a", "value": "1"}}, {"put": {"key": "b", "value": "2"}}]}"#;

const REFUSED: &str = "kvctl: the compares did not hold: `otherwise` was executed\n";

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// A transaction from a file, with more flags.
fn txn(dev: &Dev, folder: &Path, document: &str, flags: &[&str]) -> Output {
    let file = folder.join("txn.json");
    std::fs::write(&file, document).unwrap();
    dev.kvctl(&[&["txn", file.to_str().unwrap()], flags].concat())
}

#[test]
fn a_transaction_takes_one_branch_or_the_other_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&folder.path().join("fleet"), free_base(), &SMALL);
    let run = |document: &str, flags: &[&str]| txn(&dev, folder.path(), document, flags);

    let held = run(FOUND, &["--output", "json"]);
    assert_eq!((held.status.code(), text(&held.stderr)), (Some(0), ""), "{held:?}");
    // All of it makes one version, the first of a fresh shard.
    let expected = json!({"succeeded": true, "version": 1, "values_forgotten": false, "results": [
        {"put": {"key": "{ship}:name", "version": 1}},
        {"put": {"key": "{ship}:crew", "version": 1}},
        {"get": {"key": "{ship}:crew", "found": true, "value": "50", "version": 1, "expires_ms": null}},
    ]});
    assert_eq!(serde_json::from_slice::<Value>(&held.stdout).unwrap(), expected);

    let failed = run(FOUND, &["--output", "json"]);
    assert_eq!((failed.status.code(), text(&failed.stderr)), (Some(1), REFUSED), "{failed:?}");
    let expected = json!({"succeeded": false, "version": 2, "values_forgotten": false, "results": [
        {"get": {"key": "{ship}:name", "found": true, "value": "Argo", "version": 1, "expires_ms": null}},
        {"delete": {"key": "{ship}:crew", "existed": true}},
    ]});
    assert_eq!(serde_json::from_slice::<Value>(&failed.stdout).unwrap(), expected);
    assert_eq!(dev.kvctl(&["get", "{ship}:name"]).stdout, b"Argo");
    assert_eq!(dev.kvctl(&["get", "{ship}:crew"]).status.code(), Some(1));

    let again = run(FOUND, &[]);
    assert_eq!((again.status.code(), text(&again.stderr)), (Some(1), REFUSED), "{again:?}");
    let page = "\
otherwise, version 3

#  OPERATION  KEY          VERSION  RESULT
1  get        {ship}:name        1  Argo
2  delete     {ship}:crew        -  no such key
";
    assert_eq!(text(&again.stdout), page);

    let apart = run(APART, &[]);
    assert_eq!((apart.status.code(), text(&apart.stdout)), (Some(2), ""), "{apart:?}");
    assert!(text(&apart.stderr).contains("its keys lie in 2 slots, but must share one"), "{apart:?}");
    assert_eq!(text(&apart.stderr).lines().count(), 1, "{apart:?}");
    for key in ["a", "b"] {
        assert_eq!(dev.kvctl(&["get", key]).status.code(), Some(1), "{key} was written");
    }
}
