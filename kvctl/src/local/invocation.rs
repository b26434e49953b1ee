//! How the user can call this program again: commands that we print must work when they are copied.

use std::path::{Path, PathBuf};

use crate::local::shape::Shape;

/// What to type for this program: `kvctl` when the search path leads here, else a path.
#[must_use]
pub fn program() -> String {
    let name = "kvctl".to_string();
    let Ok(this) = std::env::current_exe() else { return name };
    let search: Vec<PathBuf> =
        std::env::var_os("PATH").map(|all| std::env::split_paths(&all).collect()).unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    shortest(&this, &search, &here)
}

fn shortest(this: &Path, search: &[PathBuf], here: &Path) -> String {
    let found = search.iter().map(|folder| folder.join("kvctl")).find(|path| path.is_file());
    let is_this = |found: &PathBuf| std::fs::canonicalize(found).is_ok_and(|found| found == this);
    if found.as_ref().is_some_and(is_this) {
        return "kvctl".to_string();
    }
    let path = this.strip_prefix(here).unwrap_or(this).display().to_string();
    if path.contains('/') { path } else { format!("./{path}") }
}

/// The `--endpoint` flags that a fleet of this shape needs, with a blank in front; none for the ports that are the default.
#[must_use]
pub fn endpoint_flags(shape: Shape) -> String {
    if shape.base_port == 7400 { String::new() } else { format!(" --endpoint {}", shape.router_addr()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_named_as_it_can_be_called() {
        let folder = tempfile::tempdir().unwrap();
        let here = std::fs::canonicalize(folder.path()).unwrap();
        let this = here.join("target/kvctl");
        std::fs::create_dir(here.join("target")).unwrap();
        std::fs::write(&this, "").unwrap();
        assert_eq!(shortest(&this, &[], &here), "target/kvctl");
        assert_eq!(shortest(&this, &[], &here.join("target")), "./kvctl");
        assert_eq!(shortest(&this, &[], Path::new("/elsewhere")), this.display().to_string());
        assert_eq!(shortest(&this, &[here.join("target")], &here), "kvctl");
        // Another kvctl stands first in the search path.
        std::fs::write(here.join("kvctl"), "").unwrap();
        assert_eq!(shortest(&this, &[here.clone(), here.join("target")], &here), "target/kvctl");
    }
}
