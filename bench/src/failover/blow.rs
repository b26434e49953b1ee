//! How the node that leads most lanes is struck, and how it recovers.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde::Serialize;

use crate::fleet::Process;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Blow {
    /// SIGKILL: its connections break at once
    Kill,
    /// SIGTERM: it may move its leaders first
    Term,
    /// SIGSTOP, and SIGCONT when all lanes are written again: its connections stay, and nobody answers
    Stop,
    /// Each of its fdatasyncs takes two seconds longer, until all lanes are written again and for five seconds more (needs strace)
    Disk,
}

/// A blow that was struck.
#[derive(Debug)]
pub(super) struct Struck {
    blow: Blow,
    /// What slows the disk down.
    tracer: Option<Tracer>,
}

impl Blow {
    pub(super) const ALL: [Self; 4] = [Self::Kill, Self::Term, Self::Stop, Self::Disk];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Term => "SIGTERM",
            Self::Stop => "SIGSTOP",
            Self::Disk => "slow disk",
        }
    }

    pub(super) fn strike(self, process: &mut Process) -> Result<Struck, String> {
        let mut tracer = None;
        match self {
            Self::Kill => process.kill(),
            Self::Term => process.signal(Signal::TERM),
            Self::Stop => process.signal(Signal::STOP),
            Self::Disk => tracer = Some(Tracer::attach(process.id())?),
        }
        Ok(Struck { blow: self, tracer })
    }
}

impl Struck {
    /// The node serves again, or will.
    pub(super) fn mend(self, process: &mut Process) -> Result<(), String> {
        drop(self.tracer);
        match self.blow {
            Blow::Kill | Blow::Term => process.restart(),
            Blow::Stop => {
                process.signal(Signal::CONT);
                Ok(())
            }
            Blow::Disk => Ok(()),
        }
    }
}

/// A strace that delays each sync of a process. Dropping it lets the process go.
#[derive(Debug)]
struct Tracer(Child);

impl Tracer {
    /// It has hold of all threads when this returns.
    fn attach(process: u32) -> Result<Self, String> {
        let mut tracer = Command::new("strace")
            .args(["-f", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=2s", "-o", "/dev/null"])
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start strace: {error}"))?;
        let words = tracer.stderr.take().map(BufReader::new);
        let tracer = Self(tracer);
        // "strace: Process 17 attached with 9 threads", or why not.
        let first = words.and_then(|words| words.lines().next()).transpose();
        match first.map_err(|error| format!("strace: {error}"))? {
            Some(line) if line.contains("attached") => Ok(tracer),
            other => Err(other.unwrap_or_else(|| "strace said nothing".to_owned())),
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Asked to end, it detaches; killed, it would leave the process to the kernel, which does the same.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), Signal::INT);
        drop(self.0.wait());
    }
}
