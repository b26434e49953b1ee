//! The interactive mode, driven through a pseudo-terminal: what a user types and sees. It needs no fleet: where an answer would
//! be awaited, a listener is silent, and that it was asked is the event that the story waits for.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rexpect::session::{PtySession, spawn_command};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Far longer than a prompt takes on a machine that is busy otherwise.
const PATIENCE_MS: u64 = 30_000;

/// As long.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// The key that recalls the line before.
const UP: &str = "\x1b[A";

fn open(home: &Path, endpoint: &str, flags: &[&str]) -> PtySession {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    command.env_clear().env("TERM", "xterm").env("NO_COLOR", "1").env("XDG_STATE_HOME", home);
    command.args(["--endpoint", endpoint, "--timeout", "40s"]).args(flags);
    spawn_command(command, Some(PATIENCE_MS)).unwrap()
}

fn see(session: &mut PtySession, text: &str) {
    session.exp_string(text).unwrap_or_else(|error| panic!("never saw {text:?}: {error}"));
}

fn enter(session: &mut PtySession, line: &str) {
    session.send_line(line).unwrap();
}

fn ended_well(session: &mut PtySession) {
    session.exp_eof().unwrap();
    let ended = format!("{:?}", session.process().wait().unwrap());
    assert!(ended.starts_with("Exited(") && ended.ends_with(", 0)"), "{ended}");
}

/// A fleet that takes questions and never answers.
struct Silent(TcpListener);

impl Silent {
    fn listen() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        (Self(listener), endpoint)
    }

    /// Waits until it is asked. The question stays open as long as the value lives.
    fn asked(&self) -> TcpStream {
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&PATIENCE)).unwrap();
        assert_eq!(ready, 1, "nobody asked");
        self.0.accept().unwrap().0
    }
}

#[test]
fn ctrl_c_interrupts_the_command_and_not_the_session() {
    let home = tempfile::tempdir().unwrap();
    let (fleet, endpoint) = Silent::listen();
    let prompt = format!("{endpoint}> ");
    let mut session = open(home.path(), &endpoint, &["--history", "off"]);
    let interrupted = |session: &mut PtySession, said: &str| {
        let _question = fleet.asked();
        session.send_control('c').unwrap();
        see(session, said);
        see(session, &prompt);
    };
    interrupted(&mut session, "did not look for a fleet");
    enter(&mut session, "get k");
    interrupted(&mut session, "interrupted\r\n");
    enter(&mut session, "put k v");
    interrupted(&mut session, "interrupted: unknown whether executed\r\n");
    // At the prompt, it forgets the line: nothing of it is executed.
    session.send("no-such-command").unwrap();
    session.send_control('c').unwrap();
    see(&mut session, &prompt);
    enter(&mut session, "dev");
    let seen = session.exp_string("dev: not here: it runs a fleet in a terminal of its own").unwrap();
    assert!(!seen.contains("unrecognized"), "{seen}");
    enter(&mut session, "exit");
    ended_well(&mut session);
    assert!(!home.path().join("flotilla/kvctl-history").exists());
}

#[test]
fn lines_are_those_of_the_command_line_and_are_remembered() {
    let home = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let prompt = format!("{nobody}> ");
    let mut session = open(home.path(), &nobody, &[]);
    see(&mut session, "no fleet answers");
    see(&mut session, &prompt);
    enter(&mut session, "putt k");
    see(&mut session, "unrecognized subcommand 'putt'");
    see(&mut session, "see `help`\r\n");
    enter(&mut session, "help");
    see(&mut session, "shard transfer-leader  Hand a shard's leadership to another node\r\n");
    enter(&mut session, "help put");
    see(&mut session, "Usage: kvctl put");
    // A failure is one line, and the next one is asked for.
    enter(&mut session, "get 'two words'");
    see(&mut session, &format!("no fleet answers: {nobody}: connection refused"));
    enter(&mut session, "get k --endpoint nowhere");
    see(&mut session, "expected HOST:PORT");
    enter(&mut session, "put k -");
    see(&mut session, "commands are typed there");
    // Tab completes; the blank keeps the line out of the history.
    enter(&mut session, " sha\tsho\t1 --outp\tjs\t");
    see(&mut session, "no fleet answers");
    session.send_control('d').unwrap();
    ended_well(&mut session);

    let file = home.path().join("flotilla/kvctl-history");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    let expected = "#V2\nputt k\nhelp\nhelp put\nget 'two words'\nget k --endpoint nowhere\nput k -\n";
    assert_eq!(kept, expected);
    // The next session goes on where this one ended.
    let mut session = open(home.path(), &nobody, &[]);
    see(&mut session, &prompt);
    enter(&mut session, UP);
    see(&mut session, "commands are typed there");
    enter(&mut session, "quit");
    ended_well(&mut session);
}
