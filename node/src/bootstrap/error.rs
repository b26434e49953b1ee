//! Why a node does not come into a fleet.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use flotilla_topology::{NodeId, PlanError};

use crate::storage::{ClusterId, DirectoryError, Founding};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The data directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The directory is empty, and no flag says what to do.
    #[error(
        "data directory {} is empty: begin a fleet with --init, or come into one with --join",
        path.display()
    )]
    NoFirstStart {
        /// The directory.
        path: PathBuf,
    },
    /// The fleet does not let this node in, and will not.
    #[error("--join: node {} says: {why}. Wiped? Rejoin with a new --id and --join", peer.0)]
    NotLetIn {
        /// Who said it.
        peer: NodeId,
        /// What it said.
        why: String,
    },
    /// The flags cannot found a fleet.
    #[error("--init: it does not name this node, {}", node.0)]
    NotNamed {
        /// This node.
        node: NodeId,
    },
    /// The flags cannot found a fleet.
    #[error("--init, --shards, --replicas: {0}")]
    Plan(#[from] PlanError),
    /// The node has promised itself to a fleet that was to be founded otherwise.
    #[error("the first start of data directory {} was interrupted, and had other flags: {difference}", path.display())]
    OtherFlags {
        /// The directory.
        path: PathBuf,
        /// What differs.
        difference: Difference,
    },
    /// Another node was started with other flags.
    #[error("node {} was started with other flags: {difference}", peer.0)]
    Differs {
        /// The other node.
        peer: NodeId,
        /// What differs.
        difference: Difference,
    },
    /// The fleet knows this node, and the node does not know the fleet.
    #[error(
        "node {} is already a member of this fleet, but this directory is empty: it forgot its votes. Wiped? \
         Rejoin with a new --id and --join",
        node.0
    )]
    Forgotten {
        /// This node.
        node: NodeId,
        /// Who knows it.
        peer: NodeId,
        /// The fleet's cluster.
        cluster: ClusterId,
    },
    /// The directory of the lowest id was lost while the fleet was being founded.
    #[error(
        "node {} has already promised itself to cluster {cluster}, which an earlier directory of this node drew: wiped \
         during the first start? If no node has data, empty the directories of all nodes and start again",
        peer.0
    )]
    Interrupted {
        /// Who promised.
        peer: NodeId,
        /// To what.
        cluster: ClusterId,
    },
    /// A named node belongs to another fleet.
    #[error("node {} at {address} belongs to another fleet, cluster {cluster}", peer.0)]
    OtherFleet {
        /// The node.
        peer: NodeId,
        /// Where it answers.
        address: String,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// Another node answers at a named address.
    #[error("--init says that node {} is at {address}, but node {} answers there", wanted.0, found.0)]
    WrongNode {
        /// Who should answer.
        wanted: NodeId,
        /// Who answers.
        found: NodeId,
        /// Where.
        address: String,
    },
    /// A node speaks another version.
    #[error("node {} speaks protocol version {theirs}, this node {ours}", peer.0)]
    Version {
        /// The node.
        peer: NodeId,
        /// Its version.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The stamp says that the fleet is founded, but the map is not there, or makes no sense.
    #[error("data directory {}: GENESIS {what}, although STAMP says that the fleet is founded", path.display())]
    Genesis {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// How two foundings differ: one line that names the flags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Difference(String);

impl Difference {
    /// How `theirs` differs from `ours`; `None` if they are equal.
    pub(super) fn between(ours: &Founding, theirs: &Founding) -> Option<Self> {
        let mut line = String::new();
        let mut say = |flag: &str, ours: &dyn std::fmt::Display, theirs: &dyn std::fmt::Display| {
            let comma = if line.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(line, "{comma}{flag} {theirs} there and {ours} here");
        };
        let ids: BTreeSet<NodeId> = ours.nodes.keys().chain(theirs.nodes.keys()).copied().collect();
        for id in ids {
            let address = |of: &Founding| {
                of.nodes.get(&id).map_or_else(|| "nothing".to_string(), |node| node.peer_addr.clone())
            };
            if address(ours) != address(theirs) {
                say(&format!("--init: node {} is", id.0), &address(ours), &address(theirs));
            }
        }
        if ours.shards != theirs.shards {
            say("--shards is", &ours.shards, &theirs.shards);
        }
        if ours.replicas != theirs.replicas {
            say("--replicas is", &ours.replicas, &theirs.replicas);
        }
        (!line.is_empty()).then_some(Self(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FoundingNode;

    #[test]
    fn a_difference_names_the_flags() {
        let founding = |addresses: &[(u64, &str)], shards, replicas| {
            let node = |(id, at): &(u64, &str)| (NodeId(*id), FoundingNode { peer_addr: (*at).to_string() });
            Founding { nodes: addresses.iter().map(node).collect(), shards, replicas }
        };
        let ours = founding(&[(1, "a:1"), (2, "b:2")], 8, 2);
        assert_eq!(Difference::between(&ours, &ours), None);
        let theirs = founding(&[(1, "a:1"), (2, "c:2"), (3, "d:3")], 9, 3);
        assert_eq!(
            Difference::between(&ours, &theirs).unwrap().to_string(),
            "--init: node 2 is c:2 there and b:2 here, --init: node 3 is d:3 there and nothing here, \
             --shards is 9 there and 8 here, --replicas is 3 there and 2 here"
        );
    }
}
