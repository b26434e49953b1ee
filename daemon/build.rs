//! Tells the program the commit that it is built from, by reading `.git`; "unknown" where there is none.

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=FLOTILLA_COMMIT");
    let named = std::env::var("FLOTILLA_COMMIT").ok().filter(|name| !name.is_empty());
    let commit = named.or_else(from_git).unwrap_or_else(|| "unknown".to_string());
    println!("cargo:rustc-env=FLOTILLA_COMMIT={commit}");
}

/// The first twelve digits of the commit that the working tree stands on.
fn from_git() -> Option<String> {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    let git = manifest.ancestors().map(|folder| folder.join(".git")).find(|git| git.is_dir())?;
    let head = read(&git.join("HEAD"))?;
    let commit = match head.strip_prefix("ref: ") {
        None => head,
        Some(name) => read(&git.join(name)).or_else(|| packed(&git, name))?,
    };
    commit.get(..12).map(str::to_string)
}

/// The commit of a reference that git has packed away.
fn packed(git: &Path, name: &str) -> Option<String> {
    let packed = read(&git.join("packed-refs"))?;
    packed.lines().find_map(|line| line.strip_suffix(name).map(|commit| commit.trim().to_string()))
}

/// A file's text without its last newline; the build runs again when the file changes.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo:rerun-if-changed={}", path.display());
    Some(text.trim().to_string())
}
