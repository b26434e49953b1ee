//! The handshake: who may talk to whom.
//!
//! Both sides send a Hello, both check the other's, and nothing else is sent before. Checked are: the protocol version, the cluster,
//! that the speaker is whom we dialled (or a node other than ourselves), that it means us, and that the directory under
//! its node id is the one that we have seen before: another one means that the node lost its votes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use flotilla_proto::{PROTOCOL_VERSION, v1};
use flotilla_topology::NodeId;

use crate::storage::{BootId, ClusterId, DirectoryId};

/// The smallest frame limit that makes sense, in bytes: less cannot hold the heartbeats of a few shards.
const FRAME_BYTES_MIN: u64 = 4 << 10;

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// This run of its process.
    pub boot: BootId,
    /// What it advertises.
    pub addresses: Addresses,
}

/// The addresses that a node advertises, each `host:port`, or empty where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// Where clients find it.
    pub client: String,
    /// Where nodes find it.
    pub peer: String,
    /// Where its status is found.
    pub http: String,
}

/// Why a Hello was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The stream did not begin with a Hello, or the Hello lacks something.
    #[error("the stream did not begin with a whole Hello")]
    Missing,
    /// The nodes speak different versions of the protocol.
    #[error("it speaks protocol version {theirs}, this node {ours}")]
    Version {
        /// Our version.
        ours: u32,
        /// Its version.
        theirs: u32,
    },
    /// It belongs to another cluster.
    #[error("it belongs to cluster {theirs}, this node to {ours}")]
    Cluster {
        /// Our cluster.
        ours: ClusterId,
        /// Its cluster.
        theirs: ClusterId,
    },
    /// It takes us for another node.
    #[error("it wanted node {}, but this is node {}", wanted.0, ours.0)]
    NotUs {
        /// Us.
        ours: NodeId,
        /// Whom it wanted.
        wanted: NodeId,
    },
    /// Another node than the one that we dialled answers at its address.
    #[error("wanted node {}, but node {} answers at its address", wanted.0, theirs.0)]
    NotThem {
        /// Whom we dialled.
        wanted: NodeId,
        /// Who answered.
        theirs: NodeId,
    },
    /// It says that it has our id.
    #[error("it claims to be node {}, which is this node", ours.0)]
    Ourselves {
        /// Us.
        ours: NodeId,
    },
    /// It lost its directory and goes on under its old id.
    #[error("node {} had directory {known}, now it has {theirs}: it forgot its votes", node.0)]
    Directory {
        /// The node.
        node: NodeId,
        /// The directory that it had.
        known: DirectoryId,
        /// The directory that it has.
        theirs: DirectoryId,
    },
    /// Its frames are too small to talk in.
    #[error("it accepts frames of {bytes} bytes only")]
    Frame {
        /// Its limit.
        bytes: u64,
    },
}

/// What an accepted Hello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Who spoke.
    pub(super) node: NodeId,
    /// This run of its process.
    pub(super) boot: BootId,
    /// What it advertises.
    pub(super) addresses: Addresses,
    /// The longest frame that both sides accept, in bytes.
    pub(super) frame_bytes_max: usize,
}

/// Checks Hellos, and remembers the directory of each node for the life of the process.
#[derive(Debug)]
pub(super) struct Doorman {
    identity: Identity,
    frame_bytes_max: usize,
    directories: Mutex<BTreeMap<NodeId, DirectoryId>>,
    /// Reasons that were said already: a stranger knocks every second.
    said: Mutex<BTreeSet<String>>,
}

/// How many different reasons are remembered.
const SAID_MAX: usize = 64;

impl Doorman {
    pub(super) fn new(identity: Identity, frame_bytes_max: usize) -> Self {
        Self { identity, frame_bytes_max, directories: Mutex::default(), said: Mutex::default() }
    }

    pub(super) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Our Hello for a node.
    pub(super) fn hello(&self, to: NodeId) -> v1::Hello {
        v1::Hello {
            cluster: Some(self.identity.cluster.0.into()),
            from_node: self.identity.node.0,
            to_node: to.0,
            directory: Some(self.identity.directory.0.into()),
            boot: Some(self.identity.boot.0.into()),
            protocol_version: PROTOCOL_VERSION,
            frame_bytes_max: self.frame_bytes_max as u64,
            client_addr: self.identity.addresses.client.clone(),
            peer_addr: self.identity.addresses.peer.clone(),
            http_addr: self.identity.addresses.http.clone(),
        }
    }

    /// Judges the Hello of a stream that we accepted (`dialled` is `None`) or dialled.
    pub(super) fn check(
        &self,
        hello: Option<v1::Hello>,
        dialled: Option<NodeId>,
    ) -> Result<Greeting, Mismatch> {
        let hello = hello.ok_or(Mismatch::Missing)?;
        let ours = &self.identity;
        // The version first: the fields of another version may mean something else.
        if hello.protocol_version != PROTOCOL_VERSION {
            return Err(Mismatch::Version { ours: PROTOCOL_VERSION, theirs: hello.protocol_version });
        }
        let (Some(cluster), Some(directory), Some(boot)) = (hello.cluster, hello.directory, hello.boot)
        else {
            return Err(Mismatch::Missing);
        };
        let theirs = ClusterId(cluster.into());
        if theirs != ours.cluster {
            return Err(Mismatch::Cluster { ours: ours.cluster, theirs });
        }
        let node = NodeId(hello.from_node);
        if let Some(wanted) = dialled.filter(|wanted| *wanted != node) {
            return Err(Mismatch::NotThem { wanted, theirs: node });
        }
        if node == ours.node {
            return Err(Mismatch::Ourselves { ours: ours.node });
        }
        if hello.to_node != ours.node.0 {
            return Err(Mismatch::NotUs { ours: ours.node, wanted: NodeId(hello.to_node) });
        }
        if hello.frame_bytes_max < FRAME_BYTES_MIN {
            return Err(Mismatch::Frame { bytes: hello.frame_bytes_max });
        }
        self.check_directory(node, DirectoryId(directory.into()))?;
        let theirs_max = usize::try_from(hello.frame_bytes_max).unwrap_or(usize::MAX);
        let addresses = Addresses { client: hello.client_addr, peer: hello.peer_addr, http: hello.http_addr };
        let frame_bytes_max = theirs_max.min(self.frame_bytes_max);
        Ok(Greeting { node, boot: BootId(boot.into()), addresses, frame_bytes_max })
    }

    /// Whether a stranger was refused for this reason for the first time.
    pub(super) fn is_news(&self, mismatch: &Mismatch) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= SAID_MAX {
            said.clear();
        }
        said.insert(mismatch.to_string())
    }

    /// The directory under which a node was seen.
    pub(super) fn directory_of(&self, node: NodeId) -> Option<DirectoryId> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }

    fn check_directory(&self, node: NodeId, theirs: DirectoryId) -> Result<(), Mismatch> {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *directories.entry(node).or_insert(theirs);
        if known == theirs { Ok(()) } else { Err(Mismatch::Directory { node, known, theirs }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node: u64) -> Identity {
        Identity {
            cluster: ClusterId(1),
            node: NodeId(node),
            directory: DirectoryId(u128::from(node)),
            boot: BootId(9),
            addresses: Addresses { client: "c:1".into(), peer: "p:1".into(), http: String::new() },
        }
    }

    /// What node 1 says of a Hello of node 2 after this change to it.
    fn judged(dialled: Option<u64>, change: impl FnOnce(&mut v1::Hello)) -> Result<Greeting, Mismatch> {
        let mut hello = Doorman::new(identity(2), 8_000).hello(NodeId(1));
        change(&mut hello);
        Doorman::new(identity(1), 1 << 20).check(Some(hello), dialled.map(NodeId))
    }

    #[test]
    fn a_right_hello_is_accepted_with_the_smaller_frame_limit() {
        let greeting = judged(Some(2), |_| ()).unwrap();
        assert_eq!((greeting.node, greeting.boot, greeting.frame_bytes_max), (NodeId(2), BootId(9), 8_000));
        assert_eq!(greeting.addresses, identity(2).addresses);
    }

    #[test]
    fn each_mismatch_has_its_own_reason() {
        let (ours, theirs) = (PROTOCOL_VERSION, PROTOCOL_VERSION + 1);
        let refused = |dialled, change: fn(&mut v1::Hello)| judged(dialled, change).unwrap_err();
        assert_eq!(refused(None, |it| it.protocol_version += 1), Mismatch::Version { ours, theirs });
        let (ours, theirs) = (ClusterId(1), ClusterId(5));
        assert_eq!(refused(None, |it| it.cluster = Some(5.into())), Mismatch::Cluster { ours, theirs });
        assert_eq!(refused(None, |it| it.cluster = None), Mismatch::Missing);
        assert_eq!(refused(None, |it| it.boot = None), Mismatch::Missing);
        let (wanted, theirs) = (NodeId(3), NodeId(2));
        assert_eq!(refused(Some(3), |_| ()), Mismatch::NotThem { wanted, theirs });
        let (ours, wanted) = (NodeId(1), NodeId(4));
        assert_eq!(refused(None, |it| it.to_node = 4), Mismatch::NotUs { ours, wanted });
        assert_eq!(refused(None, |it| it.from_node = 1), Mismatch::Ourselves { ours });
        assert_eq!(refused(None, |it| it.frame_bytes_max = 9), Mismatch::Frame { bytes: 9 });
    }

    #[test]
    fn a_node_that_comes_back_with_another_directory_is_refused() {
        let doorman = Doorman::new(identity(1), 8_000);
        let hello = |directory: u128| {
            let identity = Identity { directory: DirectoryId(directory), ..identity(2) };
            Some(Doorman::new(identity, 8_000).hello(NodeId(1)))
        };
        doorman.check(hello(7), None).unwrap();
        doorman.check(hello(7), None).unwrap();
        let (known, theirs) = (DirectoryId(7), DirectoryId(8));
        let mismatch = Mismatch::Directory { node: NodeId(2), known, theirs };
        assert_eq!(doorman.check(hello(8), None), Err(mismatch.clone()));
        assert_eq!(doorman.directory_of(NodeId(2)), Some(known));
        assert!(doorman.is_news(&mismatch) && !doorman.is_news(&mismatch), "said once");
    }
}
