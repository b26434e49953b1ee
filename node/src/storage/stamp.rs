//! What a data directory says of its node.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use flotilla_topology::NodeId;

use super::codec::{self, CodecError};

/// The cluster: drawn once, when a fleet is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// A data directory: drawn once, when it is made. A node that lost its directory comes back with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryId(pub u128);

/// One run of the process: drawn at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The stamp of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Whose directory it is.
    pub node: NodeId,
    /// Which directory it is.
    pub directory: DirectoryId,
    /// How far it has come into a cluster.
    pub membership: Membership,
}

/// How far a directory has come into a cluster. It only ever moves down this list, and never to another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Membership {
    /// It belongs to no cluster.
    Blank,
    /// It has promised itself to this cluster, whose other nodes may not all have done so. Nothing else is in it.
    Promised {
        /// The cluster.
        cluster: ClusterId,
        /// With what the cluster is founded.
        founding: Founding,
    },
    /// All nodes of the founding have promised themselves: the node runs. The genesis map stands in GENESIS.
    Founded {
        /// The cluster.
        cluster: ClusterId,
        /// With what it was founded.
        founding: Founding,
    },
}

/// With what a fleet is founded: equal on all its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Founding {
    /// The nodes and their peer addresses.
    pub nodes: BTreeMap<NodeId, FoundingNode>,
    /// How many shards there are beside the meta shard.
    pub shards: u32,
    /// How many replicas each shard has.
    pub replicas: u32,
}

/// A node of a founding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FoundingNode {
    /// Its peer address, `host:port`.
    pub peer_addr: String,
}

impl Membership {
    /// The cluster, once there is one.
    #[must_use]
    pub const fn cluster(&self) -> Option<ClusterId> {
        match self {
            Self::Blank => None,
            Self::Promised { cluster, .. } | Self::Founded { cluster, .. } => Some(*cluster),
        }
    }

    /// The founding, once there is one.
    #[must_use]
    pub const fn founding(&self) -> Option<&Founding> {
        match self {
            Self::Blank => None,
            Self::Promised { founding, .. } | Self::Founded { founding, .. } => Some(founding),
        }
    }

    /// Whether the fleet is founded, so that the node may run.
    #[must_use]
    pub const fn is_founded(&self) -> bool {
        matches!(self, Self::Founded { .. })
    }
}

const BLANK: u8 = 0;
const PROMISED: u8 = 1;
const FOUNDED: u8 = 2;

impl Stamp {
    /// The bytes of the stamp; `docs/formats/directory.md` describes them.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64(self.node.0);
        out.put_u128(self.directory.0);
        match &self.membership {
            Membership::Blank => out.put_u8(BLANK),
            Membership::Promised { cluster, founding } => {
                out.put_u8(PROMISED);
                put_founding(&mut out, *cluster, founding);
            }
            Membership::Founded { cluster, founding } => {
                out.put_u8(FOUNDED);
                put_founding(&mut out, *cluster, founding);
            }
        }
        out.freeze()
    }

    /// Reads what [`Stamp::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no stamp.
    pub fn decode(mut bytes: Bytes) -> Result<Self, CodecError> {
        let from = &mut bytes;
        let node = NodeId(codec::get_u64(from)?);
        let directory = DirectoryId(codec::get_u128(from)?);
        let membership = match codec::get_u8(from)? {
            BLANK => Membership::Blank,
            PROMISED => {
                let (cluster, founding) = get_founding(from)?;
                Membership::Promised { cluster, founding }
            }
            FOUNDED => {
                let (cluster, founding) = get_founding(from)?;
                Membership::Founded { cluster, founding }
            }
            tag => return Err(CodecError::Tag { what: "the membership", tag }),
        };
        codec::end(from)?;
        Ok(Self { node, directory, membership })
    }
}

fn put_founding(out: &mut BytesMut, cluster: ClusterId, founding: &Founding) {
    out.put_u128(cluster.0);
    out.put_u32(founding.shards);
    out.put_u32(founding.replicas);
    let count = u32::try_from(founding.nodes.len());
    out.put_u32(count.unwrap_or_else(|_| panic!("{} nodes do not fit a stamp", founding.nodes.len())));
    for (node, named) in &founding.nodes {
        out.put_u64(node.0);
        codec::put_text(out, &named.peer_addr);
    }
}

fn get_founding(from: &mut Bytes) -> Result<(ClusterId, Founding), CodecError> {
    let cluster = ClusterId(codec::get_u128(from)?);
    let shards = codec::get_u32(from)?;
    let replicas = codec::get_u32(from)?;
    let count = codec::get_u32(from)?;
    let mut nodes = BTreeMap::new();
    for _ in 0..count {
        let node = NodeId(codec::get_u64(from)?);
        if nodes.insert(node, FoundingNode { peer_addr: codec::get_text(from)? }).is_some() {
            return Err(CodecError::Doubled);
        }
    }
    Ok((cluster, Founding { nodes, shards, replicas }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founding() -> Founding {
        let node = |address: &str| FoundingNode { peer_addr: address.to_string() };
        let nodes = [(NodeId(1), node("a:1")), (NodeId(7), node("[::1]:7607"))].into();
        Founding { nodes, shards: 8, replicas: 3 }
    }

    fn stamps() -> [Stamp; 3] {
        let cluster = ClusterId(0xC1);
        [
            Membership::Blank,
            Membership::Promised { cluster, founding: founding() },
            Membership::Founded { cluster, founding: founding() },
        ]
        .map(|membership| Stamp {
            node: NodeId(7),
            directory: DirectoryId(u128::MAX - 1),
            membership,
        })
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        for stamp in stamps() {
            assert_eq!(Stamp::decode(stamp.encode()), Ok(stamp));
        }
    }

    /// `docs/formats/directory.md`, byte by byte: directories outlive releases. Whoever changes one of these bytes gives
    /// the file another format number.
    #[test]
    fn the_bytes_of_a_stamp_are_these() {
        let [blank, promised, founded] = stamps();
        let whose = [&[0, 0, 0, 0, 0, 0, 0, 7][..], &[0xFF; 15], &[0xFE]].concat();
        assert_eq!(blank.encode()[..], [&whose[..], &[0]].concat());
        let founding = [
            &[0; 15][..],
            &[0xC1],
            &[0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3],
            b"a:1",
            &[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 10],
            b"[::1]:7607",
        ]
        .concat();
        assert_eq!(promised.encode()[..], [&whose[..], &[1], &founding].concat());
        assert_eq!(founded.encode()[..], [&whose[..], &[2], &founding].concat());
    }

    #[test]
    fn a_stamp_that_is_cut_short_or_goes_on_is_refused() {
        for stamp in stamps() {
            let bytes = stamp.encode();
            for length in 0..bytes.len() {
                assert!(Stamp::decode(bytes.slice(..length)).is_err(), "{length} bytes of {stamp:?}");
            }
            let long = [&bytes[..], &[0]].concat();
            assert_eq!(Stamp::decode(long.into()), Err(CodecError::Trailing { bytes: 1 }));
        }
    }

    #[test]
    fn a_huge_count_of_nodes_allocates_nothing() {
        let [_, promised, _] = stamps();
        let mut bytes = promised.encode().to_vec();
        let count_at = 8 + 16 + 1 + 16 + 4 + 4;
        bytes[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(Stamp::decode(bytes.into()), Err(CodecError::Short));
    }
}
