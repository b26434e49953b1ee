//! Where a local fleet keeps its data, its logs, and its shape.
//!
//! ```text
//! DIR/fleet.toml   the shape: nodes, shards, replicas, base port; locked while the fleet runs
//! DIR/n1/          node 1's data directory
//! DIR/n1.log       what node 1 said
//! DIR/router.log   what the router said (`kvctl dev` only)
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, one_line};
use crate::local::shape::{ROUTER, Shape};

/// What the user asked for; what is not said is as the directory has it, or the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// `--nodes`.
    pub nodes: Option<u16>,
    /// `--shards`.
    pub shards: Option<u32>,
    /// `--replicas`.
    pub replicas: Option<u16>,
    /// `--base-port`.
    pub base_port: Option<u16>,
}

/// An open directory. No other process opens it before this value is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    shape: Shape,
    is_new: bool,
    _lock: Lock,
}

impl Directory {
    /// Opens or creates it.
    ///
    /// # Errors
    /// It belongs to a fleet of another shape, is in use, or cannot be written.
    pub fn open(path: &Path, wanted: Wanted) -> Result<Self, Failure> {
        let broken = |what: &str, error: &dyn std::fmt::Display| {
            Failure::Refused(format!(
                "{}: cannot {what} it: {}",
                path.display(),
                one_line(&error.to_string())
            ))
        };
        if !path.join("fleet.toml").exists() {
            // What is wrong must not leave a directory behind.
            resolve(path, wanted, None)?;
        }
        fs::create_dir_all(path).map_err(|error| broken("create", &error))?;
        // Absolute: the children must find it whatever their working directory is.
        let path = &fs::canonicalize(path).map_err(|error| broken("find", &error))?;
        let manifest = path.join("fleet.toml");
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&manifest);
        let mut file = options.map_err(|error| broken("open fleet.toml in", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Refused(format!(
                    "{}: a fleet is already running there",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(broken("lock", &error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| broken("read fleet.toml in", &error))?;
        let is_new = text.is_empty();
        let kept = if is_new {
            None
        } else {
            Some(toml::from_str(&text).map_err(|error| broken("read fleet.toml in", &error))?)
        };
        let shape = resolve(path, wanted, kept)?;
        if is_new {
            let text = toml::to_string(&shape).map_err(|error| broken("write fleet.toml in", &error))?;
            let written =
                file.rewind().and_then(|()| file.write_all(text.as_bytes())).and_then(|()| file.sync_all());
            written.map_err(|error| broken("write fleet.toml in", &error))?;
        }
        Ok(Self { path: path.clone(), shape, is_new, _lock: Lock(file) })
    }

    /// The absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shape of the fleet that lives here.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether the fleet was never started before.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// The fleet will not be started after all: a new directory goes away again.
    pub fn abandon(self) {
        if self.is_new {
            // What cannot be removed does no harm: the next start takes it up.
            let _ = fs::remove_file(self.path.join("fleet.toml"));
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// A node's data directory.
    #[must_use]
    pub fn data(&self, id: u16) -> PathBuf {
        self.path.join(format!("n{id}"))
    }

    /// The log of a node, or of the router ([`ROUTER`]).
    #[must_use]
    pub fn log(&self, id: u16) -> PathBuf {
        self.path.join(if id == ROUTER { "router.log".to_string() } else { format!("n{id}.log") })
    }
}

/// A file that is locked. It is unlocked expressly: a process that is just being started shares the open file until it becomes
/// another program, and closing it here would leave the lock to that one for a moment.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // What cannot be unlocked is when the last of them closes it.
        let _ = self.0.unlock();
    }
}

/// What was asked for, on what the directory has, on the defaults.
fn resolve(path: &Path, wanted: Wanted, kept: Option<Shape>) -> Result<Shape, Failure> {
    let Some(kept) = kept else {
        let nodes = wanted.nodes.unwrap_or(3);
        let replicas = wanted.replicas.unwrap_or(nodes.clamp(1, 3));
        let (shards, base_port) = (wanted.shards.unwrap_or(8), wanted.base_port.unwrap_or(7400));
        return Shape { nodes, shards, replicas, base_port }.check();
    };
    let differs = [
        ("--nodes", wanted.nodes.map(u32::from), u32::from(kept.nodes)),
        ("--shards", wanted.shards, kept.shards),
        ("--replicas", wanted.replicas.map(u32::from), u32::from(kept.replicas)),
        ("--base-port", wanted.base_port.map(u32::from), u32::from(kept.base_port)),
    ];
    for (flag, asked, has) in differs {
        if let Some(asked) = asked.filter(|asked| *asked != has) {
            let path = path.display();
            return Err(Failure::Usage(format!(
                "{flag} {asked}: the fleet in {path} was made with {flag} {has}; leave the flag out, choose another --dir, \
                 or delete that directory"
            )));
        }
    }
    kept.check()
}

/// Where `kvctl dev` keeps its data unless it is told otherwise: with the user's other state, one directory per base port.
///
/// # Errors
/// [`Failure::Usage`] when the user has no home.
pub fn default_path(base_port: u16) -> Result<PathBuf, Failure> {
    let state = state();
    let state =
        state.ok_or_else(|| Failure::Usage("--dir: must be given, because HOME is not set".to_string()))?;
    Ok(state.join(format!("dev-{base_port}")))
}

/// Where all that kvctl remembers is kept: with the user's other state. Nothing: the user has no home.
#[must_use]
pub fn state() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("flotilla"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_kept_for_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        let wanted = Wanted { nodes: Some(5), base_port: Some(8000), ..Wanted::default() };
        let first = Directory::open(&path, wanted).unwrap();
        assert!(first.is_new());
        assert_eq!(first.shape(), Shape { nodes: 5, shards: 8, replicas: 3, base_port: 8000 });
        drop(first);
        let second = Directory::open(&path, Wanted { shards: Some(8), ..Wanted::default() }).unwrap();
        assert!(!second.is_new());
        assert_eq!(second.shape().nodes, 5);
    }

    #[test]
    fn another_shape_is_refused_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        drop(Directory::open(folder.path(), Wanted::default()).unwrap());
        let failure =
            Directory::open(folder.path(), Wanted { shards: Some(16), ..Wanted::default() }).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().starts_with("--shards 16: the fleet in "), "{failure}");
    }

    #[test]
    fn a_wrong_shape_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        let wrong = Wanted { nodes: Some(0), ..Wanted::default() };
        assert_eq!(Directory::open(&path, wrong).unwrap_err().code(), 2);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Directory::open(folder.path(), Wanted::default()).unwrap();
        let failure = Directory::open(folder.path(), Wanted::default()).unwrap_err();
        assert!(failure.to_string().ends_with("a fleet is already running there"), "{failure}");
    }

    /// Seen once: another test was starting a process at that moment.
    #[test]
    fn whoever_shares_the_open_file_for_a_moment_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let first = Directory::open(folder.path(), Wanted::default()).unwrap();
        let _shared = first._lock.0.try_clone().unwrap();
        drop(first);
        assert!(Directory::open(folder.path(), Wanted::default()).is_ok());
    }

    #[test]
    fn only_a_new_directory_is_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        let open = || Directory::open(&path, Wanted::default()).unwrap();
        open().abandon();
        assert!(!path.exists());
        drop(open());
        open().abandon();
        assert!(!open().is_new());
    }

    #[test]
    fn one_node_has_one_replica_without_being_told() {
        let folder = tempfile::tempdir().unwrap();
        let directory =
            Directory::open(folder.path(), Wanted { nodes: Some(1), ..Wanted::default() }).unwrap();
        assert_eq!(directory.shape().replicas, 1);
    }
}
