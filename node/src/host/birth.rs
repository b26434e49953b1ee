//! How a replica comes into the world: what the log's `Birth` record holds beside the replica's id.
//!
//! A replica is created once, from the cluster map, and its birth is the first thing that its log knows of it. From
//! then on the log is the truth: a node that restarts hosts what its log says, whatever a map in flight may say.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flotilla_raft::ReplicaId;
use flotilla_store::{DecodeError, Genesis};
use flotilla_topology::NodeId;

/// The format of the encoded birth.
const FORMAT: u8 = 1;

/// How a replica comes into the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// The replica's id.
    pub replica: ReplicaId,
    /// Where the shard's replicas live, as far as is known. Corrected later by the cluster map.
    pub placement: Vec<(ReplicaId, NodeId)>,
    /// The shard's first state, equal on all its replicas.
    pub genesis: Genesis,
}

impl Birth {
    /// The bytes for the log: everything but the replica's id, which the record itself names.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        out.put_u32(u32::try_from(self.placement.len()).unwrap_or(u32::MAX));
        for (replica, node) in &self.placement {
            out.put_u64(replica.0);
            out.put_u64(node.0);
        }
        out.put_slice(&self.genesis.encode());
        out.freeze()
    }

    /// Reads what [`Birth::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are of another format, or cut short.
    pub fn decode(replica: ReplicaId, mut bytes: Bytes) -> Result<Self, BirthError> {
        let header = bytes.len();
        if header < 5 {
            return Err(BirthError::Short { bytes: header });
        }
        let format = bytes.get_u8();
        if format != FORMAT {
            return Err(BirthError::Format { format });
        }
        let count = bytes.get_u32() as usize;
        if bytes.len() / 16 < count {
            return Err(BirthError::Short { bytes: header });
        }
        let placement = (0..count).map(|_| (ReplicaId(bytes.get_u64()), NodeId(bytes.get_u64()))).collect();
        let genesis = Genesis::decode(bytes).map_err(BirthError::Genesis)?;
        Ok(Self { replica, placement, genesis })
    }
}

/// A birth record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BirthError {
    /// It ends too early.
    #[error("a birth record of {bytes} bytes is cut short")]
    Short {
        /// Its size.
        bytes: usize,
    },
    /// It is of a format that this version does not know.
    #[error("a birth record has format {format}, this version knows {FORMAT}")]
    Format {
        /// Its format.
        format: u8,
    },
    /// Its genesis cannot be read.
    #[error("a birth record's genesis: {0}")]
    Genesis(#[source] DecodeError),
}

#[cfg(test)]
mod tests {
    use flotilla_raft::Configuration;
    use flotilla_store::{Scope, SlotSpan};
    use flotilla_topology::{Epoch, Slot};

    use super::*;

    fn birth(scope: Scope) -> Birth {
        let genesis = Genesis {
            scope,
            epoch: Epoch(300),
            configuration: Configuration::of_voters([1, 2].map(ReplicaId)),
        };
        let placement = vec![(ReplicaId(1), NodeId(7)), (ReplicaId(2), NodeId(8))];
        Birth { replica: ReplicaId(1), placement, genesis }
    }

    /// `docs/formats/entry.md`, byte by byte: births lie in logs for ever. Whoever changes one of these bytes changes a format.
    #[test]
    fn the_bytes_of_a_birth_are_these() {
        let placement = [
            &[1, 0, 0, 0, 2][..],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 8],
        ]
        .concat();
        let members = [0xAC, 0x02, 2, 1, 2, 0, 0];
        let slot = |number| Slot::new(number).unwrap();
        let spans =
            [(0, 99), (200, 16383)].map(|(first, last)| SlotSpan { first: slot(first), last: slot(last) });
        let golden = [
            (birth(Scope::Meta), vec![1, 0]),
            (birth(Scope::Slots(spans.into())), vec![1, 1, 2, 0, 99, 0xC8, 0x01, 0xFF, 0x7F]),
        ];
        for (birth, scope) in golden {
            let bytes = [&placement[..], &scope, &members].concat();
            assert_eq!(birth.encode()[..], bytes, "{birth:?}");
            assert_eq!(Birth::decode(ReplicaId(1), bytes.into()).unwrap(), birth, "and they are read back");
        }
    }

    #[test]
    fn a_birth_that_is_cut_short_or_of_another_format_is_refused() {
        let bytes = birth(Scope::Meta).encode();
        for length in 0..bytes.len() {
            assert!(Birth::decode(ReplicaId(1), bytes.slice(..length)).is_err(), "{length} bytes");
        }
        let mut huge = bytes.to_vec();
        huge[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Birth::decode(ReplicaId(1), huge.into()), Err(BirthError::Short { .. })));
        let mut later = bytes.to_vec();
        later[0] = 2;
        assert!(matches!(Birth::decode(ReplicaId(1), later.into()), Err(BirthError::Format { format: 2 })));
    }
}
