//! `kvctl dev` with real processes: a fleet that is used, ended, started again, and orphaned.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kvctl");

/// Longer than a node may take to end by itself.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// A running `kvctl dev`, killed when the test ends early.
struct Dev {
    child: Child,
    endpoint: String,
    processes: Vec<OwnedFd>,
}

impl Dev {
    /// Starts one with two nodes, and waits until it says that it is ready.
    fn start(dir: &Path, base_port: u16) -> Self {
        let mut child = Command::new(PROGRAM)
            .args([
                "dev",
                "--output",
                "json",
                "--nodes",
                "2",
                "--shards",
                "2",
                "--base-port",
                &base_port.to_string(),
            ])
            .arg("--dir")
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("kvctl dev did not become ready");
        let nodes = ready["nodes"].as_array().unwrap();
        let process = |node: &Value| {
            let pid = Pid::from_raw(i32::try_from(node["pid"].as_i64().unwrap()).unwrap()).unwrap();
            pidfd_open(pid, PidfdFlags::empty()).unwrap()
        };
        let router = &ready["router"];
        let endpoint = router["client_addr"].as_str().unwrap().to_string();
        assert_eq!(endpoint, format!("127.0.0.1:{base_port}"));
        Self { processes: std::iter::once(router).chain(nodes).map(process).collect(), child, endpoint }
    }

    fn kvctl(&self, args: &[&str]) -> Output {
        Command::new(PROGRAM).args(args).args(["--endpoint", &self.endpoint]).output().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the parent and all its children are gone.
    fn gone(mut self) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        for child in &self.processes {
            // A process's descriptor becomes readable when the process has ended.
            let ended = poll(&mut [PollFd::new(child, PollFlags::IN)], Some(&PATIENCE)).unwrap();
            assert_eq!(ended, 1, "a child outlived its parent");
        }
        code
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its children follow by their lifelines.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A base of which all ports are free.
fn free_base() -> u16 {
    let pid = std::process::id() as u16 % 40;
    let bases = (0..40).map(|step| 20_000 + (pid + step) % 40 * 300);
    let free = |base: &u16| {
        [0, 80, 101, 102, 201, 202, 301, 302]
            .iter()
            .all(|at| TcpListener::bind(("127.0.0.1", base + at)).is_ok())
    };
    bases.into_iter().find(free).unwrap()
}

#[test]
fn a_fleet_is_used_ended_and_found_again_and_never_orphaned() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_base();
    let dev = Dev::start(folder.path(), base);
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
    let dev = Dev::start(folder.path(), base);
    assert_eq!(dev.kvctl(&["get", "k"]).stdout, b"exact\n");
    // SIGKILL: nobody can tell the nodes, and yet they end.
    dev.signal(Signal::KILL);
    assert_eq!(dev.gone(), None);
}
