//! What a shard is when it is created. Every replica of the first configuration starts from the same one.

use bytes::{BufMut, Bytes, BytesMut};
use flotilla_raft::{Configuration, ReplicaId};
use flotilla_topology::Epoch;

use crate::encoding::{DecodeError, Reader, put_varint};
use crate::slots::Scope;

const FORMAT: u8 = 1;

/// The state of a shard at index 0. Part of the replica's birth record in the shared log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Which keys the shard owns.
    pub scope: Scope,
    /// The epoch of the cluster map that gave it these slots.
    pub epoch: Epoch,
    /// The members.
    pub configuration: Configuration,
}

impl Genesis {
    /// The bytes for the birth record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        self.scope.encode(&mut out);
        put_varint(&mut out, self.epoch.0);
        put_configuration(&mut out, &self.configuration);
        out.freeze()
    }

    /// Reads the bytes of a birth record.
    ///
    /// # Errors
    ///
    /// Any form that this release does not write.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("genesis")?;
        if format != FORMAT {
            return Err(DecodeError::Unknown { what: "genesis format", tag: u64::from(format) });
        }
        let scope = Scope::decode(&mut reader)?;
        let epoch = Epoch(reader.varint("epoch")?);
        let configuration = read_configuration(&mut reader)?;
        reader.end("genesis")?;
        Ok(Self { scope, epoch, configuration })
    }
}

pub(crate) fn put_configuration(out: &mut BytesMut, configuration: &Configuration) {
    for members in [&configuration.voters, &configuration.outgoing, &configuration.learners] {
        put_varint(out, members.len() as u64);
        for member in members {
            put_varint(out, member.0);
        }
    }
}

pub(crate) fn read_configuration(reader: &mut Reader) -> Result<Configuration, DecodeError> {
    let mut configuration = Configuration::default();
    for members in [&mut configuration.voters, &mut configuration.outgoing, &mut configuration.learners] {
        for _ in 0..reader.varint("member count")? {
            if !members.insert(ReplicaId(reader.varint("member")?)) {
                return Err(DecodeError::Range { what: "member" });
            }
        }
    }
    Ok(configuration)
}
