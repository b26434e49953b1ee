//! The promises to scripts, kept by the built binary, without a fleet.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn kvctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    kvctl().args(args).output().unwrap()
}

/// An address at which nobody listens: it was bound a moment ago.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn wrong_usage_is_one_line_and_code_2_with_nothing_on_stdout() {
    let cases: [&[&str]; 9] = [
        &["load", "/nowhere/at/all"],
        &["load", "-", "--restart", "--from-line", "2"],
        &["dump", "--after-b64", "?"],
        &["status", "--timeout", "never"],
        &["get"],
        &["get", ""],
        &["put", "k", "@/nowhere/at/all"],
        &["no-such-verb"],
        &["dev", "--nodes", "2", "--replicas", "3", "--dir", "never-made"],
    ];
    for args in cases {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        let line = stderr(&output);
        assert!(line.starts_with("kvctl: ") && line.lines().count() == 1, "{args:?}: {line:?}");
    }
}

#[test]
fn without_a_fleet_every_verb_says_so_at_once_with_code_3() {
    let endpoint = nobody();
    let cases: [&[&str]; 15] = [
        &["ring", "show"],
        &["node", "drain", "1"],
        &["node", "remove", "1", "--force"],
        &["shard", "rebalance"],
        &["load", "-"],
        &["dump"],
        &["get", "k"],
        &["put", "k", "v"],
        &["del", "k"],
        &["cas", "k", "v", "--version", "0"],
        &["scan"],
        &["route", "k"],
        &["status"],
        &["shard", "show", "1"],
        &["node", "list"],
    ];
    for args in cases {
        let output = kvctl().args(args).args(["--endpoint", &endpoint]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{args:?}: {output:?}");
        let line = stderr(&output);
        let expected = format!("kvctl: no fleet answers: {endpoint}: connection refused");
        assert!(line.starts_with(&expected) && line.lines().count() == 1, "{args:?}: {line:?}");
    }
}

#[test]
fn the_environment_lies_under_the_flags() {
    let (from_flag, from_environment) = (nobody(), nobody());
    let output = kvctl().env("KVCTL_ENDPOINT", &from_environment).arg("status").output().unwrap();
    assert!(stderr(&output).contains(&from_environment), "{output:?}");
    let mut command = kvctl();
    command.env("KVCTL_ENDPOINT", &from_environment).args(["status", "--endpoint", &from_flag]);
    let output = command.output().unwrap();
    assert!(
        stderr(&output).contains(&from_flag) && !stderr(&output).contains(&from_environment),
        "{output:?}"
    );
    let output = kvctl().env("KVCTL_TIMEOUT", "soon").arg("status").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn help_and_version_go_to_stdout_without_colour() {
    for args in [&["--help"][..], &["--version"], &["shard", "transfer-leader", "--help"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}: {output:?}");
        assert!(!output.stdout.contains(&0x1b), "{args:?}: colour where there is no terminal");
    }
    let nothing = run(&[]);
    assert_eq!((nothing.status.code(), nothing.stdout.is_empty()), (Some(2), true), "{nothing:?}");
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let mut child =
        kvctl().args(["completion", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("kvctl"), "{first:?}");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_port_in_use_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // The first of the ports that are looked at: of the others, somebody else may have one at this moment.
    let base = taken.local_addr().unwrap().port().to_string();
    let dir = folder.path().to_str().unwrap();
    let output = run(&["dev", "--nodes", "1", "--shards", "1", "--dir", dir, "--base-port", &base]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let line = stderr(&output);
    assert!(line.contains("(router, clients) is in use") && line.lines().count() == 1, "{line:?}");
}
