//! A fleet that is used, ended, started again, and orphaned.

use rustix::process::Signal;
use serde_json::Value;

use crate::dev::{Dev, SMALL, free_base};

#[test]
fn a_fleet_is_used_ended_and_found_again_and_never_orphaned() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_base();
    let dev = Dev::start(folder.path(), base, &SMALL);
    assert_eq!(dev.kvctl(&["put", "k", "@/proc/self/cmdline"]).status.code(), Some(0));
    assert_eq!(dev.kvctl(&["get", "missing"]).status.code(), Some(1));
    assert_eq!(dev.kvctl(&["del", "missing"]).status.code(), Some(0));
    assert_eq!(dev.kvctl(&["cas", "k", "v", "--version", "0"]).status.code(), Some(1));
    assert_eq!(dev.kvctl(&["put", "k", "exact\n"]).status.code(), Some(0));
    let scan = dev.kvctl(&["scan"]);
    assert_eq!(String::from_utf8(scan.stdout).unwrap(), "k\texact\\n\n");
    let show = dev.kvctl(&["shard", "show", "1", "--output", "json"]);
    let shown: Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(shown["digests"], "equal", "{shown}");
    // What a router does not answer for is asked of the nodes that its map names.
    for args in [&["status"][..], &["shard", "list"], &["node", "list"], &["route", "k"]] {
        let output = dev.kvctl(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    }
    // Ctrl-C: all end well.
    dev.signal(Signal::INT);
    assert_eq!(dev.gone(), Some(0));
    // The data was kept.
    let dev = Dev::start(folder.path(), base, &SMALL);
    assert_eq!(dev.kvctl(&["get", "k"]).stdout, b"exact\n");
    // SIGKILL: nobody can tell the nodes, and yet they end.
    dev.signal(Signal::KILL);
    assert_eq!(dev.gone(), None);
}
