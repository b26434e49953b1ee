//! What histograms cost while nobody scrapes. Alone in its process, because it measures the memory of the process.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use flotilla_daemon::metrics::Registry;

const SAMPLES: u64 = 10_000_000;
/// As many as a busy node records between two rounds of upkeep.
const SAMPLES_PER_UPKEEP: u64 = 100_000;
/// What the samples of a few rounds take, at 16 bytes each, and what the allocator keeps. All samples would take ten times as
/// much.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// The memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn upkeep_bounds_the_memory_of_histograms_that_nobody_reads() {
    let registry = Registry::new();
    let scope = registry.scope();
    let commit = scope.histogram("kv_shard_commit_seconds", &[("shard", "1".to_string())]);
    let before = resident_bytes();
    let mut most = before;
    for sample in 1..=SAMPLES {
        commit.record(0.001);
        if sample.is_multiple_of(SAMPLES_PER_UPKEEP) {
            most = most.max(resident_bytes());
            registry.upkeep();
        }
    }
    let grown = most - before;
    assert!(grown < GROWTH_BYTES_MAX, "{SAMPLES} samples took {grown} bytes");
    let count = format!("kv_shard_commit_seconds_count{{shard=\"1\"}} {SAMPLES}");
    assert!(registry.render().contains(&count), "samples were lost:\n{}", registry.render());
}
