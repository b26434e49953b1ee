//! The program's flags from outside: what beats what, and how a wrong one is answered.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use flotilla_daemon::trial::{self, refused};

fn kvnode(directory: &Path) -> Command {
    trial::bare(env!("CARGO_BIN_EXE_kvnode"), directory)
}

#[test]
fn a_wrong_value_gets_one_line_that_names_the_flag() {
    let directory = tempfile::tempdir().unwrap();
    let wrong: [(&[&str], &[&str]); 16] = [
        (&[], &["--id", "--data-dir"]),
        (&["--id", "0", "--data-dir", "d"], &["--id", "'0'", "a number from 1"]),
        (&["--id", "x", "--data-dir", "d"], &["--id", "'x'"]),
        (&["--data-dir", "d"], &["--id"]),
        (&["--id", "1", "--data-dir", "d", "--shard", "3"], &["--shard"]),
        (&["--id", "1", "--data-dir", "d", "--client-addr", "nowhere"], &["--client-addr", "HOST:PORT"]),
        (&["--id", "1", "--data-dir", "d", "--init", "1=a:1,2"], &["--init", "ID=HOST:PORT"]),
        (&["--id", "1", "--data-dir", "d", "--init", "2=a:1"], &["--init", "--id 1"]),
        (&["--id", "1", "--data-dir", "d", "--init", "1=a:1,1=b:1"], &["--init", "twice"]),
        (&["--id", "1", "--data-dir", "d", "--init", "1=a:1", "--replicas", "3"], &["--replicas", "3"]),
        (&["--id", "1", "--data-dir", "d", "--value-bytes-max", "1TB"], &["--value-bytes-max", "'1TB'"]),
        (
            &["--id", "1", "--data-dir", "d", "--election-timeout-min-ms", "300"],
            &["--election-timeout-max-ms"],
        ),
        (&["--id", "1", "--data-dir", "d", "--heartbeat-interval-ms", "100"], &["--heartbeat-interval-ms"]),
        (
            &["--id", "1", "--data-dir", "d", "--beat-interval-ms", "51"],
            &["--beat-interval-ms", "a third", "150"],
        ),
        (&["--id", "1", "--data-dir", "d", "--support-ms", "151"], &["--support-ms", "--idle-after-ms 0"]),
        (
            &["--id", "1", "--data-dir", "d", "--client-addr", "192.0.2.1:7501"],
            &["--client-addr", "--insecure"],
        ),
    ];
    for (arguments, words) in wrong {
        refused(kvnode(directory.path()).args(arguments), words);
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    std::fs::write(&file, "id = 1\ndata-dir = \"d\"\nclient-addr = \"192.0.2.1:1\"\n").unwrap();
    let from_file = || {
        let mut command = kvnode(directory.path());
        command.arg("--config").arg(&file);
        command
    };
    // The refusal of an address that is not loopback tells which of them counted.
    refused(&mut from_file(), &["192.0.2.1:1"]);
    refused(from_file().env("KVNODE_CLIENT_ADDR", "192.0.2.2:1"), &["192.0.2.2:1"]);
    let all = ["--client-addr", "192.0.2.3:1"];
    refused(from_file().env("KVNODE_CLIENT_ADDR", "192.0.2.2:1").args(all), &["192.0.2.3:1"]);
    let named = kvnode(directory.path()).env("KVNODE_CONFIG", &file).output().unwrap();
    assert!(
        String::from_utf8(named.stderr).unwrap().contains("192.0.2.1:1"),
        "the file itself by environment"
    );
}

#[test]
fn a_wrong_file_is_named_with_the_place_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    let with = |text: &str, words: &[&str]| {
        std::fs::write(&file, text).unwrap();
        refused(kvnode(directory.path()).arg("--config").arg(&file), words);
    };
    with("id = 1\ndata-dir = \n", &["--config", "node.toml", "line 2"]);
    with("id = 1\ncolour = \"red\"\n", &["--config", "colour", "no such flag"]);
    with("id = 1\ndata-dir = \"d\"\ninsecure = 3\n", &["--config", "insecure", "true or false"]);
    with("id = 1\ndata-dir = \"d\"\nshards = 0\n", &["--shards", "'0'"]);
    with("id = 1\ndata-dir = \"d\"\ninit = [\"1=a:1\", \"2=b\"]\n", &["--init", "2=b"]);
    refused(kvnode(directory.path()).args(["--config", "missing.toml"]), &["--config", "missing.toml"]);
}

/// Found by the door `config` of `flotilla-hostile`: an empty line in a value cut the flag's name off, and a name in the file
/// could hold a line break or move the cursor.
#[test]
fn a_wrong_value_of_several_lines_still_gets_one_line() {
    let directory = tempfile::tempdir().unwrap();
    refused(
        kvnode(directory.path()).args(["--id", "1\n\n2", "--data-dir", "d"]),
        &["--id", "a number from 1"],
    );
    let file = directory.path().join("node.toml");
    std::fs::write(&file, "id = 1\n\"co\\nl\\u001bour\" = \"red\"\n").unwrap();
    refused(kvnode(directory.path()).arg("--config").arg(&file), &["no such flag", r"co\nl\u{1b}our"]);
}

#[test]
fn help_explains_and_version_names_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let help = trial::printed(kvnode(directory.path()), "--help");
    for flag in
        ["--id", "--init", "--election-timeout-min-ms", "--overlay-bytes-max", "[default: 150]", "KVNODE_ID"]
    {
        assert!(help.contains(flag), "--help does not say {flag}");
    }
    let version = trial::printed(kvnode(directory.path()), "--version");
    assert_eq!(version.trim(), format!("kvnode {}", flotilla_node::VERSION_LINE));
}
