//! The bytes of a cluster map: docs/formats/map.md.
//!
//! One map has one encoding: numbers are as short as can be, lists are in rising order, and nothing may follow. A decoded
//! map is sound ([`ClusterMap::validate`]). No input makes the decoder panic or allocate more than the input's own size
//! suggests.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_raft::{Index, ReplicaId};

use crate::{
    ClusterMap, Epoch, Fault, Leaving, Membership, Move, MoveId, NodeId, NodeInfo, Placement, ShardGenesis,
    ShardId, ShardInfo, Slot, SlotMap, SlotMapError, SlotRange,
};

/// The newest version of the encoding: it knows of nodes that leave. Each version is written only for a map that says what those before
/// cannot: so a fleet that does without can go back to a release that does not know it.
pub const FORMAT: u8 = 3;

/// The version that knows of joining and moving, and of no leaving.
const MOVING_FORMAT: u8 = 2;

/// The version that knows of no joining and no moving.
const FIRST_FORMAT: u8 = 1;

const MAGIC: [u8; 4] = *b"FMAP";
const CHECKSUM_BYTES: usize = 4;

/// Why bytes are no cluster map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They do not start as a map does.
    #[error("not a cluster map: it does not start with FMAP")]
    Magic,
    /// They are of a version that this release does not know.
    #[error("cluster map of format {format}, this release reads {FIRST_FORMAT} to {FORMAT}")]
    Format {
        /// What they say.
        format: u8,
    },
    /// The checksum is of other bytes.
    #[error("cluster map with a bad checksum")]
    Checksum,
    /// The bytes end too soon.
    #[error("cluster map ends in the middle of {field}")]
    Short {
        /// What was being read.
        field: &'static str,
    },
    /// A field says what no encoder writes.
    #[error("cluster map with an impossible {field}")]
    Value {
        /// Which one.
        field: &'static str,
    },
    /// The slot map is not one.
    #[error("cluster map: {0}")]
    Slots(#[from] SlotMapError),
    /// The map is not sound.
    #[error("cluster map: {0}")]
    Fault(#[from] Fault),
}

impl ClusterMap {
    /// The bytes of this map.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let format = self.format();
        out.push(format);
        out.extend(self.cluster.to_be_bytes());
        put(&mut out, self.epoch.0);
        put(&mut out, self.nodes.len() as u64);
        for (node, info) in &self.nodes {
            put(&mut out, node.0);
            for address in [&info.client_addr, &info.peer_addr, &info.http_addr] {
                put(&mut out, address.len() as u64);
                out.extend(address.as_bytes());
            }
        }
        put(&mut out, self.removed_nodes.len() as u64);
        for node in &self.removed_nodes {
            put(&mut out, node.0);
        }
        put(&mut out, self.greatest_shard.0);
        put(&mut out, self.shards.len() as u64);
        for (shard, info) in &self.shards {
            put_shard(&mut out, *shard, info);
        }
        put(&mut out, self.slots.runs().len() as u64);
        for (range, shard) in self.slots.ranges() {
            put(&mut out, range.count() as u64);
            put(&mut out, shard.0);
        }
        if format >= MOVING_FORMAT {
            put_moving(&mut out, self);
        }
        if format >= FORMAT {
            put_leaving(&mut out, self);
        }
        let checksum = crc32fast::hash(&out);
        out.extend(checksum.to_le_bytes());
        out
    }

    /// The oldest format that can say it all.
    fn format(&self) -> u8 {
        match (self.leaving.is_empty(), self.is_plain()) {
            (false, _) => FORMAT,
            (true, false) => MOVING_FORMAT,
            (true, true) => FIRST_FORMAT,
        }
    }

    /// Whether the first format can say what joined and moved.
    fn is_plain(&self) -> bool {
        let is_plain = |info: &ShardInfo| {
            let mut placements = info.replicas.values();
            info.reported == Index(0) && placements.all(|at| at.membership != Membership::Expected)
        };
        self.joined.is_empty() && self.greatest_move == MoveId(0) && self.shards.values().all(is_plain)
    }

    /// Reads a map.
    ///
    /// # Errors
    ///
    /// The bytes are damaged, of another format, or no sound map.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = bytes.strip_prefix(&MAGIC).ok_or(DecodeError::Magic)?;
        let format = *body.first().ok_or(DecodeError::Short { field: "format" })?;
        if !(FIRST_FORMAT..=FORMAT).contains(&format) {
            return Err(DecodeError::Format { format });
        }
        let Some((checked, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(DecodeError::Checksum);
        };
        if crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
            return Err(DecodeError::Checksum);
        }
        let rest = checked.get(MAGIC.len() + 1..).ok_or(DecodeError::Short { field: "format" })?;
        let map = Reader { rest, format }.map()?;
        map.validate()?;
        // The same map in a newer format would be a second form of it.
        if format != map.format() {
            return Err(DecodeError::Value { field: "format" });
        }
        Ok(map)
    }
}

fn put_shard(out: &mut Vec<u8>, shard: ShardId, info: &ShardInfo) {
    put(out, shard.0);
    put(out, u64::from(info.virtual_nodes));
    put(out, info.greatest_replica.0);
    put(out, info.replicas.len() as u64);
    for (replica, placement) in &info.replicas {
        put(out, replica.0);
        put(out, placement.node.0);
        out.push(match placement.membership {
            Membership::Voter => 0,
            Membership::Learner => 1,
            Membership::Expected => 2,
        });
    }
    put_genesis(out, &info.genesis);
}

fn put_genesis(out: &mut Vec<u8>, genesis: &ShardGenesis) {
    put(out, genesis.epoch.0);
    put(out, genesis.voters.len() as u64);
    for (replica, node) in &genesis.voters {
        put(out, replica.0);
        put(out, node.0);
    }
    put(out, genesis.slots.ranges().len() as u64);
    let mut end = 0;
    for range in genesis.slots.ranges() {
        put(out, u64::from(range.first().number()) - end);
        put(out, range.count() as u64);
        end = u64::from(range.last().number()) + 1;
    }
}

/// What the first format does not know.
fn put_moving(out: &mut Vec<u8>, map: &ClusterMap) {
    put(out, map.joined.len() as u64);
    for (node, directory) in &map.joined {
        put(out, node.0);
        out.extend(directory.to_be_bytes());
    }
    let reported = || map.shards.iter().filter(|(_, info)| info.reported > Index(0));
    put(out, reported().count() as u64);
    for (shard, info) in reported() {
        put(out, shard.0);
        put(out, info.reported.0);
    }
    put(out, map.greatest_move.0);
    put(out, map.moves.len() as u64);
    for (id, it) in &map.moves {
        let numbers = [id.0, it.shard.0, it.from.0, it.to.0, it.leaving.0, it.arriving.0];
        numbers.into_iter().for_each(|number| put(out, number));
        out.push(u8::from(it.cancelled));
    }
}

/// What only the newest format knows.
fn put_leaving(out: &mut Vec<u8>, map: &ClusterMap) {
    put(out, map.leaving.len() as u64);
    for (node, how) in &map.leaving {
        put(out, node.0);
        out.push(match how {
            Leaving::Drained => 0,
            Leaving::Removed => 1,
        });
    }
}

/// A number as LEB128: seven bits a byte, lowest first, the high bit says that more follow.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Reader<'a> {
    rest: &'a [u8],
    format: u8,
}

impl Reader<'_> {
    fn map(mut self) -> Result<ClusterMap, DecodeError> {
        let cluster = u128::from_be_bytes(self.array("cluster id")?);
        let epoch = Epoch(self.number("epoch")?);
        let nodes = self.list("node", |reader| Ok((NodeId(reader.number("node")?), reader.node()?)))?;
        let removed_nodes =
            self.list("removed node", |reader| Ok((NodeId(reader.number("removed node")?), ())))?;
        let greatest_shard = ShardId(self.number("greatest shard")?);
        let shards = self.list("shard", |reader| Ok((ShardId(reader.number("shard")?), reader.shard()?)))?;
        let mut lengths = Vec::new();
        for _ in 0..self.number("run count")? {
            lengths.push((self.number("run length")?, ShardId(self.number("run owner")?)));
        }
        let slots = SlotMap::from_lengths(lengths)?;
        let removed_nodes: BTreeSet<NodeId> = removed_nodes.into_keys().collect();
        let (joined, leaving, moves, greatest_move) = Default::default();
        let mut map = ClusterMap {
            cluster,
            epoch,
            nodes,
            joined,
            leaving,
            removed_nodes,
            shards,
            greatest_shard,
            slots,
            moves,
            greatest_move,
        };
        if self.format >= MOVING_FORMAT {
            self.moving(&mut map)?;
        }
        if self.format >= FORMAT {
            map.leaving = self.list("leaving node", |reader| {
                let node = NodeId(reader.number("leaving node")?);
                let how = match reader.array("what becomes of a leaving node")? {
                    [0] => Leaving::Drained,
                    [1] => Leaving::Removed,
                    _ => return Err(DecodeError::Value { field: "what becomes of a leaving node" }),
                };
                Ok((node, how))
            })?;
        }
        if !self.rest.is_empty() {
            return Err(DecodeError::Value { field: "end" });
        }
        Ok(map)
    }

    /// What the first format does not know.
    fn moving(&mut self, map: &mut ClusterMap) -> Result<(), DecodeError> {
        map.joined = self.list("joined node", |reader| {
            let node = NodeId(reader.number("joined node")?);
            Ok((node, u128::from_be_bytes(reader.array("directory")?)))
        })?;
        let reports = self.list("report", |reader| {
            Ok((ShardId(reader.number("report")?), Index(reader.number("reported index")?)))
        })?;
        for (shard, index) in reports {
            let info = map.shards.get_mut(&shard).filter(|_| index > Index(0));
            info.ok_or(DecodeError::Value { field: "report" })?.reported = index;
        }
        map.greatest_move = MoveId(self.number("greatest move")?);
        map.moves = self.list("move", |reader| Ok((MoveId(reader.number("move")?), reader.a_move()?)))?;
        Ok(())
    }

    fn a_move(&mut self) -> Result<Move, DecodeError> {
        Ok(Move {
            shard: ShardId(self.number("moved shard")?),
            from: NodeId(self.number("move's origin")?),
            to: NodeId(self.number("move's destination")?),
            leaving: ReplicaId(self.number("leaving replica")?),
            arriving: ReplicaId(self.number("arriving replica")?),
            cancelled: match self.array("cancellation")? {
                [0] => false,
                [1] => true,
                _ => return Err(DecodeError::Value { field: "cancellation" }),
            },
        })
    }

    fn node(&mut self) -> Result<NodeInfo, DecodeError> {
        Ok(NodeInfo {
            client_addr: self.text("client address")?,
            peer_addr: self.text("peer address")?,
            http_addr: self.text("http address")?,
        })
    }

    fn shard(&mut self) -> Result<ShardInfo, DecodeError> {
        let virtual_nodes = self.number("virtual nodes")?;
        let virtual_nodes =
            u32::try_from(virtual_nodes).map_err(|_| DecodeError::Value { field: "virtual nodes" })?;
        let greatest_replica = ReplicaId(self.number("greatest replica")?);
        let replicas = self.list("replica", |reader| {
            let replica = ReplicaId(reader.number("replica")?);
            let node = NodeId(reader.number("replica's node")?);
            let membership = match reader.array("membership")? {
                [0] => Membership::Voter,
                [1] => Membership::Learner,
                [2] if reader.format >= MOVING_FORMAT => Membership::Expected,
                _ => return Err(DecodeError::Value { field: "membership" }),
            };
            Ok((replica, Placement { node, membership }))
        })?;
        let (genesis, reported) = (self.genesis()?, Index::default());
        Ok(ShardInfo { replicas, greatest_replica, virtual_nodes, genesis, reported })
    }

    fn genesis(&mut self) -> Result<ShardGenesis, DecodeError> {
        let epoch = Epoch(self.number("genesis epoch")?);
        let voters = self.list("genesis voter", |reader| {
            Ok((ReplicaId(reader.number("genesis voter")?), NodeId(reader.number("genesis voter's node")?)))
        })?;
        let (mut slots, mut end) = (Vec::new(), 0_u64);
        for range in 0..self.number("genesis slot range count")? {
            slots.push(self.genesis_range(range == 0, &mut end)?);
        }
        Ok(ShardGenesis { epoch, slots: slots.into_iter().collect(), voters })
    }

    /// Slots that lie behind `end`, and, unless they are the first ones, do not touch what ended there.
    fn genesis_range(&mut self, first: bool, end: &mut u64) -> Result<SlotRange, DecodeError> {
        const IMPOSSIBLE: DecodeError = DecodeError::Value { field: "genesis slot range" };
        let (gap, length) = (self.number("genesis slot gap")?, self.number("genesis slot range length")?);
        if (gap == 0 && !first) || length == 0 {
            return Err(IMPOSSIBLE);
        }
        let from = end.checked_add(gap).ok_or(IMPOSSIBLE)?;
        *end = from.checked_add(length).ok_or(IMPOSSIBLE)?;
        let slot = |number: u64| u16::try_from(number).ok().and_then(Slot::new).ok_or(IMPOSSIBLE);
        SlotRange::new(slot(from)?, slot(*end - 1)?).ok_or(IMPOSSIBLE)
    }

    /// A count, then so many items, in strictly rising order of their keys. Nothing is allocated by the count: a huge one
    /// runs into the end of the bytes.
    fn list<K: Ord + Copy, V>(
        &mut self,
        field: &'static str,
        item: impl Fn(&mut Self) -> Result<(K, V), DecodeError>,
    ) -> Result<BTreeMap<K, V>, DecodeError> {
        let mut items = BTreeMap::new();
        for _ in 0..self.number(field)? {
            let (key, value) = item(self)?;
            if items.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(DecodeError::Value { field });
            }
            items.insert(key, value);
        }
        Ok(items)
    }

    fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let length = usize::try_from(self.number(field)?).map_err(|_| DecodeError::Short { field })?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Short { field })?;
        self.rest = rest;
        Ok(std::str::from_utf8(text).map_err(|_| DecodeError::Value { field })?.to_owned())
    }

    fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array(field)?;
            let bits = u64::from(byte & 0x7F);
            let lost = bits != (bits << shift) >> shift;
            // A zero at the end would be a second form of the same number.
            if lost || (byte == 0 && shift > 0) {
                return Err(DecodeError::Value { field });
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeError::Value { field })
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Short { field })?;
        self.rest = rest;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests;
