//! The process of a node or the router: started, watched, ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;

use crate::failure::{Failure, one_line};
use crate::local::lifeline;
use crate::local::shape::ROUTER;

/// How much of a log's end is read to find its last line.
const TAIL_BYTES: u64 = 4096;

/// A started process. Dropping it closes the lifeline, and the child ends by itself.
#[derive(Debug)]
pub struct NodeProcess {
    id: u16,
    pid: Pid,
    log: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
    _lifeline: ChildStdin,
}

impl NodeProcess {
    /// Starts `program kvnode --while-stdin-open ARGS…` (`kvrouter` for the id [`ROUTER`]), its words appended to `log`.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the system refuses.
    pub fn start(program: &Path, id: u16, args: Vec<OsString>, log: PathBuf) -> Result<Self, Failure> {
        let broken = |what: &str, error: &std::io::Error| {
            Failure::Internal(format!("{}: cannot {what}: {error}", name(id)))
        };
        let open = File::options().append(true).create(true).open(&log);
        let out = open.map_err(|error| broken(&format!("open {}", log.display()), &error))?;
        let err = out.try_clone().map_err(|error| broken("share its log", &error))?;
        let mut child = Command::new(program)
            .arg(if id == ROUTER { "kvrouter" } else { "kvnode" })
            .arg(lifeline::FLAG)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            // A Ctrl-C in the terminal is for the parent alone, which ends its children in order.
            .process_group(0)
            .spawn()
            .map_err(|error| broken("start its process", &error))?;
        let gone = || Failure::Internal(format!("{}: its process ended before it began", name(id)));
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or_else(gone)?;
        let lifeline = child.stdin.take().ok_or_else(gone)?;
        let (sender, exit) = watch::channel(None);
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                // Nobody listens when the fleet was dropped: then nobody needs to know.
                let _ = sender.send(Some(status));
            }
        });
        Ok(Self { id, pid, log, exit, _lifeline: lifeline })
    }

    /// The node's id, or [`ROUTER`].
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until it has ended. Safe to cancel.
    pub async fn end(&mut self) -> Option<ExitStatus> {
        // The sender is dropped without a word only when waiting for the child failed: it is gone as well.
        self.exit.wait_for(Option::is_some).await.map_or(None, |status| *status)
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// A process that has been waited for is not signalled: its number may belong to another one by now.
    fn signal(&self, signal: Signal) {
        if self.ended().is_none() {
            // The only possible error says that it is gone, which is what was wanted.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// What happened to it, and where to read more. Who ended by itself has said why: that is repeated.
    #[must_use]
    pub fn obituary(&self) -> String {
        let (how, is_killed) = match self.ended() {
            None => ("ended".to_string(), false),
            Some(status) => (format!("ended ({status})"), status.code().is_none()),
        };
        let words =
            last_line(&self.log).filter(|_| !is_killed).map(|line| format!(": {line}")).unwrap_or_default();
        format!("{} {how}{words} (log: {})", name(self.id), self.log.display())
    }
}

/// What people call it.
#[must_use]
pub fn name(id: u16) -> String {
    if id == ROUTER { "the router".to_string() } else { format!("node {id}") }
}

/// The last line of a file that is not empty, if there is one.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    text.lines().rev().map(one_line).find(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_last_line_that_says_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(last_line(&path), None);
        std::fs::write(&path, format!("{}\nlast  words\n\n", "x".repeat(10_000))).unwrap();
        assert_eq!(last_line(&path).unwrap(), "last words");
        std::fs::write(&path, "").unwrap();
        assert_eq!(last_line(&path), None);
    }

    #[tokio::test]
    async fn a_process_that_ends_is_noticed_and_its_words_are_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("program");
        std::fs::write(&script, "#!/bin/sh\necho \"$@\"\nread line\nexit 7\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let log = folder.path().join("n1.log");
        let mut node = NodeProcess::start(&script, 1, vec!["--id".into(), "1".into()], log.clone()).unwrap();
        assert_eq!(node.ended(), None);
        node.kill();
        assert!(!node.end().await.unwrap().success());
        // Without its lifeline, a script that waits for its parent goes on, to its own end.
        let node = NodeProcess::start(&script, 1, vec!["--id".into(), "1".into()], log.clone()).unwrap();
        let NodeProcess { id, pid, log, mut exit, _lifeline } = node;
        drop(_lifeline);
        let status = exit.wait_for(Option::is_some).await.map(|status| *status).unwrap();
        assert_eq!(status.unwrap().code(), Some(7), "node {id}, pid {pid:?}");
        assert_eq!(last_line(&log).unwrap(), "kvnode --while-stdin-open --id 1");
    }
}
