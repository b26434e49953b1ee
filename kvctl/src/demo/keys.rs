//! Keys that fall into a wanted shard, and values that prove whose they are.

use bytes::Bytes;
use flotilla_proto::v1 as wire;
use flotilla_topology::{ShardId, Slot};

use crate::verbs::route::owner;

/// Tags tried before giving up: enough for a shard that owns a single slot.
const TAGS_MAX: u32 = 1_000_000;

/// A shard and a hash tag whose slot it owns: every key with this tag lives there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The shard.
    pub shard: ShardId,
    tag: String,
}

/// One tag for each shard that owns slots, in the order of the shards.
#[must_use]
pub fn tags(map: &wire::ClusterMap) -> Vec<Tag> {
    let mut wanted: Vec<ShardId> =
        map.shards.iter().filter(|shard| !shard.slots.is_empty()).map(|shard| ShardId(shard.shard)).collect();
    let mut tags = Vec::new();
    for number in 0..TAGS_MAX {
        if wanted.is_empty() {
            break;
        }
        let tag = format!("t{number}");
        let Some(shard) = owner(map, Slot::of(tag.as_bytes())) else { continue };
        if let Some(at) = wanted.iter().position(|wanted| *wanted == shard) {
            wanted.swap_remove(at);
            tags.push(Tag { shard, tag });
        }
    }
    tags.sort_by_key(|tag| tag.shard);
    tags
}

impl Tag {
    /// The key with this number. Numbers are never used twice, so that every write can be judged by itself.
    #[must_use]
    pub fn key(&self, number: u64) -> Bytes {
        Bytes::from(format!("demo:{{{}}}:{number:010}", self.tag))
    }
}

/// The value that belongs to a key: no other key has it.
#[must_use]
pub fn value(key: &Bytes) -> Bytes {
    let mut value = b"the value of ".to_vec();
    value.extend_from_slice(key);
    value.resize(128, b'.');
    Bytes::from(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_with_slots_has_a_tag_whose_keys_live_there() {
        let mut map = crate::view::samples::map();
        map.shards[1].slots = vec![wire::SlotRange { first: 0, last: 16382 }];
        map.shards.push(wire::Shard {
            shard: 2,
            slots: vec![wire::SlotRange { first: 16383, last: 16383 }],
            ..Default::default()
        });
        let tags = tags(&map);
        assert_eq!(tags.iter().map(|tag| tag.shard.0).collect::<Vec<_>>(), [1, 2]);
        for tag in &tags {
            for number in [0, 1, 4_000_000_000] {
                assert_eq!(owner(&map, Slot::of(&tag.key(number))), Some(tag.shard));
            }
        }
    }

    #[test]
    fn values_tell_keys_apart() {
        let tag = Tag { shard: ShardId(1), tag: "t1".to_string() };
        assert_ne!(value(&tag.key(1)), value(&tag.key(10)));
        assert_eq!(value(&tag.key(1)).len(), 128);
    }
}
