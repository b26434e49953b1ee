//! Ctrl-C in a long run.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn who_interrupts_a_run_is_told_what_it_found_until_then() {
    let mut run = Command::new(env!("CARGO_BIN_EXE_kvsim"))
        .args(["--seeds", "1000000", "--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kvsim starts");
    let (mut stderr, mut line) = (BufReader::new(run.stderr.take().expect("piped")), String::new());
    stderr.read_line(&mut line).expect("a line");
    assert!(line.contains("Ctrl-C ends it"), "{line}");
    kill_process(Pid::from_child(&run), Signal::INT).expect("it runs");
    let mut found = String::new();
    run.stdout.take().expect("piped").read_to_string(&mut found).expect("text");
    let status = run.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "{found}");
    assert!(found.contains("worlds in"), "{found}");
}
