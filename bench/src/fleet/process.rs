//! One server process: started, watched, killed, started again.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The last line of a log is looked for in so many bytes.
const TAIL_BYTES: u64 = 4096;

/// How a process tells that it serves.
#[derive(Clone, Debug)]
pub(super) enum Sign {
    /// `GET /readyz` at this address answers 200.
    Readyz(String),
    /// A linearizable read at this address is answered.
    EtcdRead(String),
    /// `GET` at this address is answered.
    RedisRead(String),
}

/// Everything that is needed to start it, also a second time.
#[derive(Clone, Debug)]
pub(super) struct Blueprint {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// Where stdout and stderr go.
    pub(super) log: PathBuf,
    pub(super) sign: Sign,
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    blueprint: Blueprint,
    // Its stdin is a pipe that closes with this process, by whichever death.
    child: Child,
}

impl Process {
    pub(super) fn start(blueprint: Blueprint) -> Result<Self, String> {
        let child = spawn(&blueprint)?;
        Ok(Self { blueprint, child })
    }

    pub(crate) fn name(&self) -> &str {
        &self.blueprint.name
    }

    pub(super) fn program(&self) -> PathBuf {
        self.blueprint.program.clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) const fn sign(&self) -> &Sign {
        &self.blueprint.sign
    }

    /// It still runs; else its end with its last words.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let words = last_line(&self.blueprint.log).unwrap_or_default();
                Err(format!("{} ended ({status}): {words}", self.blueprint.name))
            }
            Err(error) => Err(format!("{}: {error}", self.blueprint.name)),
        }
    }

    /// SIGKILL. It is gone when this returns.
    pub(crate) fn kill(&mut self) {
        // The only error says that it is gone already, which is what was wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        // The only error says that it is gone, which who asks next will notice.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    /// Starts it again on the same data.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.kill();
        self.child = spawn(&self.blueprint)?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(blueprint: &Blueprint) -> Result<Child, String> {
    let broken = |error: std::io::Error| format!("cannot start {}: {error}", blueprint.name);
    let log = File::options().create(true).append(true).open(&blueprint.log).map_err(broken)?;
    let errors = log.try_clone().map_err(broken)?;
    Command::new(&blueprint.program)
        .args(&blueprint.args)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors)
        // A Ctrl-C in the terminal is for the benchmark alone, which ends its servers.
        .process_group(0)
        .spawn()
        .map_err(broken)
}

/// The last line of a file that is not empty, if there is one.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_it_is_dropped_and_its_end_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let blueprint = |script: &str| Blueprint {
            name: "the script".to_owned(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            log: folder.path().join("log"),
            sign: Sign::Readyz(String::new()),
        };
        let mut reader = Process::start(blueprint("read line")).unwrap();
        assert_eq!(reader.check(), Ok(()));
        let first = reader.id();
        reader.restart().unwrap();
        assert_ne!(reader.id(), first);
        let id = reader.id();
        drop(reader);
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "process {id} is still there");
        let mut ended = Process::start(blueprint("echo last words; exit 3")).unwrap();
        drop(ended.child.wait());
        assert_eq!(ended.check().unwrap_err(), "the script ended (exit status: 3): last words");
    }
}
