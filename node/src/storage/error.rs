//! What can be wrong with a data directory.

use std::io;
use std::path::PathBuf;

use flotilla_topology::NodeId;

use super::codec::CodecError;
use super::stamp::ClusterId;

/// Why a data directory was refused, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The file system failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("data directory {} is in use by {}", path.display(), holder(*.pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, if it could be found out.
        pid: Option<u32>,
    },
    /// It belongs to another node.
    #[error("data directory {} belongs to node {}, but this node is {}", path.display(), found.0, wanted.0)]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who wanted it.
        wanted: NodeId,
    },
    /// It belongs to another cluster.
    #[error("data directory {} belongs to cluster {found}, not to {wanted}", path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Which cluster wanted it.
        wanted: ClusterId,
    },
    /// There is no stamp, but there are files that only a stamped directory has.
    #[error("data directory {} holds {what} but no STAMP: it is not a whole data directory", path.display())]
    Unstamped {
        /// The directory.
        path: PathBuf,
        /// What was found in it.
        what: &'static str,
    },
    /// It is none of a node.
    #[error(
        "{} is no data directory of a node: there is no {missing} in it. Give the node's --data-dir, which holds STAMP and wal", path.display()
    )]
    NoNode {
        /// What was given.
        path: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// The shared log is gone.
    #[error("{} is gone: the log was lost, and votes with it", path.display())]
    LogLost {
        /// Where it was.
        path: PathBuf,
    },
    /// A file is of a format that this version does not know.
    #[error("{} has format {found}, this version knows {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format of this version.
        known: u32,
    },
    /// A file is damaged.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The content of a file whose checksum is right makes no sense.
    #[error("{} cannot be read: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The operating system has no random numbers.
    #[error("cannot draw a random number: {0}")]
    Chance(#[source] io::Error),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_string(), |pid| format!("process {pid}"))
}
