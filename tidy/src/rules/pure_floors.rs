//! What the deterministic floors may never call.

use crate::code::{self, Mention, Seen};
use crate::workspace::{File, Finding, Workspace};

/// Where everything is a function of its inputs.
const PURE: &[&str] =
    &["raft/", "topology/", "wal/", "store/", "node/src/host/", "node/src/host.rs", "node/src/controller/"];

/// The one room on those floors that meets a real disk.
const OUTSIDE: &str = "store/src/disk/";

/// Paths by their beginning, with what the code should do instead.
const BANNED_PATHS: &[(&[&str], &str)] = &[
    (&["std", "time", "Instant"], "time is an argument"),
    (&["std", "time", "SystemTime"], "time is an argument"),
    (&["std", "time", "*"], "time is an argument"),
    (&["std", "fs"], "files come through the trait that was handed in"),
    (&["std", "net"], "messages are inputs and effects"),
    (&["std", "thread"], "the floors above own the threads"),
    (&["std", "process"], "processes belong to the floors above"),
    (&["std", "env"], "configuration is an argument"),
    (&["std", "*"], "import by name, so that the bans can see it"),
    (&["tokio"], "async belongs to the edges"),
    (&["tonic"], "gRPC belongs to the edges"),
    (&["prost"], "protobuf belongs to the edges"),
    (&["rand"], "the seed is an argument"),
    (&["getrandom"], "the seed is an argument"),
    (&["fastrand"], "the seed is an argument"),
];

/// Names that give a clock or chance away wherever they stand in a path.
const BANNED_NAMES: &[(&str, &str)] = &[
    ("SystemTime", "time is an argument"),
    ("thread_rng", "the seed is an argument"),
    ("from_os_rng", "the seed is an argument"),
    ("from_entropy", "the seed is an argument"),
    ("OsRng", "the seed is an argument"),
    ("RandomState", "its order differs in every process"),
];

const BANNED_MACROS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg", "thread_local"];

/// The simulator replays a failing seed exactly, or its verdicts are worth nothing. One clock read, one random draw, one
/// file opened behind its back ends that. Under `src/` everything is banned, unit tests included; files in `tests/` may
/// open files (golden scripts) and start threads, but still take time and chance as arguments.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust().filter(|file| is_pure(file)) {
        let in_tests = file.path.contains("/tests/") || file.path.contains("/benches/");
        for seen in code::mentions(&file.syntax()) {
            if let Some((name, instead)) = banned(&seen, in_tests) {
                findings.push(Finding::new(
                    &file.path,
                    seen.line,
                    format!("{name} on a pure floor: {instead}"),
                ));
            }
        }
    }
    findings
}

/// Whether a file stands where everything must be deterministic.
#[must_use]
pub fn is_pure(file: &File) -> bool {
    PURE.iter().any(|place| file.path.starts_with(place)) && !file.path.starts_with(OUTSIDE)
}

fn banned(seen: &Seen, in_tests: bool) -> Option<(String, &'static str)> {
    match &seen.mention {
        Mention::Path(_) => banned_path(&seen.path()?, in_tests),
        Mention::Macro(name) if BANNED_MACROS.contains(&name.as_str()) && !in_tests => {
            Some((format!("{name}!"), "effects are returned"))
        }
        Mention::Macro(_) | Mention::Method { .. } => None,
    }
}

fn banned_path(path: &[&str], in_tests: bool) -> Option<(String, &'static str)> {
    let allowed_in_tests = ["fs", "thread", "process", "env"];
    if in_tests && path[0] == "std" && path.get(1).is_some_and(|room| allowed_in_tests.contains(room)) {
        return None;
    }
    let start = BANNED_PATHS.iter().find(|(start, _)| path.starts_with(start)).map(|&(_, instead)| instead);
    let name = BANNED_NAMES.iter().find(|(name, _)| path.contains(name)).map(|&(_, instead)| instead);
    let clock = path.ends_with(&["Instant", "now"]).then_some("time is an argument");
    start.or(name).or(clock).map(|instead| (path.join("::"), instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        check(&Workspace::of(&[(path, text)])).len()
    }

    #[test]
    fn each_banned_thing_is_found() {
        let bad = [
            "use std::time::Instant as Clock;",
            "use std::{collections::BTreeMap, time::{Duration, SystemTime}};",
            "fn f() { let now = Instant::now(); }",
            "fn f() { std::thread::spawn(run); }",
            "fn f() { assert!(std::fs::exists(path)); }",
            "use std::net::TcpStream;",
            "async fn f() { tokio::task::yield_now().await }",
            "fn f() -> u64 { rand::rng().random() }",
            "type Map = HashMap<u64, u64, RandomState>;",
            "fn f() { println!(\"leader\"); }",
            "#[cfg(test)] mod tests { fn seed() -> u64 { rand::random() } }",
        ];
        for text in bad {
            assert_eq!(faults("raft/src/log.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn the_bans_end_where_the_pure_floors_end() {
        let text = "use std::fs::File;";
        assert_eq!([faults("store/src/overlay.rs", text), faults("node/src/host/worker.rs", text)], [1, 1]);
        assert_eq!([faults("store/src/disk/mod.rs", text), faults("node/src/main.rs", text)], [0, 0]);
        assert_eq!(faults("raft/tests/golden.rs", text), 0);
        assert_eq!(faults("raft/tests/golden.rs", "fn f() { std::time::Instant::now(); }"), 1);
    }

    #[test]
    fn time_spans_and_seeded_chance_pass() {
        let good =
            "use std::time::Duration; use rand_core::Rng; fn f(now: Time) -> Time { now + Duration::ZERO }";
        assert_eq!(faults("raft/src/log.rs", good), 0);
    }
}
