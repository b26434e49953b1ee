//! What nodes say to each other while a fleet is founded, and its protobuf.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_proto::{PROTOCOL_VERSION, v1};
use flotilla_topology::NodeId;

use crate::storage::{ClusterId, DirectoryId, Founding, FoundingNode};
use crate::transport::Addresses;

/// What a node says of itself when it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Introduction {
    /// Who it is.
    pub(super) node: NodeId,
    /// Its directory.
    pub(super) directory: DirectoryId,
    /// The cluster to which it has promised itself.
    pub(super) cluster: Option<ClusterId>,
    /// The nodes that its map names; not empty exactly if its fleet is founded.
    pub(super) known_nodes: BTreeSet<NodeId>,
    /// The directory under which it has seen whoever asks.
    pub(super) known_directory: Option<DirectoryId>,
    /// With what its fleet is founded, or is to be.
    pub(super) founding: Option<Founding>,
    /// The protocol that it speaks.
    pub(super) version: u32,
}

impl Introduction {
    /// Whether its fleet is founded.
    pub(super) fn is_founded(&self) -> bool {
        !self.known_nodes.is_empty()
    }

    /// Whether its fleet has room for a node of this id only under the directory that it had.
    pub(super) fn names(&self, node: NodeId) -> bool {
        self.known_nodes.contains(&node)
            || self.founding.as_ref().is_some_and(|founding| founding.nodes.contains_key(&node))
    }
}

/// "Be of this cluster."
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Adoption {
    /// The cluster.
    pub(super) cluster: ClusterId,
    /// Who asks.
    pub(super) from: NodeId,
    /// Who is asked.
    pub(super) to: NodeId,
    /// The genesis map, once the fleet is founded.
    pub(super) map: Option<Bytes>,
}

/// "I am of this cluster."
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Confirmation {
    /// What the node has made durable.
    pub(super) cluster: Option<ClusterId>,
    /// Who it is.
    pub(super) node: NodeId,
    /// Its directory.
    pub(super) directory: DirectoryId,
    /// What it advertises.
    pub(super) addresses: Addresses,
}

/// A message that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing")]
pub(super) struct Missing(&'static str);

impl From<Introduction> for v1::ProbeReply {
    fn from(it: Introduction) -> Self {
        Self {
            node: it.node.0,
            cluster: it.cluster.map(|cluster| cluster.0.into()),
            directory: Some(it.directory.0.into()),
            known_nodes: it.known_nodes.iter().map(|node| node.0).collect(),
            known_directory: it.known_directory.map(|directory| directory.0.into()),
            bootstrap: it.founding.as_ref().map(encode_founding),
            protocol_version: it.version,
        }
    }
}

impl TryFrom<v1::ProbeReply> for Introduction {
    type Error = Missing;

    fn try_from(reply: v1::ProbeReply) -> Result<Self, Missing> {
        Ok(Self {
            node: NodeId(reply.node),
            cluster: reply.cluster.map(|cluster| ClusterId(cluster.into())),
            directory: DirectoryId(reply.directory.ok_or(Missing("the directory"))?.into()),
            known_nodes: reply.known_nodes.into_iter().map(NodeId).collect(),
            known_directory: reply.known_directory.map(|directory| DirectoryId(directory.into())),
            founding: reply.bootstrap.map(decode_founding),
            version: reply.protocol_version,
        })
    }
}

impl Introduction {
    /// Of a node of this version.
    pub(super) fn new(node: NodeId, directory: DirectoryId) -> Self {
        Self {
            node,
            directory,
            cluster: None,
            known_nodes: BTreeSet::new(),
            known_directory: None,
            founding: None,
            version: PROTOCOL_VERSION,
        }
    }
}

/// The request for an adoption, with the founding that it is about.
pub(super) fn encode_adoption(adoption: Adoption, founding: &Founding) -> v1::AdoptRequest {
    v1::AdoptRequest {
        cluster: Some(adoption.cluster.0.into()),
        from_node: adoption.from.0,
        to_node: adoption.to.0,
        bootstrap: Some(encode_founding(founding)),
        map: adoption.map.unwrap_or_default(),
    }
}

/// The adoption that is asked for, and the founding that it is about.
pub(super) fn decode_adoption(request: v1::AdoptRequest) -> Result<(Adoption, Founding), Missing> {
    let adoption = Adoption {
        cluster: ClusterId(request.cluster.ok_or(Missing("the cluster"))?.into()),
        from: NodeId(request.from_node),
        to: NodeId(request.to_node),
        map: (!request.map.is_empty()).then_some(request.map),
    };
    Ok((adoption, decode_founding(request.bootstrap.ok_or(Missing("the founding"))?)))
}

impl From<Confirmation> for v1::AdoptReply {
    fn from(it: Confirmation) -> Self {
        Self {
            cluster: it.cluster.map(|cluster| cluster.0.into()),
            node: it.node.0,
            directory: Some(it.directory.0.into()),
            client_addr: it.addresses.client,
            peer_addr: it.addresses.peer,
            http_addr: it.addresses.http,
        }
    }
}

impl TryFrom<v1::AdoptReply> for Confirmation {
    type Error = Missing;

    fn try_from(reply: v1::AdoptReply) -> Result<Self, Missing> {
        Ok(Self {
            cluster: reply.cluster.map(|cluster| ClusterId(cluster.into())),
            node: NodeId(reply.node),
            directory: DirectoryId(reply.directory.ok_or(Missing("the directory"))?.into()),
            addresses: Addresses { client: reply.client_addr, peer: reply.peer_addr, http: reply.http_addr },
        })
    }
}

fn encode_founding(founding: &Founding) -> v1::Bootstrap {
    let node = |(node, named): (&NodeId, &FoundingNode)| v1::BootstrapNode {
        node: node.0,
        peer_addr: named.peer_addr.clone(),
    };
    v1::Bootstrap {
        nodes: founding.nodes.iter().map(node).collect(),
        shards: founding.shards,
        replicas: founding.replicas,
    }
}

fn decode_founding(bootstrap: v1::Bootstrap) -> Founding {
    let node = |it: v1::BootstrapNode| (NodeId(it.node), FoundingNode { peer_addr: it.peer_addr });
    let nodes: BTreeMap<_, _> = bootstrap.nodes.into_iter().map(node).collect();
    Founding { nodes, shards: bootstrap.shards, replicas: bootstrap.replicas }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_say_survives_the_wire() {
        let node = |address: &str| FoundingNode { peer_addr: address.to_string() };
        let nodes = [(NodeId(1), node("a:1")), (NodeId(2), node("b:2"))].into();
        let founding = Founding { nodes, shards: 8, replicas: 2 };
        let blank = Introduction::new(NodeId(1), DirectoryId(7));
        let founded = Introduction {
            cluster: Some(ClusterId(3)),
            known_nodes: [NodeId(1), NodeId(2)].into(),
            known_directory: Some(DirectoryId(9)),
            founding: Some(founding.clone()),
            ..blank.clone()
        };
        for it in [blank, founded] {
            assert_eq!(Introduction::try_from(v1::ProbeReply::from(it.clone())), Ok(it));
        }
        for map in [None, Some(Bytes::from_static(b"map"))] {
            let it = Adoption { cluster: ClusterId(3), from: NodeId(1), to: NodeId(2), map };
            let sent = encode_adoption(it.clone(), &founding);
            assert_eq!(decode_adoption(sent), Ok((it, founding.clone())));
        }
        let addresses = Addresses { client: "c:1".into(), peer: "p:1".into(), http: String::new() };
        let it = Confirmation { cluster: None, node: NodeId(2), directory: DirectoryId(1 << 100), addresses };
        assert_eq!(Confirmation::try_from(v1::AdoptReply::from(it.clone())), Ok(it));
        assert!(Confirmation::try_from(v1::AdoptReply::default()).is_err());
        assert!(Introduction::try_from(v1::ProbeReply::default()).is_err());
        assert!(decode_adoption(v1::AdoptRequest::default()).is_err());
    }
}
