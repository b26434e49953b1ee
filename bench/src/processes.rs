//! The CPU time that server processes have used, read from `/proc`. On other systems there is none to read, and reports say so.

use std::path::Path;
use std::time::Duration;

/// Ticks per second in which the kernel counts: fixed on Linux, whatever its own clock runs at (`man 5 proc`, USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// A server on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    process: u32,
}

impl Server {
    pub(crate) const fn of(process: u32) -> Self {
        Self { process }
    }
}

/// The processes one of whose first two words ends in one of these names: `/usr/bin/etcd`, `kvctl kvnode`.
pub(crate) fn find(names: &[&str]) -> Vec<Server> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Server> = numbers
        .filter(|process: &u32| {
            let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            is_one_of(&line, names)
        })
        .map(|process| Server { process })
        .collect();
    found.sort();
    found
}

fn is_one_of(command_line: &[u8], names: &[&str]) -> bool {
    let words = command_line.split(|byte| *byte == 0).take(2);
    words
        .filter_map(|word| Path::new(std::str::from_utf8(word).ok()?).file_name()?.to_str())
        .any(|word| names.contains(&word))
}

/// The CPU time of all of them together, user and system. One that has ended counts nothing.
pub(crate) fn cpu_time(servers: &[Server]) -> Duration {
    let ticks = servers.iter().filter_map(|server| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.process)).ok()?;
        ticks(&stat)
    });
    Duration::from_millis(ticks.sum::<u64>() * 1000 / TICKS_PER_SECOND)
}

/// The CPU time of this very process.
pub(crate) fn own() -> Duration {
    cpu_time(&[Server { process: std::process::id() }])
}

/// `utime + stime` of a line of `/proc/PID/stat`. The name, in parentheses, may hold blanks and parentheses itself.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(ticks(&format!("42 (kvnode) {fields}")), Some(300));
        assert_eq!(ticks(&format!("42 (a) b (c)) {fields}")), Some(300));
        assert_eq!(ticks("42 (kvnode) S 1"), None);
    }

    #[test]
    fn a_server_is_known_by_its_program_or_its_verb() {
        assert!(is_one_of(b"/usr/bin/etcd\0--name\0a\0", &["etcd"]));
        assert!(is_one_of(b"target/release/kvctl\0kvnode\0--id\0", &["kvnode"]));
        assert!(!is_one_of(b"vim\0-R\0etcd\0", &["etcd"]));
        assert!(!is_one_of(b"", &["etcd"]));
    }
}
