//! `kvbench` as a process, against our own servers: what it prints, what it writes, and that it leaves nothing behind.
//!
//! Speed is never judged here. The servers are this very program (see `main`), so that the test needs no binary of another package.

// Without a harness, clippy does not see that this is a test.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let rest = || args[1..].iter().filter(|word| *word != "--while-stdin-open").cloned();
    match args.get(1).and_then(|word| word.to_str()) {
        Some("kvnode") => return flotilla_node::main_with(rest()),
        Some("kvrouter") => return flotilla_router::main_with(rest()),
        Some("--version") => println!("the servers of the test"),
        // Whoever only wants the names of tests gets none.
        Some("--list") => {}
        _ => {
            a_quick_comparison_prints_every_load_and_writes_its_page();
            an_interrupted_comparison_leaves_nothing_behind();
            println!("test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        }
    }
    ExitCode::SUCCESS
}

fn kvbench(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvbench"));
    let own = std::env::current_exe().unwrap();
    command
        .args(["compare", "--quick", "--targets", "flotilla"])
        .arg("--kvctl")
        .arg(own)
        .arg("--dir")
        .arg(folder);
    command
}

fn a_quick_comparison_prints_every_load_and_writes_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = kvbench(folder.path()).arg("puts").arg("--out").arg(&out).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", output.status);
    for target in ["etcd", "redis"] {
        assert!(told.contains(&format!("{target} is left out: not among --targets")), "{told}");
    }
    let lines: Vec<Value> =
        output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(json).collect();
    // Three ways in, at two numbers of clients: each measured once, then summed up.
    let (loads, summaries): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| line["rounds"].is_null());
    assert_eq!((loads.len(), summaries.len()), (6, 6), "{lines:#?}");
    for load in loads {
        assert_eq!(
            (&load["panel"], &load["round"], &load["servers"]),
            (&"puts".into(), &1.into(), &3.into())
        );
        assert!(load["operations"].is_u64() && load["server_cpu_us_per_operation"].is_number(), "{load}");
    }
    assert!(summaries.iter().all(|it| it["operations_per_second"]["median"].is_number()), "{summaries:#?}");
    let done: u64 = lines.iter().filter_map(|line| line["operations"].as_u64()).sum();
    assert!(done > 0, "no load did anything: {lines:#?}");
    let page = std::fs::read_to_string(out.join("puts.md")).unwrap();
    assert!(page.starts_with("# Puts\n") && page.contains("\n| 16 | "), "{page}");
    let columns = "| clients | flotilla, pipelined | flotilla, unary to leaders | flotilla, unary |\n";
    assert!(page.contains(columns), "{page}");
    let plot = std::fs::read_to_string(out.join("puts.svg")).unwrap();
    assert_eq!(plot.matches("<polyline").count(), 3, "{plot}");
    nothing_is_left(folder.path(), 1);
}

fn an_interrupted_comparison_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = kvbench(folder.path());
    command.args(["gets", "--duration", "60"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut words = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let told: Vec<String> = words.by_ref().take_while(|line| !line.ends_with("is filled")).collect();
    // A load of 60 s is under way now: nothing but a signal ends it in time.
    assert_eq!(servers_of(folder.path()).len(), 3, "{told:?}");
    let asked = Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap();
    assert!(asked.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{:?}", words.collect::<Vec<_>>());
    nothing_is_left(folder.path(), 0);
}

fn json(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(line)))
}

/// No server that keeps its data under this folder, and no data: so many other entries are there.
fn nothing_is_left(folder: &Path, others: usize) {
    assert_eq!(servers_of(folder), Vec::<u32>::new(), "servers are still running");
    let entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(entries.len(), others, "{entries:?}");
}

/// The processes whose command line names a data directory under this folder.
fn servers_of(folder: &Path) -> Vec<u32> {
    let folder = format!("--data-dir\0{}/kvbench-", folder.display());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &u32| {
            let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&folder)
        })
        .collect()
}
