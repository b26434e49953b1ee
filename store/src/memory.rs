//! A base in memory, for simulation and tests: atomic batches, cheap views, torn checkpoints at a crash,
//! faults.
//!
//! Every key has its values by the number of the batch that wrote them, so that a view is a number, and a
//! crash is a truncation: the store falls back to the state after *some* batch between the last sync and the
//! latest, which is what a journalling store may do. Values that no view and no crash can reach any more are
//! dropped.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::{Base, BaseError, View, WriteBatch};

/// Keys that an iterator takes under one lock.
const ITERATOR_BATCH: usize = 64;

/// The base. Clones are handles of the same one.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Values by the number of their batch, rising; `None`: removed.
    keys: BTreeMap<Bytes, Vec<(u64, Option<Bytes>)>>,
    /// The number of the latest batch.
    latest: u64,
    /// A crash falls back to this batch at most.
    synced: u64,
    /// How many views look at the state after a batch.
    views: BTreeMap<u64, usize>,
    /// The keys of the batches whose older values are not dropped yet.
    recent: VecDeque<(u64, Vec<Bytes>)>,
    failing: bool,
    poisoned: bool,
}

/// The state after one batch.
#[derive(Clone, Debug)]
pub struct MemoryView {
    hold: Arc<Hold>,
}

/// Keeps the values of a view alive.
#[derive(Debug)]
struct Hold {
    state: Arc<Mutex<State>>,
    number: u64,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic elsewhere while the lock was held: the simulation has failed already, and says so itself.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// An empty base.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The process or the machine dies: batches after the last sync survive up to a point that the seed
    /// chooses. Views taken before are void. Returns how many batches were lost.
    pub fn crash(&self, seed: u64) -> u64 {
        let mut state = lock(&self.state);
        let range = state.latest - state.synced + 1;
        let survivor = state.synced + scramble(seed) % range;
        state.fall_back(survivor)
    }

    /// While failing, every commit and sync returns an I/O error and poisons the base, as a disk does that is
    /// full or broken.
    pub fn set_failing(&self, failing: bool) {
        lock(&self.state).failing = failing;
    }

    /// Bytes of the keys and of all values that are kept, for a simulator that bounds its memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = |(_, value): &(u64, Option<Bytes>)| value.as_ref().map_or(0, Bytes::len);
        let entry = |(key, values): (&Bytes, &Vec<_>)| key.len() + values.iter().map(value).sum::<usize>();
        lock(&self.state).keys.iter().map(entry).sum()
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
const fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn broken() -> BaseError {
    BaseError::Io(io::Error::other("simulated disk fault"))
}

impl State {
    fn fail(&mut self) -> Result<(), BaseError> {
        if self.poisoned {
            return Err(BaseError::Poisoned);
        }
        if self.failing {
            self.poisoned = true;
            return Err(broken());
        }
        Ok(())
    }

    fn fall_back(&mut self, survivor: u64) -> u64 {
        let lost = self.latest - survivor;
        while let Some((number, keys)) = self.recent.pop_back() {
            if number <= survivor {
                self.recent.push_back((number, keys));
                break;
            }
            for key in keys {
                if let Some(values) = self.keys.get_mut(&key) {
                    values.retain(|&(number, _)| number <= survivor);
                    if values.is_empty() {
                        self.keys.remove(&key);
                    }
                }
            }
        }
        self.latest = survivor;
        self.synced = survivor;
        self.poisoned = false;
        self.failing = false;
        lost
    }

    /// Drops the values that neither a view nor a crash can reach.
    fn prune(&mut self) {
        let oldest = self.views.first_key_value().map_or(self.synced, |(&number, _)| number.min(self.synced));
        while self.recent.front().is_some_and(|(number, _)| *number <= oldest) {
            let Some((_, keys)) = self.recent.pop_front() else { return };
            for key in keys {
                let Some(values) = self.keys.get_mut(&key) else { continue };
                // The newest value that everyone can see hides the older ones; a removal then hides nothing
                // more.
                let visible = values.partition_point(|&(number, _)| number <= oldest);
                if visible > 0 {
                    let removed = values[visible - 1].1.is_none();
                    values.drain(..if removed { visible } else { visible - 1 });
                }
                if values.is_empty() {
                    self.keys.remove(&key);
                }
            }
        }
    }
}

fn visible(values: &[(u64, Option<Bytes>)], number: u64) -> Option<Bytes> {
    let after = values.partition_point(|&(written, _)| written <= number);
    after.checked_sub(1).and_then(|last| values[last].1.clone())
}

impl Base for Memory {
    type View = MemoryView;

    fn view(&self) -> MemoryView {
        let mut state = lock(&self.state);
        let number = state.latest;
        *state.views.entry(number).or_default() += 1;
        MemoryView { hold: Arc::new(Hold { state: Arc::clone(&self.state), number }) }
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), BaseError> {
        let mut state = lock(&self.state);
        state.fail()?;
        state.latest += 1;
        let number = state.latest;
        let mut keys = Vec::with_capacity(batch.len());
        for (key, value) in batch.into_changes() {
            let values = state.keys.entry(key.clone()).or_default();
            if values.last().is_some_and(|&(last, _)| last == number) {
                values.pop();
            }
            values.push((number, value));
            keys.push(key);
        }
        state.recent.push_back((number, keys));
        Ok(())
    }

    fn sync(&self) -> Result<(), BaseError> {
        let mut state = lock(&self.state);
        state.fail().map_err(|error| match error {
            BaseError::Io(error) => BaseError::Unsynced(error),
            other => other,
        })?;
        state.synced = state.latest;
        state.prune();
        Ok(())
    }

    fn reopen(&self) -> Result<(), BaseError> {
        let mut state = lock(&self.state);
        if state.failing {
            return Err(broken());
        }
        state.poisoned = false;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some(count) = state.views.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                state.views.remove(&self.number);
                state.prune();
            }
        }
    }
}

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, BaseError> {
        let state = lock(&self.hold.state);
        Ok(state.keys.get(key).and_then(|values| visible(values, self.hold.number)))
    }

    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), BaseError>> {
        Range {
            hold: Arc::clone(&self.hold),
            from: Bound::Included(Bytes::copy_from_slice(from)),
            to: Bound::Excluded(Bytes::copy_from_slice(to)),
            empty: from >= to,
            reverse,
            buffer: VecDeque::new(),
        }
    }
}

/// Walks a range, a few keys at a time so that the lock is short.
struct Range {
    hold: Arc<Hold>,
    from: Bound<Bytes>,
    to: Bound<Bytes>,
    empty: bool,
    reverse: bool,
    buffer: VecDeque<(Bytes, Bytes)>,
}

impl Range {
    fn fill(&mut self) {
        while self.buffer.is_empty() && !self.empty {
            let state = lock(&self.hold.state);
            let range = state.keys.range::<Bytes, _>((self.from.as_ref(), self.to.as_ref()));
            let mut entries: Box<dyn Iterator<Item = _>> =
                if self.reverse { Box::new(range.rev()) } else { Box::new(range) };
            let mut last = None;
            for _ in 0..ITERATOR_BATCH {
                let Some((key, values)) = entries.next() else {
                    self.empty = true;
                    break;
                };
                last = Some(key.clone());
                if let Some(value) = visible(values, self.hold.number) {
                    self.buffer.push_back((key.clone(), value));
                }
            }
            drop(entries);
            drop(state);
            match (last, self.reverse) {
                (Some(key), false) => self.from = Bound::Excluded(key),
                (Some(key), true) => self.to = Bound::Excluded(key),
                (None, _) => self.empty = true,
            }
            // Two excluded bounds that meet are an empty range, and an error for the map.
            let (Bound::Included(from) | Bound::Excluded(from)) = &self.from else { continue };
            let (Bound::Included(to) | Bound::Excluded(to)) = &self.to else { continue };
            self.empty |= from >= to;
        }
    }
}

impl Iterator for Range {
    type Item = Result<(Bytes, Bytes), BaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        self.buffer.pop_front().map(Ok)
    }
}
