//! Which shard owns each slot: the plan of the ring, stored. Requests are routed by it, never by the ring itself.

use std::collections::BTreeMap;

use crate::{SLOTS, ShardId, Slot, SlotRange, SlotSet};

/// An owner for every slot, as the fewest runs of neighbours with one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    /// Starts at slot 0, in rising order; neighbours differ in their owner.
    runs: Vec<SlotRun>,
}

/// From this slot on, until the next run begins, the owner is this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// The first slot of the run.
    pub first: Slot,
    /// The owner.
    pub shard: ShardId,
}

/// Why a list of lengths is no slot map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotMapError {
    /// A run without slots.
    #[error("run {run} of the slot map is empty")]
    EmptyRun {
        /// Counted from 0.
        run: usize,
    },
    /// Two neighbouring runs with one owner: the same map would have two forms.
    #[error("run {run} of the slot map has the owner {shard} of the run before it")]
    SplitRun {
        /// Counted from 0.
        run: usize,
        /// The owner of both.
        shard: ShardId,
    },
    /// Too few or too many slots.
    #[error("the slot map covers {slots} slots")]
    Coverage {
        /// How many the runs hold together (at least, when too many).
        slots: u64,
    },
}

impl SlotMap {
    /// Every slot belongs to the shard that `owner` names.
    #[must_use]
    pub fn from_owners(mut owner: impl FnMut(Slot) -> ShardId) -> Self {
        let mut runs: Vec<SlotRun> = Vec::new();
        for slot in Slot::all() {
            let shard = owner(slot);
            if runs.last().is_none_or(|run| run.shard != shard) {
                runs.push(SlotRun { first: slot, shard });
            }
        }
        Self { runs }
    }

    /// The map of these runs, each with its length in slots.
    ///
    /// # Errors
    ///
    /// The runs do not cover every slot once, or are not the fewest.
    pub fn from_lengths(lengths: impl IntoIterator<Item = (u64, ShardId)>) -> Result<Self, SlotMapError> {
        let mut runs: Vec<SlotRun> = Vec::new();
        let mut start = 0_u64;
        for (run, (length, shard)) in lengths.into_iter().enumerate() {
            let first = u16::try_from(start).ok().and_then(Slot::new);
            let first = first.ok_or(SlotMapError::Coverage { slots: start.saturating_add(length) })?;
            if length == 0 {
                return Err(SlotMapError::EmptyRun { run });
            }
            if runs.last().is_some_and(|before| before.shard == shard) {
                return Err(SlotMapError::SplitRun { run, shard });
            }
            runs.push(SlotRun { first, shard });
            start = start.saturating_add(length);
        }
        if start == u64::from(SLOTS) {
            Ok(Self { runs })
        } else {
            Err(SlotMapError::Coverage { slots: start })
        }
    }

    /// The runs, in the order of their slots.
    #[must_use]
    pub fn runs(&self) -> &[SlotRun] {
        &self.runs
    }

    /// The runs as ranges with their owners.
    pub fn ranges(&self) -> impl Iterator<Item = (SlotRange, ShardId)> {
        let ends = self.runs.iter().skip(1).map(|next| next.first.number()).chain([SLOTS]);
        self.runs.iter().zip(ends).filter_map(|(run, end)| {
            let last = Slot::new(end - 1)?;
            Some((SlotRange::new(run.first, last)?, run.shard))
        })
    }

    /// The owner of a slot.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> ShardId {
        let after = self.runs.partition_point(|run| run.first <= slot);
        assert!(after > 0, "the first run of a slot map starts at slot 0, not at {:?}", self.runs.first());
        self.runs[after - 1].shard
    }

    /// The slots of one shard.
    #[must_use]
    pub fn slots_of(&self, shard: ShardId) -> SlotSet {
        self.ranges().filter(|(_, owner)| *owner == shard).map(|(range, _)| range).collect()
    }

    /// How many slots each owner has.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<ShardId, usize> {
        let mut counts = BTreeMap::new();
        for (range, shard) in self.ranges() {
            *counts.entry(shard).or_default() += range.count();
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn each_slot_has_the_owner_it_was_given() {
        let owner = |slot: Slot| ShardId(u64::from(slot.number() % 100 / 40) + 1);
        let map = SlotMap::from_owners(owner);
        assert!(Slot::all().all(|slot| map.owner(slot) == owner(slot)));
        assert_eq!(map.slots_of(ShardId(3)).ranges()[0], SlotRange::new(slot(80), slot(99)).unwrap());
        assert!(map.slots_of(ShardId(9)).is_empty());
        assert_eq!(map.counts().values().sum::<usize>(), usize::from(SLOTS));

        let lengths: Vec<_> = map.ranges().map(|(range, shard)| (range.count() as u64, shard)).collect();
        assert_eq!(SlotMap::from_lengths(lengths), Ok(map));
    }

    #[test]
    fn runs_that_are_not_a_map_are_refused() {
        let all = u64::from(SLOTS);
        let of = |lengths: &[(u64, u64)]| {
            SlotMap::from_lengths(lengths.iter().map(|(length, shard)| (*length, ShardId(*shard))))
        };
        assert!(of(&[(all, 1)]).is_ok());
        assert_eq!(of(&[]), Err(SlotMapError::Coverage { slots: 0 }));
        assert_eq!(of(&[(all - 1, 1)]), Err(SlotMapError::Coverage { slots: all - 1 }));
        assert_eq!(of(&[(all, 1), (1, 2)]), Err(SlotMapError::Coverage { slots: all + 1 }));
        assert_eq!(of(&[(u64::MAX, 1), (1, 2)]), Err(SlotMapError::Coverage { slots: u64::MAX }));
        assert_eq!(of(&[(0, 1), (all, 2)]), Err(SlotMapError::EmptyRun { run: 0 }));
        assert_eq!(of(&[(1, 1), (all - 1, 1)]), Err(SlotMapError::SplitRun { run: 1, shard: ShardId(1) }));
    }
}
