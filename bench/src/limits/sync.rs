//! The disk alone: one block written over old ones, then synced, again and again, as the log does it. The file is as long as it
//! will ever be before the clock starts: a recycled segment, whose sync need not write the file's length.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Limit;
use crate::processes;

/// The file that is written over.
const FILE_BYTES: usize = 16 << 20;

/// How much is written before each sync.
#[derive(Clone, Copy, Debug)]
pub(super) enum Block {
    /// 4 KiB.
    Page,
    /// 64 KiB.
    Batch,
}

/// Syncs for so long.
pub(super) fn measure(folder: &Path, block: Block, duration: Duration) -> Result<Limit, String> {
    let (limit, bytes) = match block {
        Block::Page => ("fdatasync after a recycled block of 4 KiB", 4 << 10),
        Block::Batch => ("fdatasync after a recycled block of 64 KiB", 64 << 10),
    };
    let broken = |error: std::io::Error| format!("--dir {}: {error}", folder.display());
    let mut file: File = tempfile::tempfile_in(folder).map_err(broken)?;
    file.write_all(&vec![1; FILE_BYTES]).and_then(|()| file.sync_all()).map_err(broken)?;
    let (data, began, cpu) = (vec![2; bytes], Instant::now(), processes::own());
    let mut micros: Vec<f64> = Vec::new();
    while began.elapsed() < duration || micros.is_empty() {
        let offset = micros.len() * bytes % FILE_BYTES;
        let written = Instant::now();
        file.write_all_at(&data, offset as u64).and_then(|()| file.sync_data()).map_err(broken)?;
        micros.push(written.elapsed().as_secs_f64() * 1e6);
    }
    let (took, cpu) = (began.elapsed(), processes::own().saturating_sub(cpu));
    micros.sort_unstable_by(f64::total_cmp);
    let quantile = |part: usize| micros.get((micros.len() * part / 100).min(micros.len() - 1)).copied();
    Ok(Limit {
        limit,
        operations_per_second: micros.len() as f64 / took.as_secs_f64(),
        cpu_us_per_operation: cpu.as_secs_f64() * 1e6 / micros.len() as f64,
        p50_us: quantile(50),
        p99_us: quantile(99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_timed_and_nothing_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        let limit = measure(folder.path(), Block::Page, Duration::from_millis(20)).unwrap();
        assert!(limit.operations_per_second > 0.0 && limit.p50_us <= limit.p99_us, "{limit:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
