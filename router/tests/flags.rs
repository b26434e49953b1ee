//! The program's flags from outside: what beats what, how a wrong one is answered, and how it ends.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use flotilla_daemon::trial::{self, refused};

fn kvrouter(directory: &Path) -> Command {
    trial::bare(env!("CARGO_BIN_EXE_kvrouter"), directory)
}

#[test]
fn a_wrong_value_gets_one_line_that_names_the_flag() {
    let directory = tempfile::tempdir().unwrap();
    let wrong: [(&[&str], &[&str]); 7] = [
        (&[], &["--nodes"]),
        (&["--nodes", "nowhere"], &["--nodes", "'nowhere'", "HOST:PORT"]),
        (&["--nodes", "a:1,b"], &["--nodes", "'b'"]),
        (&["--nodes", "a:1", "--client-addr", "here:0"], &["--client-addr", "HOST:PORT"]),
        (&["--nodes", "a:1", "--deadline-ms", "60000"], &["--deadline-ms", "60000"]),
        (&["--nodes", "a:1", "--colour", "red"], &["--colour"]),
        (&["--nodes", "a:1", "--http-addr", "192.0.2.1:74"], &["--http-addr", "--insecure"]),
    ];
    for (arguments, words) in wrong {
        let free = ["--client-addr", "localhost:17400"];
        let given = arguments.contains(&"--client-addr");
        refused(
            kvrouter(directory.path()).args(arguments).args(if given { &free[..0] } else { &free }),
            words,
        );
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("router.toml");
    std::fs::write(&file, "nodes = [\"a:1\", \"b:1\"]\nclient_addr = \"192.0.2.1:1\"\n").unwrap();
    let from_file = || {
        let mut command = kvrouter(directory.path());
        command.arg("--config").arg(&file);
        command
    };
    // The refusal of an address that is not loopback tells which of them counted.
    refused(&mut from_file(), &["192.0.2.1:1"]);
    refused(from_file().env("KVROUTER_CLIENT_ADDR", "192.0.2.2:1"), &["192.0.2.2:1"]);
    let flag = ["--client-addr", "192.0.2.3:1"];
    refused(from_file().env("KVROUTER_CLIENT_ADDR", "192.0.2.2:1").args(flag), &["192.0.2.3:1"]);
    refused(kvrouter(directory.path()).env("KVROUTER_CONFIG", &file), &["192.0.2.1:1"]);
}

#[test]
fn a_wrong_file_is_named_with_the_place_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("router.toml");
    let with = |text: &str, words: &[&str]| {
        std::fs::write(&file, text).unwrap();
        refused(kvrouter(directory.path()).arg("--config").arg(&file), words);
    };
    with("nodes = \"a:1\"\nhttp-addr = \n", &["--config", "router.toml", "line 2"]);
    with("nodes = \"a:1\"\ncolour = \"red\"\n", &["--config", "colour", "no such flag"]);
    with("nodes = \"a:1\"\ninsecure = 3\n", &["--config", "insecure", "true or false"]);
    with("nodes = \"a:1\"\ndeadline-ms = 1\n", &["--deadline-ms", "'1'"]);
    refused(kvrouter(directory.path()).args(["--config", "missing.toml"]), &["--config", "missing.toml"]);
}

#[test]
fn help_explains_and_version_names_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let help = trial::printed(kvrouter(directory.path()), "--help");
    for words in ["--nodes", "--insecure", "[default: 127.0.0.1:7400]", "KVROUTER_NODES", "in ms"] {
        assert!(help.contains(words), "--help does not say {words}");
    }
    let version = trial::printed(kvrouter(directory.path()), "--version");
    assert_eq!(version.trim(), format!("kvrouter {}", flotilla_router::VERSION_LINE));
}

#[test]
fn a_terminated_router_ends_with_success() {
    let directory = tempfile::tempdir().unwrap();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let flags = ["--nodes", "127.0.0.1:1", "--client-addr", &free(), "--http-addr", &free()];
    let mut router = kvrouter(directory.path()).args(flags).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(router.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("listening"), "the first line says where");
    let kill = Command::new("kill").args(["-TERM", &router.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(router.wait().unwrap().success(), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("SIGTERM")), "{rest:?}");
}
