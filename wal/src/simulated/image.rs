//! The content of one simulated file: what a reader sees, and what a crash may leave of it.

use std::collections::BTreeMap;

use super::chance::Chance;

/// What reaches a disk whole or not at all, in bytes.
pub const SECTOR_BYTES: u64 = 512;
const SECTOR: usize = SECTOR_BYTES as usize;

/// What a crash leaves of a sector that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The new content.
    Kept,
    /// The content at the last sync.
    Dropped,
    /// The first part new, the rest old.
    Torn,
    /// Anything.
    Garbled,
}

#[derive(Clone, Debug)]
struct Unsynced {
    /// What is on the disk.
    durable: [u8; SECTOR],
    /// A sync failed: no later one will write this, unless it is written anew.
    lost: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    bytes: Vec<u8>,
    durable_length: usize,
    unsynced: BTreeMap<usize, Unsynced>,
}

impl Image {
    pub fn durable(bytes: Vec<u8>) -> Self {
        Self { durable_length: bytes.len(), bytes, unsynced: BTreeMap::new() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn unsynced(&self) -> u64 {
        self.unsynced.len() as u64
    }

    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let (from, until) = (offset as usize, offset as usize + bytes.len());
        for sector in from / SECTOR..until.div_ceil(SECTOR) {
            if let Some(unsynced) = self.unsynced.get_mut(&sector) {
                unsynced.lost = false;
                continue;
            }
            let mut durable = [0; SECTOR];
            let begin = (sector * SECTOR).min(self.bytes.len());
            let end = ((sector + 1) * SECTOR).min(self.bytes.len());
            durable[..end - begin].copy_from_slice(&self.bytes[begin..end]);
            self.unsynced.insert(sector, Unsynced { durable, lost: false });
        }
        if self.bytes.len() < until {
            self.bytes.resize(until, 0);
        }
        self.bytes[from..until].copy_from_slice(bytes);
    }

    pub fn sync(&mut self) {
        self.unsynced.retain(|_, unsynced| unsynced.lost);
        self.durable_length = self.bytes.len();
    }

    /// A sync failed: the pages count as clean, and are not on the disk.
    pub fn lose(&mut self) {
        self.unsynced.values_mut().for_each(|unsynced| unsynced.lost = true);
    }

    pub fn flip(&mut self, byte: u64, bit: u8) {
        self.bytes[byte as usize] ^= 1 << bit;
    }

    pub fn crash(&mut self, chance: &mut Chance, nth: &mut u64, fate: &mut dyn FnMut(u64) -> Fate) {
        let grown = self.bytes.len() - self.durable_length;
        for (sector, unsynced) in std::mem::take(&mut self.unsynced) {
            let begin = sector * SECTOR;
            let end = (begin + SECTOR).min(self.bytes.len());
            let content = &mut self.bytes[begin..end];
            // What a failed sync marked clean never reached the disk; else a later sync could be believed.
            let fate = if unsynced.lost { Fate::Dropped } else { fate(*nth) };
            *nth += 1;
            match fate {
                Fate::Kept => {}
                Fate::Dropped => content.copy_from_slice(&unsynced.durable[..end - begin]),
                Fate::Torn => {
                    let at = chance.below(content.len() as u64 + 1) as usize;
                    content[at..].copy_from_slice(&unsynced.durable[at..end - begin]);
                }
                Fate::Garbled => content.iter_mut().for_each(|byte| *byte = chance.next() as u8),
            }
        }
        if grown > 0 {
            let kept = [0, grown, chance.below(grown as u64) as usize][chance.below(3) as usize];
            self.bytes.truncate(self.durable_length + kept);
        }
        self.durable_length = self.bytes.len();
    }
}
