//! `kvctl` as a process beside the fleet: fed, signalled, and awaited; and what it dumped, as data.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::patience::PATIENCE;
use crate::process::program;

/// `kvctl` at an endpoint.
pub fn kvctl(endpoint: &str, args: &[&str]) -> Command {
    let mut command = program();
    command.args(args).args(["--endpoint", endpoint]);
    command
}

/// Runs a command to its end.
pub async fn output(command: Command) -> Output {
    Running::start(command).end().await
}

/// A running command, whose outputs are kept. Killed when the story ends early.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self(Some(child))
    }

    /// The child process.
    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(self.child()), signal).unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It goes on for longer than [`PATIENCE`].
    pub async fn end(mut self) -> Output {
        let child = self.0.take().unwrap();
        let pid = Pid::from_child(&child);
        // On a thread that may wait. No pipe may fill up meanwhile.
        let mut ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        if let Ok(output) = tokio::time::timeout(PATIENCE, &mut ended).await {
            return output.unwrap();
        }
        // An error says that it has ended just now.
        let _ = kill_process(pid, Signal::KILL);
        panic!("still running after {PATIENCE:?}: {:?}", ended.await.unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // An error says that it has ended by itself.
            drop(child.kill());
            child.wait().unwrap();
        }
    }
}

/// Fails the story unless a command ended so.
pub fn ended(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// What is in the fleet, by `kvctl dump`: in order, each key once.
pub async fn dumped(endpoint: &str, flags: &[&str]) -> BTreeMap<Bytes, Bytes> {
    let mut args = vec!["dump"];
    args.extend(flags);
    let output = output(kvctl(endpoint, &args)).await;
    assert_eq!(ended(&output, 0), "");
    let records: Vec<(Bytes, Bytes)> =
        output.stdout.split_inclusive(|byte| *byte == b'\n').map(record).collect();
    assert!(records.is_sorted_by(|one, next| one.0 < next.0), "not in order");
    records.into_iter().collect()
}

/// A line of a dump, read by other means than the program's own.
fn record(line: &[u8]) -> (Bytes, Bytes) {
    let object: Value = serde_json::from_slice(line).unwrap();
    let field = |name: &str| match (&object[name], &object[format!("{name}_b64")]) {
        (Value::String(text), Value::Null) => Bytes::copy_from_slice(text.as_bytes()),
        (Value::Null, Value::String(b64)) => Bytes::from(STANDARD.decode(b64).unwrap()),
        _ => panic!("{name} in {object}"),
    };
    (field("key"), field("value"))
}

/// What an interrupted load left beside its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// The line at which it goes on.
    pub line: u64,
    /// Whether writes may still be executed.
    pub open: bool,
}

/// The bookmark of a file, if there is one.
pub fn bookmark(file: &Path) -> Option<Bookmark> {
    let text = std::fs::read(format!("{}.kvctl-load", file.display())).ok()?;
    let object: Value = serde_json::from_slice(&text).unwrap();
    Some(Bookmark { line: object["line"].as_u64().unwrap(), open: object["open_until_ms"] != 0 })
}
