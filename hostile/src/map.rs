//! The cluster map: out of shard 0, of a peer's frame, of a node's cache.

use flotilla_topology::ClusterMap;

use crate::input::Input;

/// The first byte: whether the checksum is put right. Then the map.
pub(crate) fn enter(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let right = input.byte() % 2 == 1;
    let mut bytes = input.0.to_vec();
    if right && let Some(length) = bytes.len().checked_sub(4) {
        let checksum = crc32fast::hash(&bytes[..length]);
        bytes[length..].copy_from_slice(&checksum.to_le_bytes());
    }
    let Ok(map) = ClusterMap::decode(&bytes) else { return false };
    assert_eq!(map.validate(), Ok(()), "a map that is not sound was decoded");
    assert_eq!(map.encode(), bytes, "a map has a second form");
    // What everybody asks of it.
    for node in map.nodes.keys() {
        for (shard, replica) in map.replicas_on(*node) {
            assert_eq!(map.node_of(shard, replica), Some(*node));
        }
    }
    let slots: usize = map.shards.keys().map(|shard| map.slots_of(*shard).ranges().len()).sum();
    assert!(slots <= map.slots.runs().len());
    true
}
