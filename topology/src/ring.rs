//! The ring: plans which shard owns each slot, so that a shard more or less moves few slots (Karger et al., 1997).
//!
//! Each shard stands on the ring at many points, its *virtual nodes*; a slot belongs to the shard of the next point. More
//! virtual nodes are more weight. A shard that joins takes slots from all others and moves none between them; one that
//! leaves gives its own away and moves no others.
//!
//! Virtual nodes stand where a pinned, seeded hash puts them. Slots stand at even distances, in the order of their
//! numbers: keys are spread over the slots by a hash already, and so a shard owns a few hundred ranges of neighbours
//! and not thousands of single slots. Maps, birth records and scan pages that name slots stay small.
//!
//! The hash is frozen, like a format: two releases must plan the same ring, or an upgrade would move slots. A plan is
//! computed once per ring change and then stored as a [`SlotMap`].

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;

use crate::{SLOTS, ShardId, Slot, SlotMap};

/// Virtual nodes of a shard of weight one. With 1 to 32 such shards, each owns between 0.8 and 1.2 times its fair share of
/// the slots.
pub const VIRTUAL_NODES: u32 = 128;

/// Frozen. Of the seeds 0 to 1,999 it is the one whose plans for 1 to 32 shards are balanced best: no shard is more than
/// 16.1 % away from its fair share (the unluckiest seeds: 40 %).
const SEED: u64 = 492;

/// Plans the owner of every slot for shards with these numbers of virtual nodes. `None` without any virtual node.
#[must_use]
pub fn plan(shards: impl IntoIterator<Item = (ShardId, u32)>) -> Option<SlotMap> {
    let mut ring = HashRing::with_hasher(Points);
    let points = shards.into_iter().flat_map(|(shard, count)| (0..count).map(move |number| (shard, number)));
    ring.batch_add(points.map(|(shard, number)| VirtualNode { shard, number }).collect());
    if ring.is_empty() {
        return None;
    }
    Some(SlotMap::from_owners(|slot| {
        let point = ring.get(&Mark(slot));
        let Some(node) = point else {
            unreachable!("a ring with {} points has none for slot {slot}", ring.len())
        };
        node.shard
    }))
}

/// One of the points of a shard.
struct VirtualNode {
    shard: ShardId,
    number: u32,
}

/// The point of a slot.
struct Mark(Slot);

/// Says where virtual nodes and slots stand on the ring.
struct Points;

enum Point {
    Mixed(u64),
    Placed(u64),
}

// Written out, not derived: what a derive feeds to the hasher is not promised to stay the same.
impl Hash for VirtualNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.shard.0);
        state.write_u32(self.number);
    }
}

impl Hash for Mark {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u16(self.0.number());
    }
}

impl BuildHasher for Points {
    type Hasher = Point;

    fn build_hasher(&self) -> Point {
        Point::Mixed(mix(SEED))
    }
}

impl Hasher for Point {
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("the ring hashes whole numbers only, not the bytes {bytes:?}");
    }

    /// A slot: placed at its share of the circle.
    fn write_u16(&mut self, slot: u16) {
        *self = Self::Placed(u64::from(slot) * (u64::MAX / u64::from(SLOTS) + 1));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        let state = self.finish();
        *self = Self::Mixed(mix(state ^ word));
    }

    fn finish(&self) -> u64 {
        let (Self::Mixed(point) | Self::Placed(point)) = self;
        *point
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014) after one step of its counter: a permutation that scatters.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Shards 1 to `count`, all of weight one.
    fn even(count: u64) -> BTreeMap<ShardId, u32> {
        (1..=count).map(|shard| (ShardId(shard), VIRTUAL_NODES)).collect()
    }

    fn planned(shards: &BTreeMap<ShardId, u32>) -> SlotMap {
        plan(shards.clone()).unwrap()
    }

    #[test]
    fn each_shard_has_about_its_fair_share() {
        for count in 1..=32 {
            let counts = planned(&even(count)).counts();
            for shard in 1..=count {
                let share = counts[&ShardId(shard)] as f64 * count as f64 / f64::from(SLOTS);
                assert!(
                    (0.8..=1.2).contains(&share),
                    "shard {shard} of {count} has {share} of its fair share"
                );
            }
        }
    }

    #[test]
    fn a_new_shard_takes_slots_and_moves_none_between_the_others() {
        for count in 1..=32 {
            let (before, after) = (planned(&even(count)), planned(&even(count + 1)));
            let new = ShardId(count + 1);
            let mut moved = 0;
            for slot in Slot::all().filter(|slot| before.owner(*slot) != after.owner(*slot)) {
                assert_eq!(after.owner(slot), new, "slot {slot} moved between old shards");
                moved += 1;
            }
            assert!(
                moved > 0 && moved <= usize::from(SLOTS) * 6 / 5 / (count as usize + 1),
                "{moved} slots moved"
            );
        }
    }

    #[test]
    fn a_shard_that_leaves_gives_away_its_own_slots_and_moves_no_others() {
        let before = planned(&even(8));
        for leaver in 1..=8 {
            let mut rest = even(8);
            rest.remove(&ShardId(leaver));
            let after = planned(&rest);
            for slot in Slot::all() {
                if before.owner(slot) == ShardId(leaver) {
                    assert_ne!(after.owner(slot), ShardId(leaver));
                } else {
                    assert_eq!(after.owner(slot), before.owner(slot));
                }
            }
        }
    }

    #[test]
    fn more_virtual_nodes_are_more_weight() {
        let mut shards = even(4);
        shards.insert(ShardId(4), 3 * VIRTUAL_NODES);
        let counts = planned(&shards).counts();
        let share = counts[&ShardId(4)] as f64 / f64::from(SLOTS);
        assert!((0.42..0.58).contains(&share), "three of six parts are a half, not {share}");
    }

    #[test]
    fn without_shards_there_is_no_plan() {
        assert_eq!(plan([]), None);
        assert_eq!(plan([(ShardId(1), 0)]), None);
    }

    /// If this fails, the ring has changed, and an upgrade would move slots between shards: take the change back.
    #[test]
    fn the_plan_is_frozen_for_ever() {
        let map = planned(&even(8));
        let counts: Vec<usize> = map.counts().into_values().collect();
        assert_eq!(counts, GOLDEN_COUNTS);
        assert_eq!(map.runs().len(), GOLDEN_RUNS);
        let owners: Vec<u8> = Slot::all().map(|slot| map.owner(slot).0 as u8).collect();
        assert_eq!(crc32fast::hash(&owners), GOLDEN_CRC, "{:#X}", crc32fast::hash(&owners));
    }

    const GOLDEN_COUNTS: [usize; 8] = [2241, 2170, 1993, 1894, 2088, 1831, 2124, 2043];
    const GOLDEN_RUNS: usize = 876;
    const GOLDEN_CRC: u32 = 0xA09E_CE72;
}
