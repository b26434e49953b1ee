//! `kvctl dev` as a child of the test: started, asked, ended, or killed with its parent.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

/// The binary under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kvctl");

/// Longer than a node may take to end by itself.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// Where the router's HTTP is, counted from the base.
const ROUTER_HTTP: u16 = 80;

/// So many bases are tried, so far apart that the ports of two fleets do not meet.
const BASES: u16 = 40;
const STRIDE: u16 = 300;

/// Below the ports that Linux hands out by itself.
const FIRST: u16 = 20_000;

/// Flags of a fleet that is ready soon.
pub const SMALL: [&str; 4] = ["--nodes", "2", "--shards", "2"];

/// How many bases this process has looked at.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// A running `kvctl dev`, killed when the test ends early.
pub struct Dev {
    child: Child,
    base: u16,
    /// The router's client address.
    pub endpoint: String,
    processes: Vec<OwnedFd>,
}

impl Dev {
    /// Starts one with these flags, and waits until it says that it is ready.
    pub fn start(dir: &Path, base: u16, flags: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["dev", "--output", "json", "--base-port", &base.to_string(), "--dir"]).arg(dir);
        let mut child = command.args(flags).stdout(Stdio::piped()).spawn().unwrap();
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
        assert_eq!(endpoint, format!("127.0.0.1:{base}"));
        Self { processes: std::iter::once(router).chain(nodes).map(process).collect(), child, base, endpoint }
    }

    /// The port of the router's HTTP.
    pub fn http_port(&self) -> u16 {
        self.base + ROUTER_HTTP
    }

    /// Runs `kvctl` against its router.
    pub fn kvctl(&self, args: &[&str]) -> Output {
        Command::new(PROGRAM).args(args).args(["--endpoint", &self.endpoint]).output().unwrap()
    }

    /// Sends a signal to the parent alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the parent and all its children are gone.
    pub fn gone(mut self) -> Option<i32> {
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

/// A base of which all ports of three nodes are free. Each is given out once, and processes that test at the same time begin
/// apart from each other.
pub fn free_base() -> u16 {
    let start = (std::process::id() % u32::from(BASES)) as u16;
    let offsets = [0, ROUTER_HTTP, 101, 102, 103, 201, 202, 203, 301, 302, 303];
    for _ in 0..BASES {
        let step = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let base = FIRST + (start + step) % BASES * STRIDE;
        if offsets.iter().all(|offset| TcpListener::bind(("127.0.0.1", base + offset)).is_ok()) {
            return base;
        }
    }
    panic!("none of {BASES} bases is free");
}
