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
