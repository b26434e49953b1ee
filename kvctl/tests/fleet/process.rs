//! One process, a node's or a router's: started, signalled, listened to. Killed when it is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::patience::until;

/// The binary under test. As `kvctl kvnode …` it is a node.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kvctl");

/// The program, undisturbed by the environment of whoever runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null());
    command
}

/// A started process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where this run's words begin in the log, in bytes: earlier runs wrote to the same file.
    begun: usize,
}

impl Process {
    /// Starts a node; its words are appended to `log`.
    pub fn start(args: &[String], log: &Path) -> Self {
        Self::start_as("kvnode", args, log)
    }

    /// Starts a node or a router, as `role` says.
    pub fn start_as(role: &str, args: &[String], log: &Path) -> Self {
        let out = File::options().append(true).create(true).open(log).unwrap();
        let begun = usize::try_from(out.metadata().unwrap().len()).unwrap();
        let err = out.try_clone().unwrap();
        let child = program().arg(role).args(args).stdout(out).stderr(err).spawn().unwrap();
        Self { child, log: log.to_owned(), begun }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it with SIGKILL and waits until it is gone, whatever state it is in.
    pub fn kill(&mut self) {
        // An error says that it has ended by itself.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        until("a node ends", async || self.ended()).await
    }

    /// What it said in this run.
    pub fn words(&self) -> String {
        let all = std::fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&all[self.begun..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
