//! The machine: one shard's state on one node, advanced by the entries of its log.
//!
//! Synchronous and deterministic: two machines that applied the same entries hold the same, whenever each of
//! them flushed, restarted or installed a snapshot. It reads no clock; *shard time* advances by the stamps in
//! the entries, and everything that depends on time (expiry, deadlines) depends on shard time only.
//!
//! Rules that are decided here:
//!
//! - The version counter steps once per write that changes something: a put, a comparison that holds, a
//!   delete of an existing key. A conflict or a delete of a missing key takes no step. A transaction takes
//!   exactly one, also when it only reads.
//! - An expired key does not exist, for any operation, from the entry on whose stamp brings shard time to its
//!   expiry.
//! - Ownership is checked after the remembered results: who asks again for the result of a slot that has
//!   moved gets it. An operation refused for its slot leaves no trace.
//!
//! It does not bound keys, values or deadlines (the gate does), and it never reads the base: what an
//! operation must know is loaded before (decision D5).

mod txn;

use bytes::Bytes;
use flotilla_raft::{Configuration, Index, LogId};
use flotilla_topology::{ShardId, Slot};

use crate::base::View;
use crate::command::{Action, Command, Operation, RequestId};
use crate::digest::Tally;
use crate::error::Error;
use crate::flush::{Flush, Flushed, Retired};
use crate::genesis::Genesis;
use crate::layout::{self, Meta, Tag};
use crate::outcome::{Outcome, Record};
use crate::overlay::Overlay;
use crate::read::{BaseRead, Lookup};
use crate::remembered::{Burden, Remembered, Verdict};
use crate::scan::{Limits, ScanRange, ScanSlice};
use crate::slots::Slots;
use crate::snapshot;

/// One shard's state on one node.
#[derive(Debug)]
pub struct Machine {
    shard: ShardId,
    generation: u64,
    applied: LogId,
    time_ms: u64,
    version: u64,
    configuration: Configuration,
    configuration_index: Index,
    slots: Slots,
    overlay: Overlay,
    remembered: Remembered,
    /// What the base is known to hold.
    base: BaseState,
}

/// What the machine knows of the base since the last flush.
#[derive(Clone, Copy, Debug, Default)]
struct BaseState {
    /// Flushed up to here.
    durable: LogId,
    /// A flush took place: the pointer names this generation.
    exists: bool,
    /// The earliest expiry in the base that lies after the shard time of the last flush.
    expires_ms: Option<u64>,
    /// Expired records are left in the base.
    backlog: bool,
    /// What is stored, expired records included.
    stored: Tally,
}

impl Machine {
    /// The state of a new shard, at index 0. Choose the generation by [`snapshot::unused_generation`].
    #[must_use]
    pub fn create(shard: ShardId, generation: u64, genesis: &Genesis) -> Self {
        assert!(generation > 0, "generation 0 holds the pointer");
        Self {
            shard,
            generation,
            applied: LogId::default(),
            time_ms: 0,
            version: 0,
            configuration: genesis.configuration.clone(),
            configuration_index: Index(0),
            slots: Slots::new(&genesis.scope, genesis.epoch),
            overlay: Overlay::default(),
            remembered: Remembered::default(),
            base: BaseState::default(),
        }
    }

    /// The state that the base holds; that of a new shard when it holds none. Reads the results and floors
    /// into memory.
    ///
    /// # Errors
    ///
    /// The base fails, or holds what cannot be read or does not have its digest.
    pub fn open(shard: ShardId, view: &impl View, genesis: &Genesis) -> Result<Self, Error> {
        let Some(generation) = layout::read_pointer(view, shard)? else {
            return Ok(Self::create(shard, snapshot::unused_generation(view, shard)?, genesis));
        };
        let Some(meta) = Meta::read(view, shard, generation)? else {
            return Err(Error::Missing { shard, generation, record: "state" });
        };
        let remembered = snapshot::read_remembered(view, shard, generation)?;
        if remembered.digest() != meta.remembered {
            let (expected, found) = (meta.remembered, remembered.digest());
            return Err(Error::Digest { shard, record: "results and floors", expected, found });
        }
        let (backlog, expires_ms) = crate::flush::expiry_outlook(view, shard, generation, &meta)?;
        let base =
            BaseState { durable: meta.applied, exists: true, expires_ms, backlog, stored: meta.stored };
        Ok(Self {
            shard,
            generation,
            applied: meta.applied,
            time_ms: meta.time_ms,
            version: meta.version,
            configuration: meta.configuration,
            configuration_index: meta.configuration_index,
            slots: meta.slots,
            overlay: Overlay::default(),
            remembered,
            base,
        })
    }

    /// The shard.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// The generation of the base's keys that this machine is flushed to.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The last entry that was applied.
    #[must_use]
    pub const fn applied(&self) -> LogId {
        self.applied
    }

    /// The last entry that is in the base: the log may compact up to it.
    #[must_use]
    pub const fn durable(&self) -> LogId {
        self.base.durable
    }

    /// The members, as of `applied`.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The entry that made them the members; 0: they are the first ones.
    #[must_use]
    pub const fn configuration_index(&self) -> Index {
        self.configuration_index
    }

    /// The version counter: the version of the latest write.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Shard time, in milliseconds since 1970 by the leaders' clocks. Never goes back.
    #[must_use]
    pub const fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Which keys the shard owns.
    #[must_use]
    pub const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Memory that only a flush can free, in bytes.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.overlay.dirty_bytes()
    }

    /// Memory that the remembered results take, in bytes. Acknowledgements free it, and shard time; a flush
    /// does not.
    #[must_use]
    pub fn remembered_bytes(&self) -> usize {
        self.remembered.bytes()
    }

    /// Memory that the remembered results of one client take, in bytes.
    #[must_use]
    pub fn remembered_bytes_of(&self, client: u128) -> usize {
        self.remembered.bytes_of(client)
    }

    /// What a request would do to the memory of results.
    #[must_use]
    pub fn burden(&self, request: &RequestId) -> Burden {
        self.remembered.burden(request)
    }

    /// Memory that [`Machine::drop_clean`] frees, in bytes.
    #[must_use]
    pub fn clean_bytes(&self) -> usize {
        self.overlay.clean_bytes()
    }

    /// Forgets the cache of what the base holds too. Loads that an apply waits for are forgotten as well: ask
    /// [`Machine::missing`] again.
    pub fn drop_clean(&mut self) {
        self.overlay.drop_clean();
    }

    /// How many results are remembered.
    #[must_use]
    pub const fn results(&self) -> usize {
        self.remembered.len()
    }

    /// Keys, bytes and digest of what the base stores as of `durable`, expired records that are not yet
    /// removed included. Cheap, for metrics; the exact figures are [`crate::stats`].
    #[must_use]
    pub const fn stored(&self) -> Tally {
        self.base.stored
    }

    /// Whether the shard serves this key.
    ///
    /// # Errors
    ///
    /// The key's slot, when it does not.
    pub fn check(&self, key: &[u8]) -> Result<(), Slot> {
        self.slots.check(key)
    }

    /// The keys that must be loaded before the command can be applied: those whose present value an operation
    /// depends on and only the base knows. Ask again right before the apply: a flush or `drop_clean` may have
    /// forgotten some.
    #[must_use]
    pub fn missing(&self, command: &Command) -> Vec<Bytes> {
        let mut keys = Vec::new();
        for Operation { action, .. } in &command.operations {
            action.for_each_key_read(|key| {
                if self.overlay.get(key).is_none() && self.slots.check(key).is_ok() {
                    keys.push(key.clone());
                }
            });
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The read that answers a missing key, to be run with a view taken now.
    #[must_use]
    pub fn base_read(&self, key: &[u8]) -> BaseRead {
        BaseRead::new(self.shard, layout::key(self.shard, self.generation, Tag::Data, key), self.time_ms)
    }

    /// Takes in what [`Machine::base_read`] found for a missing key. Nothing may have been applied since the
    /// view was taken.
    pub fn load(&mut self, key: Bytes, record: Option<Record>) {
        self.overlay.load(key, record);
    }

    /// Applies the command of entry `id`: one outcome per operation, in order.
    pub fn apply(&mut self, id: LogId, command: &Command) -> Vec<Outcome> {
        self.advance(id);
        self.time_ms = self.time_ms.max(command.stamp_ms);
        let outcomes = command.operations.iter().map(|operation| self.operate(id, operation)).collect();
        self.remembered.seal(id.index.0, self.time_ms, command.operations.len());
        self.overlay.trim();
        outcomes
    }

    /// Applies an entry that says nothing.
    pub fn apply_noop(&mut self, id: LogId) {
        self.advance(id);
    }

    /// Applies an entry that changes the members.
    pub fn apply_configuration(&mut self, id: LogId, configuration: &Configuration) {
        self.advance(id);
        self.configuration = configuration.clone();
        self.configuration_index = id.index;
    }

    fn advance(&mut self, id: LogId) {
        let applied = self.applied;
        assert!(id.index == applied.index.next(), "{}: applying {id} after {applied}", self.shard);
        assert!(id.term >= applied.term, "{}: applying {id} after {applied}", self.shard);
        self.applied = id;
    }

    fn operate(&mut self, id: LogId, operation: &Operation) -> Outcome {
        let Operation { request, action } = operation;
        let Some(request) = request else {
            return match self.serves(action) {
                Ok(()) => self.execute(action),
                Err(outcome) => outcome,
            };
        };
        match self.remembered.check(request, self.time_ms) {
            Verdict::Remembered(outcome) => {
                self.remembered.note(request, self.time_ms);
                self.complete(outcome, action)
            }
            Verdict::Refused(refusal) => {
                self.remembered.note(request, self.time_ms);
                Outcome::Refused(refusal)
            }
            Verdict::Execute => {
                if let Err(outcome) = self.serves(action) {
                    return outcome;
                }
                let outcome = self.execute(action);
                self.remembered.note(request, self.time_ms);
                self.remembered.remember(request, id.index.0, &outcome);
                outcome
            }
        }
    }

    /// A conflict whose record was too big to be remembered is whole again when the key still holds that
    /// record.
    fn complete(&self, outcome: Outcome, action: &Action) -> Outcome {
        let Outcome::ConflictForgotten { version } = outcome else { return outcome };
        // Another kind of action: the client used one request id for two writes.
        let Action::CompareAndSwap { key, .. } = action else { return outcome };
        // The key may have gone to another shard since; then it was not loaded.
        let current = self.overlay.get(key).and_then(|record| record.as_ref());
        match current {
            Some(record) if record.version == version && !record.expired(self.time_ms) => {
                Outcome::Conflict { current: Some(record.clone()) }
            }
            _ => outcome,
        }
    }

    fn execute(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Put { key, value, ttl_ms } => {
                Outcome::Written { version: self.write(key, value, *ttl_ms) }
            }
            Action::Delete { key } => {
                let existed = self.remove(key);
                self.version += u64::from(existed);
                Outcome::Deleted { existed, version: self.version }
            }
            Action::CompareAndSwap { key, expected, value, ttl_ms } => {
                let current = self.present(key);
                if current.map_or(0, |record| record.version) != *expected {
                    return Outcome::Conflict { current: current.cloned() };
                }
                Outcome::Swapped { version: self.write(key, value, *ttl_ms) }
            }
            Action::Txn(txn) => Outcome::Txn(self.transact(txn)),
        }
    }

    /// One write: one step, one record.
    fn write(&mut self, key: &Bytes, value: &Bytes, ttl_ms: Option<u64>) -> u64 {
        self.version += 1;
        self.set(key, value, ttl_ms);
        self.version
    }

    /// Writes a record with the version of the step that is being made.
    fn set(&mut self, key: &Bytes, value: &Bytes, ttl_ms: Option<u64>) {
        // A ttl beyond the end of time is for ever.
        let expires_ms = ttl_ms.map(|ttl_ms| self.time_ms.saturating_add(ttl_ms));
        let record = Record { value: value.clone(), version: self.version, expires_ms };
        self.overlay.write(key.clone(), Some(record));
    }

    /// Removes a key; says whether it existed.
    fn remove(&mut self, key: &Bytes) -> bool {
        let existed = self.present(key).is_some();
        if existed {
            self.overlay.write(key.clone(), None);
        }
        existed
    }

    /// What a key holds at this shard time. It must have been loaded.
    fn present(&self, key: &Bytes) -> Option<&Record> {
        let Some(record) = self.overlay.get(key) else {
            panic!("{}: key {key:?} was not loaded before the apply of {}", self.shard, self.applied);
        };
        record.as_ref().filter(|record| !record.expired(self.time_ms))
    }

    /// Reads a key at the present moment of the shard: `applied`, shard time. For a base read take the view
    /// in the same turn.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Lookup {
        if let Err(slot) = self.slots.check(key) {
            return Lookup::WrongSlot(slot);
        }
        match self.overlay.get(key) {
            Some(record) => {
                Lookup::Record(record.as_ref().filter(|record| !record.expired(self.time_ms)).cloned())
            }
            None => Lookup::Base(self.base_read(key)),
        }
    }

    /// Begins to read a range at the present moment of the shard. Take the view for the slice in the same
    /// turn.
    #[must_use]
    pub fn scan(&self, range: &ScanRange, limits: Limits) -> ScanSlice {
        ScanSlice::new(self.shard, self.generation, self.time_ms, &self.slots, &self.overlay, range, limits)
    }

    /// Whether shard time should be moved to `now_ms`, the leader's clock, by a time entry (a command without
    /// operations): a key expires by then, or something remembered can be forgotten. A leader asks now and
    /// then.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> bool {
        self.next_due_ms().is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// From when on [`Machine::due`] holds, in shard time; `None`: nothing waits for it.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let base = self.base.expires_ms.filter(|due_ms| *due_ms > self.time_ms);
        let overlay = self.overlay.next_due_ms(self.time_ms);
        base.into_iter().chain(overlay).chain(self.remembered.next_due_ms()).min()
    }

    /// Whether a flush has something to do.
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        let expired = self.base.expires_ms.is_some_and(|expires_ms| expires_ms <= self.time_ms);
        self.applied != self.base.durable || self.base.backlog || expired
    }

    /// Freezes what was applied since the last flush and describes the flush. `None` when there is nothing to
    /// flush or a flush is under way.
    pub fn freeze(&mut self) -> Option<Flush> {
        if self.overlay.frozen.is_some() || !self.needs_flush() {
            return None;
        }
        let clean = self.overlay.clean.clone();
        let layer = self.overlay.freeze(self.time_ms);
        let changes = self.remembered.changes();
        let meta = Meta {
            applied: self.applied,
            time_ms: self.time_ms,
            version: self.version,
            configuration: self.configuration.clone(),
            configuration_index: self.configuration_index,
            slots: self.slots.clone(),
            remembered: self.remembered.digest(),
            stored: Tally::default(),
            cleared_ms: 0,
        };
        let before = self.base.exists.then_some(self.base.durable);
        Some(Flush::new(self.shard, self.generation, before, meta, layer, clean, changes))
    }

    /// The flush took place: its entries are durable and its layer is a cache. What is returned is best
    /// dropped on another thread: it may be big.
    pub fn flushed(&mut self, done: Flushed) -> Retired {
        assert!(
            done.generation == self.generation && done.applied.index <= self.applied.index,
            "{}: flush of {} in generation {} ended at {} in generation {}",
            self.shard,
            done.applied,
            done.generation,
            self.applied,
            self.generation,
        );
        self.base = BaseState {
            durable: done.applied,
            exists: true,
            expires_ms: done.expires_ms,
            backlog: done.backlog,
            stored: done.stored,
        };
        Retired::new(self.overlay.flushed())
    }
}
