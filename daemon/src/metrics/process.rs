//! What every process says of itself: what it is, how long it runs, how much memory it takes.

use std::time::Instant;

use metrics::Gauge;

use super::{Registry, Scope};

/// The metrics of the process itself.
#[derive(Debug)]
pub struct ProcessMetrics {
    started: Instant,
    uptime: Gauge,
    resident: Gauge,
    _scope: Scope,
}

impl ProcessMetrics {
    /// A process that starts now.
    #[must_use]
    pub fn new(registry: &Registry, version: &str, commit: &str) -> Self {
        let scope = registry.scope();
        let labels = [("version", version.to_string()), ("commit", commit.to_string())];
        scope.gauge("kv_build_info", &labels).set(1.0);
        Self {
            started: Instant::now(),
            uptime: scope.gauge("kv_process_uptime_seconds", &[]),
            resident: scope.gauge("kv_process_resident_bytes", &[]),
            _scope: scope,
        }
    }

    /// Brings the gauges up to date. Reads a file that the kernel makes up: it never waits for a disk.
    pub fn refresh(&self) {
        self.uptime.set(self.started.elapsed().as_secs_f64());
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes as f64);
        }
    }
}

/// The resident memory of this process; `None` where there is no `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
