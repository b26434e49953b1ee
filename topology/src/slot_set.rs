//! A set of slots as the fewest ranges.

use std::fmt;

use crate::Slot;

/// Neighbouring slots, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotRange {
    first: Slot,
    last: Slot,
}

/// A set of slots: ranges in rising order that neither overlap nor touch, so that equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlotSet {
    ranges: Vec<SlotRange>,
}

impl SlotRange {
    /// The slots `first..=last`; nothing if they stand the wrong way round.
    #[must_use]
    pub fn new(first: Slot, last: Slot) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The first slot.
    #[must_use]
    pub const fn first(self) -> Slot {
        self.first
    }

    /// The last slot, not before the first.
    #[must_use]
    pub const fn last(self) -> Slot {
        self.last
    }

    /// How many slots there are, at least one.
    #[must_use]
    pub const fn count(self) -> usize {
        (self.last.number() - self.first.number()) as usize + 1
    }

    /// The slots, in order.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (self.first.number()..=self.last.number()).filter_map(Slot::new)
    }
}

impl SlotSet {
    /// No slots.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Every slot.
    #[must_use]
    pub fn full() -> Self {
        Slot::all().collect()
    }

    /// The ranges, in rising order; between two of them at least one slot is missing.
    #[must_use]
    pub fn ranges(&self) -> &[SlotRange] {
        &self.ranges
    }

    /// How many slots there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ranges.iter().map(|range| range.count()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the slot is in the set.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        let after = self.ranges.partition_point(|range| range.first <= slot);
        after > 0 && slot <= self.ranges[after - 1].last
    }

    /// The slots, in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.ranges.iter().flat_map(|range| range.slots())
    }

    /// The slots of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.ranges.iter().chain(&other.ranges).copied().collect()
    }

    /// The slots of this set that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.slots().filter(|slot| !other.contains(*slot)).collect()
    }
}

impl FromIterator<SlotRange> for SlotSet {
    fn from_iter<I: IntoIterator<Item = SlotRange>>(ranges: I) -> Self {
        let mut sorted: Vec<SlotRange> = ranges.into_iter().collect();
        sorted.sort_by_key(|range| range.first);
        let mut set = Self::new();
        for range in sorted {
            match set.ranges.last_mut() {
                Some(end) if range.first.number() <= end.last.number() + 1 => {
                    end.last = end.last.max(range.last)
                }
                _ => set.ranges.push(range),
            }
        }
        set
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        slots.into_iter().map(|slot| SlotRange { first: slot, last: slot }).collect()
    }
}

/// Printed as `0-5460,9000`.
impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, range) in self.ranges.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{}", range.first)?;
            if range.last != range.first {
                write!(f, "-{}", range.last)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SLOTS;
    use rand_core::{Rng, SeedableRng};
    use std::collections::BTreeSet;

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        let range = |first, last| SlotRange::new(slot(first), slot(last)).unwrap();
        let set: SlotSet =
            [range(7, 9), range(0, 3), range(4, 5), range(8, 20), range(12, 13)].into_iter().collect();
        assert_eq!(set.to_string(), "0-5,7-20");
        assert_eq!(SlotRange::new(slot(2), slot(1)), None);
        assert_eq!(SlotSet::full().to_string(), format!("0-{}", SLOTS - 1));
        assert_eq!(SlotSet::full().count(), usize::from(SLOTS));
        assert_eq!([slot(9), slot(9)].into_iter().collect::<SlotSet>().to_string(), "9");
    }

    #[test]
    fn it_behaves_as_a_plain_set_of_slots_does() {
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(7);
        for _ in 0..50 {
            let mut draw = || -> BTreeSet<Slot> {
                (0..random.next_u32() % 60).map(|_| slot((random.next_u32() % 90) as u16)).collect()
            };
            let (left, right) = (draw(), draw());
            let set = |plain: &BTreeSet<Slot>| plain.iter().copied().collect::<SlotSet>();
            let (a, b) = (set(&left), set(&right));
            assert_eq!(a.slots().collect::<BTreeSet<_>>(), left);
            assert_eq!(a.count(), left.len());
            assert_eq!(a.union(&b), set(&left.union(&right).copied().collect()));
            assert_eq!(a.difference(&b), set(&left.difference(&right).copied().collect()));
            assert!((0..100).map(slot).all(|it| a.contains(it) == left.contains(&it)));
        }
    }
}
