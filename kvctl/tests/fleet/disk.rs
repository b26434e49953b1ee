//! A disk of its own for a node, small enough to be filled: a file system in memory under its data directory.
//!
//! It needs root, and `mount`. Elsewhere a story prints `SKIPPED` with the reason; where `FLOTILLA_REQUIRE` names `disk`, that is
//! a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

/// The disk. It is taken away, with all that is on it, when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// A disk of so many MiB at this path, where nothing is yet; or the reason why it cannot be had here.
    pub fn mount(at: &Path, mib: u64) -> Result<Self, String> {
        if !geteuid().is_root() {
            return Err("a disk of its own needs root".to_owned());
        }
        fs::create_dir(at).map_err(|error| error.to_string())?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "flotilla"]).arg(at))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Fills it with a file, until so many MiB are free.
    pub fn fill(&self, file: &Path, mib: u64) {
        let room = rustix::fs::statvfs(&self.at).unwrap();
        let bytes = (room.f_bavail * room.f_frsize).checked_sub(mib << 20).unwrap();
        let file = fs::File::create_new(file).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
    }

    /// Makes it so large.
    pub fn resize(&self, mib: u64) {
        run(Command::new("mount").args(["-o", &format!("remount,size={mib}m")]).arg(&self.at)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open keeps that file alone.
        drop(run(Command::new("umount").arg("--lazy").arg(&self.at)));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}
