//! A disk in memory that can fail and crash: for the tests of this crate and for the fleets of the simulator.
//!
//! Everything follows from a seed. What it models: bytes that were not synced are at a crash each kept, dropped, torn or
//! garbage, by sectors of 512 bytes; file lengths and directory entries become durable separately; writes may be
//! short; the disk may be full; a sync may fail once and mark its pages clean, so that the next one reports success and
//! the bytes are gone after a crash; reads may fail; bits may flip. A call may be the last one before a power cut.
//!
//! What it does not model: a disk that lies about a sync that it reported as done.

mod chance;
mod image;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk;
use chance::Chance;
use image::Image;

pub use image::{Fate, SECTOR_BYTES};

/// What shall go wrong. Calls are counted from 1, since the disk was made.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The power fails in the middle of this changing call: it and all later ones fail until [`SimulatedDisk::crash`].
    pub crash_at_call: Option<u64>,
    /// This call fails with `StorageFull`, if it creates or writes.
    pub no_space_at_call: Option<u64>,
    /// This call fails, if it is a sync, and marks its pages clean.
    pub sync_error_at_call: Option<u64>,
    /// Writes may take fewer bytes than they were given.
    pub short_writes: bool,
    /// How many bytes all files together may take.
    pub space_bytes_max: Option<u64>,
    /// Reads of this file that touch this byte fail.
    pub read_error: Option<(String, u64)>,
}

/// A change of the directory that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Create(String, u64),
    Rename(String, String, u64),
    Remove(String),
}

#[derive(Clone, Debug)]
struct State {
    chance: Chance,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<Change>,
    images: BTreeMap<u64, Image>,
    next_image: u64,
    faults: Faults,
    calls: u64,
    syncs: u64,
    crashed: bool,
    /// How often the power failed: handles from before are dead.
    life: u64,
}

/// See the module. Clones are handles of the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimulatedDisk`].
#[derive(Debug)]
pub struct SimulatedFile {
    state: Arc<Mutex<State>>,
    image: u64,
    life: u64,
}

/// What a call is, for the faults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Growing,
    Sync,
    Other,
}

impl State {
    /// Counts a changing call. `true`: the power fails in the middle of it.
    fn call(&mut self, call: Call) -> io::Result<bool> {
        if self.crashed {
            return Err(power_failed());
        }
        self.calls += 1;
        self.syncs += u64::from(call == Call::Sync);
        let now = Some(self.calls);
        if self.faults.crash_at_call == now {
            self.crashed = true;
            return Ok(true);
        }
        if call == Call::Growing && self.faults.no_space_at_call == now {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(false)
    }

    fn sync_fails(&self) -> bool {
        self.faults.sync_error_at_call == Some(self.calls)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|image| self.images[image].bytes().len() as u64).sum()
    }

    fn lookup(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    fn forget_unnamed(&mut self) {
        let named: Vec<u64> = self.names.values().chain(self.durable_names.values()).copied().collect();
        if self.changes.is_empty() {
            self.images.retain(|image, _| named.contains(image));
        }
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Create(name, image) => {
            names.insert(name.clone(), *image);
        }
        Change::Rename(from, to, image) => {
            if names.get(from) == Some(image) {
                names.remove(from);
            }
            names.insert(to.clone(), *image);
        }
        Change::Remove(name) => {
            names.remove(name);
        }
    }
}

fn power_failed() -> io::Error {
    io::Error::other("the power failed")
}

impl SimulatedDisk {
    /// An empty disk. The seed decides what a crash leaves and how short writes are.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            chance: Chance::new(seed),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            images: BTreeMap::new(),
            next_image: 0,
            faults: Faults::default(),
            calls: 0,
            syncs: 0,
            crashed: false,
            life: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// An independent copy, which goes on under another seed.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut state = self.lock().clone();
        state.chance = Chance::new(seed);
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Replaces the faults to come.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// How many changing calls there were: creations, writes, renamings, removals, syncs.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// How many of them were syncs, of files or of the directory.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Whether the power failed and [`SimulatedDisk::crash`] was not called yet.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// The power fails and comes back: the seed decides what is left of everything that was not synced. Faults are over.
    pub fn crash(&self) {
        let mut chance = self.lock().chance.split();
        self.crash_with(
            &mut |_| match chance.below(8) {
                0..3 => Fate::Kept,
                3..6 => Fate::Dropped,
                6 => Fate::Torn,
                _ => Fate::Garbled,
            },
            None,
        );
    }

    /// As [`SimulatedDisk::crash`], but sector by sector as told. The argument of `fate` counts the sectors that were
    /// not synced, file by file. `directory`: whether unsynced changes of the directory are kept; chance, if `None`.
    pub fn crash_with(&self, fate: &mut dyn FnMut(u64) -> Fate, directory: Option<bool>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut nth = 0;
        for image in state.images.values_mut() {
            image.crash(&mut state.chance, &mut nth, fate);
        }
        let changes = std::mem::take(&mut state.changes);
        for change in changes {
            if directory.unwrap_or_else(|| state.chance.below(2) == 0) {
                apply(&mut state.durable_names, &change);
            }
        }
        state.names = state.durable_names.clone();
        state.crashed = false;
        state.life += 1;
        state.faults = Faults::default();
        state.forget_unnamed();
    }

    /// The process that uses the disk ends, the machine goes on: open files are dead, everything written is there to be read,
    /// and what was not synced can still be lost to a later power cut. Faults go on.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.crashed = false;
        state.life += 1;
    }

    /// How many bytes all files together take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used()
    }

    /// The names of all files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// How many sectors of files that have a name are not synced.
    #[must_use]
    pub fn unsynced_sectors(&self) -> u64 {
        let state = self.lock();
        state.names.values().map(|image| state.images[image].unsynced()).sum()
    }

    /// The content of a file; `None` if there is none of that name.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let image = state.names.get(name)?;
        Some(state.images[image].bytes().to_vec())
    }

    /// Puts a file there behind everyone's back, durably: rot, a restored backup, an operator's hand.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        let mut state = self.lock();
        let image = state.next_image;
        state.next_image += 1;
        state.images.insert(image, Image::durable(content));
        state.names.insert(name.to_owned(), image);
        state.durable_names.insert(name.to_owned(), image);
    }

    /// Takes a file away behind everyone's back, durably.
    pub fn take(&self, name: &str) -> Option<Vec<u8>> {
        let content = self.content(name);
        let mut state = self.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
        content
    }

    /// Flips one bit of a file, durably.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, name: &str, byte: u64, bit: u8) {
        let mut state = self.lock();
        let image = state.names.get(name).copied();
        let image = image.and_then(|image| state.images.get_mut(&image));
        let image = image.unwrap_or_else(|| panic!("there is no file {name} to damage"));
        image.flip(byte, bit);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl disk::Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        if state.crashed {
            return Err(power_failed());
        }
        Ok(state.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let state = self.lock();
        if state.crashed {
            return Err(power_failed());
        }
        let image = state.lookup(name)?;
        Ok(SimulatedFile { state: Arc::clone(&self.state), image, life: state.life })
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut state = self.lock();
        let last = state.call(Call::Growing)?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let image = state.next_image;
        state.next_image += 1;
        state.images.insert(image, Image::default());
        state.change(Change::Create(name.to_owned(), image));
        if last { Err(power_failed()) } else { Ok(()) }?;
        Ok(SimulatedFile { state: Arc::clone(&self.state), image, life: state.life })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let last = state.call(Call::Other)?;
        let image = state.lookup(from)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned(), image));
        if last { Err(power_failed()) } else { Ok(()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        let last = state.call(Call::Other)?;
        state.lookup(name)?;
        state.change(Change::Remove(name.to_owned()));
        if last { Err(power_failed()) } else { Ok(()) }
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.call(Call::Sync)? {
            return Err(power_failed());
        }
        if state.sync_fails() {
            return Err(io::Error::other("the disk failed"));
        }
        for change in std::mem::take(&mut state.changes) {
            apply(&mut state.durable_names, &change);
        }
        state.forget_unnamed();
        Ok(())
    }
}

impl SimulatedFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.state);
        if state.crashed || state.life != self.life { Err(power_failed()) } else { Ok(state) }
    }
}

impl disk::File for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.lock()?;
        if let Some((name, byte)) = &state.faults.read_error {
            let touches = offset <= *byte && *byte < offset + buffer.len() as u64;
            if touches && state.names.get(name) == Some(&self.image) {
                return Err(io::Error::other("the disk failed"));
            }
        }
        let bytes = state.images[&self.image].bytes();
        let from = (offset.min(bytes.len() as u64)) as usize;
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut guard = self.lock()?;
        let state = &mut *guard;
        let last = state.call(Call::Growing)?;
        let mut count = bytes.len();
        if let Some(most) = state.faults.space_bytes_max {
            let length = state.images[&self.image].bytes().len() as u64;
            let room = length + most.saturating_sub(state.used());
            count = count.min(room.saturating_sub(offset) as usize);
            if count == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        if state.faults.short_writes && count > 1 {
            count = 1 + state.chance.below(count as u64) as usize;
        }
        if let Some(image) = state.images.get_mut(&self.image) {
            image.write(&bytes[..count], offset);
        }
        if last { Err(power_failed()) } else { Ok(count) }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut guard = self.lock()?;
        let state = &mut *guard;
        if state.call(Call::Sync)? {
            return Err(power_failed());
        }
        let fails = state.sync_fails();
        if let Some(image) = state.images.get_mut(&self.image) {
            if fails {
                image.lose();
            } else {
                image.sync();
            }
        }
        if fails { Err(io::Error::other("the disk failed")) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock()?.images[&self.image].bytes().len() as u64)
    }
}
