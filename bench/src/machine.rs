//! On what was measured, and when; and how a long run speaks to who waits for it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a reader must know to judge a figure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Processors, memory, kernel, file system.
    pub(crate) words: String,
    /// Whether the servers' data is not on a disk at all.
    pub(crate) in_memory: bool,
    /// What else the machine was doing, in runnable tasks, when the run began.
    pub(crate) load: String,
    /// Year, month and day (UTC).
    pub(crate) date: String,
}

impl Machine {
    /// Looks at this one. `folder` is where servers keep their data.
    pub(crate) fn look(folder: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let cpu = read("/proc/cpuinfo");
        let model = field(&cpu, "model name").map(|model| format!(" ({model})")).unwrap_or_default();
        let memory = read("/proc/meminfo");
        let kib: u64 =
            field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
        let gib = (kib as f64 / 1024.0 / 1024.0).round();
        let kernel = read("/proc/sys/kernel/osrelease");
        let mounts = read("/proc/mounts");
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        let files = file_system(&mounts, &folder).unwrap_or("an unknown file system");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            words: format!(
                "{processors} processors{model}, {gib:.0} GiB of memory, Linux {}, data on {files}",
                kernel.trim()
            ),
            in_memory: matches!(files, "tmpfs" | "ramfs"),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            date: date(now.as_secs() / 86_400),
        }
    }
}

/// For people, who wait for a long run.
pub(crate) fn say(line: &str) {
    // Nobody reads: then nobody misses it.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// `3 min 20 s`.
pub(crate) fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// The value of `NAME : VALUE` in a file of `/proc`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// The kind of file system that this folder is on: that of the longest mount point above it.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

/// The date of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March, so
/// that the leap day is the last).
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_453, "2025-12-31"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn the_longest_mount_point_above_a_folder_is_its_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/b /run/disk xfs rw 0 0\n";
        let kind = |folder: &str| file_system(mounts, Path::new(folder)).unwrap();
        assert_eq!(
            ["/var", "/run/user", "/run/disk/x", "/running"].map(kind),
            ["ext4", "tmpfs", "xfs", "ext4"]
        );
    }

    #[test]
    fn this_machine_has_a_processor() {
        let machine = Machine::look(Path::new("."));
        assert!(!machine.words.starts_with('0') && machine.words.contains(" processors"), "{machine:?}");
    }

    #[test]
    fn times_are_told_in_minutes() {
        assert_eq!(
            [59, 60, 200].map(|seconds| minutes(Duration::from_secs(seconds))),
            ["59 s", "1 min 0 s", "3 min 20 s"]
        );
    }
}
