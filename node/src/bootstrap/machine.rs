//! Who may do what while a fleet is founded. No I/O: the driver carries out what the machine wants and tells it what came
//! of it.
//!
//! The rule behind every line: what a node says of itself is durable before it is said. So a node that crashes anywhere comes back
//! as what it was, or as what it was about to become, and nobody has heard of the latter.
//!
//! Why two clusters cannot come of one founding: a node is Founded in C only if all named nodes were Promised to C, each in
//! its directory, which never goes back and never to another cluster. The lowest id draws only while its own directory is
//! blank, and only after it has seen every other directory blank.
//!
//! Why a wiped node does not vote again: only the lowest id makes a blank directory Promised, and only before it is
//! Founded itself; nobody is Founded, and so nobody votes, before that. Hence a directory that is blank after that stays
//! blank, and the first founded node that it asks tells it why.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_proto::PROTOCOL_VERSION;
use flotilla_topology::{ClusterMap, NodeId};

use super::answer::{Adoption, Confirmation, Introduction};
use super::error::{BootstrapError, Difference};
use crate::storage::{ClusterId, DirectoryId, Founding, Membership};

/// One node on its way into a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    node: NodeId,
    directory: DirectoryId,
    /// What is durable.
    membership: Membership,
    /// The genesis map, durable too, once the fleet is founded.
    genesis: Option<Bytes>,
    /// With what the fleet is to be founded, as long as the directory is blank.
    flags: Option<Founding>,
    /// The nodes of the newest map, once the fleet is founded.
    known_nodes: BTreeSet<NodeId>,
    /// On the lowest id, blank: who said that it is blank too.
    blank: BTreeSet<NodeId>,
    /// On the lowest id, promised: who confirmed.
    confirmed: BTreeMap<NodeId, Confirmation>,
}

/// What the driver shall do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Ask these who they are, again and again, until something changes.
    Probe(BTreeSet<NodeId>),
    /// Draw a cluster id and make [`Machine::draw`] durable.
    Draw,
    /// Ask these to be of this cluster.
    Adopt(ClusterId, BTreeSet<NodeId>),
    /// Make the genesis map of this cluster and these nodes durable, then [`Machine::founding_done`].
    Found(ClusterId, BTreeMap<NodeId, Confirmation>),
    /// The fleet is founded.
    Run,
}

/// What to do with a request for an adoption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Make this durable, genesis map first, then call [`Machine::written`] and confirm.
    Write(Membership, Option<Bytes>),
    /// Say what is durable.
    Confirm,
    /// Refuse, for this reason.
    Refuse(String),
}

impl Machine {
    /// The node as its directory knows it. `flags` count only while the directory is blank.
    pub(super) fn new(
        node: NodeId,
        directory: DirectoryId,
        membership: Membership,
        genesis: Option<(Bytes, BTreeSet<NodeId>)>,
        flags: Option<Founding>,
    ) -> Self {
        let flags = flags.filter(|_| membership == Membership::Blank);
        let (genesis, known_nodes) = match genesis.filter(|_| membership.is_founded()) {
            Some((map, nodes)) => (Some(map), nodes),
            None => (None, BTreeSet::new()),
        };
        Self {
            node,
            directory,
            membership,
            genesis,
            flags,
            known_nodes,
            blank: BTreeSet::new(),
            confirmed: BTreeMap::new(),
        }
    }

    pub(super) const fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(super) const fn genesis(&self) -> Option<&Bytes> {
        self.genesis.as_ref()
    }

    /// With what the fleet is, or is to be, founded.
    pub(super) fn founding(&self) -> Option<&Founding> {
        self.membership.founding().or(self.flags.as_ref())
    }

    /// The map named other nodes than before.
    pub(super) fn know(&mut self, nodes: BTreeSet<NodeId>) {
        if self.membership.is_founded() && !nodes.is_empty() {
            self.known_nodes = nodes;
        }
    }

    /// What is to be done now. Without flags a blank directory waits for nothing.
    pub(super) fn errand(&self) -> Errand {
        let others = self.others();
        let lowest = self.is_lowest();
        match &self.membership {
            Membership::Blank if lowest && others.is_subset(&self.blank) => Errand::Draw,
            Membership::Blank if lowest => Errand::Probe(&others - &self.blank),
            Membership::Promised { cluster, .. } if lowest => {
                let missing: BTreeSet<NodeId> =
                    others.into_iter().filter(|node| !self.confirmed.contains_key(node)).collect();
                if missing.is_empty() {
                    Errand::Found(*cluster, self.confirmed.clone())
                } else {
                    Errand::Adopt(*cluster, missing)
                }
            }
            Membership::Blank | Membership::Promised { .. } => Errand::Probe(others),
            Membership::Founded { .. } => Errand::Run,
        }
    }

    /// What this node says of itself to `asking`.
    pub(super) fn introduce(&self, asking: NodeId) -> Introduction {
        Introduction {
            cluster: self.membership.cluster(),
            known_nodes: self.known_nodes.clone(),
            known_directory: self.confirmed.get(&asking).map(|it| it.directory),
            founding: self.founding().cloned(),
            ..Introduction::new(self.node, self.directory)
        }
    }

    /// A node named by the founding said who it is. An error is final: the node must not start.
    pub(super) fn introduced(&mut self, peer: NodeId, it: &Introduction) -> Result<(), BootstrapError> {
        let Some(founding) = self.founding() else { return Ok(()) };
        let address = founding.nodes.get(&peer).map_or_else(String::new, |node| node.peer_addr.clone());
        if it.version != PROTOCOL_VERSION {
            return Err(BootstrapError::Version { peer, theirs: it.version, ours: PROTOCOL_VERSION });
        }
        if it.node != peer {
            return Err(BootstrapError::WrongNode { wanted: peer, found: it.node, address });
        }
        if let (Some(ours), Some(cluster)) = (self.membership.cluster(), it.cluster)
            && ours != cluster
        {
            return Err(BootstrapError::OtherFleet { peer, address, cluster });
        }
        if let Some(cluster) = it.cluster.filter(|_| self.membership == Membership::Blank && it.is_founded())
        {
            // Founded: all its nodes had promised themselves. This one has not, so it is no longer what it was.
            return Err(if it.names(self.node) {
                BootstrapError::Forgotten { node: self.node, peer, cluster }
            } else {
                BootstrapError::OtherFleet { peer, address, cluster }
            });
        }
        let difference = it.founding.as_ref().and_then(|theirs| Difference::between(founding, theirs));
        if let Some(difference) = difference {
            return Err(BootstrapError::Differs { peer, difference });
        }
        if self.membership == Membership::Blank && self.is_lowest() {
            // Only this node draws cluster ids. Somebody has one, so a directory of this node drew it.
            if let Some(cluster) = it.cluster {
                return Err(BootstrapError::Interrupted { peer, cluster });
            }
            // Without flags it is not being started for the first time: it could not promise anything.
            if it.founding.is_some() {
                self.blank.insert(peer);
            }
        }
        Ok(())
    }

    /// The membership to be made durable for a new cluster.
    pub(super) fn draw(&self, cluster: ClusterId) -> Membership {
        let Some(founding) = self.founding() else { panic!("{}: drew a cluster without flags", self.node) };
        assert_eq!(self.errand(), Errand::Draw, "{}: drew {cluster} too early", self.node);
        Membership::Promised { cluster, founding: founding.clone() }
    }

    /// The membership to be made durable once the genesis map is.
    pub(super) fn founding_done(&self) -> Membership {
        match &self.membership {
            Membership::Promised { cluster, founding } => {
                Membership::Founded { cluster: *cluster, founding: founding.clone() }
            }
            other => panic!("{}: founded from {other:?}", self.node),
        }
    }

    /// This has been made durable.
    pub(super) fn written(&mut self, membership: Membership, genesis: Option<(Bytes, BTreeSet<NodeId>)>) {
        self.membership = membership;
        if let Some((map, nodes)) = genesis {
            self.genesis = Some(map);
            self.known_nodes = nodes;
        }
    }

    /// Somebody asks this node to be of a cluster.
    pub(super) fn asked(&self, adoption: &Adoption, theirs: &Founding) -> Decision {
        if adoption.to != self.node {
            return Decision::Refuse(format!("wanted {}, but this is {}", adoption.to, self.node));
        }
        match (&self.membership, &adoption.map) {
            (Membership::Blank, Some(_)) => Decision::Refuse(format!(
                "{} has an empty directory: it never promised itself to cluster {}",
                self.node, adoption.cluster
            )),
            (Membership::Blank, None) => self.asked_blank(adoption, theirs),
            (Membership::Promised { cluster, .. }, Some(map)) if *cluster == adoption.cluster => {
                match ClusterMap::decode(map) {
                    Ok(it) if it.cluster == cluster.0 && it.nodes.contains_key(&self.node) => {
                        Decision::Write(self.founding_done(), Some(map.clone()))
                    }
                    Ok(_) => {
                        Decision::Refuse("the map is of another cluster, or without this node".to_string())
                    }
                    Err(error) => Decision::Refuse(format!("the map cannot be read: {error}")),
                }
            }
            // Already so, or of another cluster: the confirmation says which.
            (Membership::Promised { .. } | Membership::Founded { .. }, _) => Decision::Confirm,
        }
    }

    fn asked_blank(&self, adoption: &Adoption, theirs: &Founding) -> Decision {
        let Some(ours) = &self.flags else {
            return Decision::Refuse(format!("{} was not started with --init", self.node));
        };
        if let Some(difference) = Difference::between(ours, theirs) {
            return Decision::Refuse(format!("{} was started with other flags: {difference}", self.node));
        }
        // Its own promise is what keeps it from drawing again; nobody else's would.
        if ours.nodes.keys().next() != Some(&adoption.from) || adoption.from == self.node {
            return Decision::Refuse(format!("{} does not found this fleet", adoption.from));
        }
        Decision::Write(Membership::Promised { cluster: adoption.cluster, founding: ours.clone() }, None)
    }

    /// What this node answers once it is durable.
    pub(super) fn confirmation(&self, addresses: crate::transport::Addresses) -> Confirmation {
        Confirmation {
            cluster: self.membership.cluster(),
            node: self.node,
            directory: self.directory,
            addresses,
        }
    }

    /// A node answered our request for its adoption. An error is final.
    pub(super) fn confirmed(&mut self, peer: NodeId, it: Confirmation) -> Result<(), BootstrapError> {
        let (Some(ours), Some(founding)) = (self.membership.cluster(), self.founding()) else {
            return Ok(());
        };
        let address = founding.nodes.get(&peer).map_or_else(String::new, |node| node.peer_addr.clone());
        if it.node != peer {
            return Err(BootstrapError::WrongNode { wanted: peer, found: it.node, address });
        }
        match it.cluster {
            Some(cluster) if cluster != ours => Err(BootstrapError::OtherFleet { peer, address, cluster }),
            Some(_) => {
                self.confirmed.insert(peer, it);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether `asking`, of the same founding, should be handed the genesis map.
    pub(super) fn hands_map_to(&self, asking: NodeId) -> bool {
        asking != self.node
            && self.genesis.is_some()
            && self.membership.founding().is_some_and(|founding| {
                // Who joined later has a later map than the one with which the fleet was founded.
                [asking, self.node].iter().all(|node| founding.nodes.contains_key(node))
            })
    }

    fn others(&self) -> BTreeSet<NodeId> {
        let nodes = self.founding().into_iter().flat_map(|founding| founding.nodes.keys());
        nodes.copied().filter(|node| *node != self.node).collect()
    }

    fn is_lowest(&self) -> bool {
        self.founding().and_then(|founding| founding.nodes.keys().next()) == Some(&self.node)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
