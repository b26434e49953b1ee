//! What clients ask for: a mix of operations over a set of keys. Pure: chance comes from the caller's generator.

mod keys;
mod mix;
mod zipfian;

use bytes::{BufMut, Bytes, BytesMut};
use rand_core::Rng;

pub(crate) use keys::{Chooser, Distribution};
pub(crate) use mix::{Action, Mix};

/// The longest scan of a mix, in records, as YCSB has it.
const SCAN_RECORDS_MAX: u64 = 100;

/// A load: what is drawn, and from which keys.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) mix: Mix,
    pub(crate) distribution: Distribution,
    /// Keys that are there before the load begins.
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
}

/// One operation to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Read(Bytes),
    Write(Bytes, Bytes),
    /// Read, then write what was read, changed.
    Change(Bytes, Bytes),
    /// So many records from this key on.
    Scan(Bytes, u64),
}

impl Workload {
    /// Draws the next operation. `inserted` counts the keys that the load has added so far, over all clients.
    pub(crate) fn draw(
        &self,
        chooser: &Chooser,
        inserted: &mut impl FnMut() -> u64,
        chance: &mut impl Rng,
    ) -> Step {
        match self.mix.draw(chance) {
            Action::Read => Step::Read(key(chooser.draw(chance))),
            Action::Update => Step::Write(key(chooser.draw(chance)), self.value(chance)),
            Action::Insert => Step::Write(key(self.keys + inserted()), self.value(chance)),
            Action::Change => Step::Change(key(chooser.draw(chance)), self.value(chance)),
            Action::Scan => Step::Scan(key(chooser.draw(chance)), 1 + chance.next_u64() % SCAN_RECORDS_MAX),
        }
    }

    /// A value that does not compress.
    pub(crate) fn value(&self, chance: &mut impl Rng) -> Bytes {
        let mut value = BytesMut::zeroed(self.value_bytes);
        chance.fill_bytes(&mut value);
        value.freeze()
    }
}

/// The key of this number.
pub(crate) fn key(number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(20);
    key.put_slice(format!("user{number:012}").as_bytes());
    key.freeze()
}
