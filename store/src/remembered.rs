//! Exactly once: remembered results and floors (DESIGN.md §6).
//!
//! A write with a request id is executed at most once, however often it arrives: its result is remembered
//! until the client has acknowledged it, or its deadline has passed in shard time. What arrives after either
//! is refused: by the client's *floor* (the greatest `acknowledged` seen), or by the deadline itself. The
//! floor is needed until the latest deadline seen from that client has passed: from then on the deadline
//! refuses what the floor refused.
//!
//! A result *counts* while its sequence is not below the floor and its deadline lies ahead. It is *removed*
//! later, in bounded steps, so that no apply stalls over a million results that fall due together. The steps
//! depend on nothing but the entries applied, and what is there is stored as it is there: replicas hold the
//! same, and a restart changes nothing. The results of one entry are one record in the base, and are removed
//! together at their latest deadline.

use std::collections::{BTreeMap, BTreeSet};

mod answer;

use bytes::{BufMut, Bytes, BytesMut};

use answer::Answer;

use crate::command::RequestId;
use crate::digest::Digest;
use crate::encoding::{DecodeError, Reader, put_varint};
use crate::outcome::{Outcome, Refusal};

/// Acknowledged results that one operation removes. More than one operation adds, so that they never pile up.
const ACKNOWLEDGED_PER_OPERATION: usize = 16;
/// Results and floors that an apply looks at: this many, and so many per operation.
const REVIEWED_PER_APPLY: usize = 256;
const REVIEWED_PER_OPERATION: usize = 4;
/// What a result costs in memory, without its record.
const RESULT_BYTES: usize = 112;

/// What to do with an operation that carries a request id.
pub(crate) enum Verdict {
    /// It ran already: this was its outcome.
    Remembered(Outcome),
    /// It may have run already.
    Refused(Refusal),
    /// It did not run.
    Execute,
}

/// What a request does to the memory of results. An estimate: other requests may be applied before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burden {
    /// It acknowledges results that are there: more is freed than it adds.
    Frees,
    /// Its result is there already.
    Keeps,
    /// Its result comes on top.
    Adds,
}

#[derive(Clone, Debug)]
struct Slot {
    client: u128,
    sequence: u64,
    deadline_ms: u64,
    answer: Answer,
}

/// The results of one entry. A removed result leaves its place empty, so that the others keep theirs.
#[derive(Clone, Debug, Default)]
struct EntryResults {
    slots: Vec<Option<Slot>>,
    live: usize,
    /// The latest deadline of all results that were ever here: then all are removed.
    review_ms: u64,
    /// The entry is applied: it stands in the review order.
    sealed: bool,
    /// The base has (or is getting) a record of it.
    stored: bool,
    /// Its record differs from the base's.
    dirty: bool,
}

#[derive(Clone, Debug)]
struct Client {
    floor: u64,
    latest_ms: u64,
    /// When to see whether the floor can go. Not after `latest_ms`; moved only when it is reached.
    review_ms: u64,
    /// Sequence → entry and place in it.
    results: BTreeMap<u64, (u64, usize)>,
    /// What its results take beside their fixed part, in bytes.
    record_bytes: usize,
    stored: bool,
    dirty: bool,
}

/// What a flush writes: key's rest, and record or `None` for a removal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) floors: Vec<(u128, Option<Bytes>)>,
    pub(crate) results: Vec<(u64, Option<Bytes>)>,
}

/// The results and floors of a shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    clients: BTreeMap<u128, Client>,
    entries: BTreeMap<u64, EntryResults>,
    entries_due: BTreeSet<(u64, u64)>,
    clients_due: BTreeSet<(u64, u128)>,
    dirty_clients: Vec<u128>,
    dirty_entries: Vec<u64>,
    digest: Digest,
    live: usize,
    record_bytes: usize,
}

impl Remembered {
    /// Decides about an operation, in the order of DESIGN.md §6: a remembered result, then floor and
    /// deadline.
    pub(crate) fn check(&self, request: &RequestId, time_ms: u64) -> Verdict {
        let client = self.clients.get(&request.client);
        let floor = client.map_or(0, |client| client.floor_at(time_ms));
        if request.sequence >= floor
            && let Some(slot) = client.and_then(|client| self.slot(client, request.sequence))
            && slot.deadline_ms > time_ms
        {
            return Verdict::Remembered(slot.answer.outcome());
        }
        if request.sequence < floor {
            return Verdict::Refused(Refusal::Stale { floor });
        }
        if request.deadline_ms <= time_ms {
            return Verdict::Refused(Refusal::Expired { time_ms });
        }
        Verdict::Execute
    }

    fn slot(&self, client: &Client, sequence: u64) -> Option<&Slot> {
        let (entry, place) = client.results.get(&sequence)?;
        self.entries.get(entry)?.slots.get(*place)?.as_ref()
    }

    /// Takes note of what an attempt says of its client: which answers it has, and how long attempts may
    /// come.
    pub(crate) fn note(&mut self, request: &RequestId, time_ms: u64) {
        // A passed deadline adds nothing: whatever comes under it is refused by itself.
        if request.deadline_ms <= time_ms {
            return;
        }
        let Some(client) = self.clients.get_mut(&request.client) else {
            let client = Client {
                floor: request.acknowledged,
                latest_ms: request.deadline_ms,
                review_ms: request.deadline_ms,
                results: BTreeMap::new(),
                record_bytes: 0,
                stored: false,
                dirty: true,
            };
            self.digest.add(client.digest(request.client));
            self.clients_due.insert((client.review_ms, request.client));
            self.clients.insert(request.client, client);
            self.dirty_clients.push(request.client);
            return;
        };
        if request.acknowledged > client.floor_at(time_ms) || request.deadline_ms > client.latest_ms {
            self.digest.remove(client.digest(request.client));
            client.floor = client.floor_at(time_ms).max(request.acknowledged);
            client.latest_ms = client.latest_ms.max(request.deadline_ms);
            self.digest.add(client.digest(request.client));
            mark(&mut client.dirty, &mut self.dirty_clients, request.client);
        }
        for _ in 0..ACKNOWLEDGED_PER_OPERATION {
            let Some(client) = self.clients.get_mut(&request.client) else { return };
            match client.results.first_key_value() {
                Some((&sequence, &(entry, place))) if sequence < client.floor => {
                    client.results.remove(&sequence);
                    self.forget(entry, place);
                }
                _ => return,
            }
        }
    }

    /// Remembers the outcome of an operation of entry `index` that was executed. The client was noted before.
    pub(crate) fn remember(&mut self, request: &RequestId, index: u64, outcome: &Outcome) {
        let Some(answer) = Answer::of(outcome) else { return };
        let Some(client) = self.clients.get_mut(&request.client) else {
            panic!("client {:032x} of sequence {} was not noted", request.client, request.sequence);
        };
        if request.sequence < client.floor {
            return; // It acknowledges itself: nobody will ask.
        }
        // A result whose deadline has passed may still lie there, when attempts disagree about their
        // deadline.
        if let Some((entry, place)) = client.results.remove(&request.sequence) {
            self.forget(entry, place);
        }
        let entry = self.entries.entry(index).or_default();
        let place = entry.slots.len();
        if let Some(client) = self.clients.get_mut(&request.client) {
            client.results.insert(request.sequence, (index, place));
            client.record_bytes += answer.bytes();
        }
        let slot = Slot {
            client: request.client,
            sequence: request.sequence,
            deadline_ms: request.deadline_ms,
            answer,
        };
        self.digest.add(slot.digest(index));
        self.live += 1;
        self.record_bytes += slot.answer.bytes();
        entry.review_ms = entry.review_ms.max(slot.deadline_ms);
        entry.slots.push(Some(slot));
        entry.live += 1;
        mark(&mut entry.dirty, &mut self.dirty_entries, index);
    }

    /// Empties one place.
    fn forget(&mut self, index: u64, place: usize) {
        let Some(entry) = self.entries.get_mut(&index) else { panic!("entry {index} has no results") };
        let Some(slot) = entry.slots[place].take() else { panic!("entry {index} has no result {place}") };
        self.digest.remove(slot.digest(index));
        self.record_bytes -= slot.answer.bytes();
        if let Some(client) = self.clients.get_mut(&slot.client) {
            client.record_bytes -= slot.answer.bytes();
        }
        self.live -= 1;
        entry.live -= 1;
        mark(&mut entry.dirty, &mut self.dirty_entries, index);
        if entry.live == 0 && entry.sealed {
            let review = (entry.review_ms, index);
            self.entries_due.remove(&review);
            self.drop_entry(index);
        }
    }

    fn drop_entry(&mut self, index: u64) {
        // A stored one stays as an empty shell until the next flush has removed its record.
        if let Some(entry) = self.entries.get_mut(&index) {
            if entry.stored {
                entry.slots = Vec::new();
            } else {
                self.entries.remove(&index);
            }
        }
    }

    /// Entry `index` is applied, at this shard time, with so many operations.
    pub(crate) fn seal(&mut self, index: u64, time_ms: u64, operations: usize) {
        if let Some(entry) = self.entries.get_mut(&index) {
            entry.sealed = true;
            if entry.live > 0 {
                self.entries_due.insert((entry.review_ms, index));
            } else {
                self.drop_entry(index);
            }
        }
        self.review(time_ms, REVIEWED_PER_APPLY + REVIEWED_PER_OPERATION * operations);
    }

    fn review(&mut self, time_ms: u64, mut budget: usize) {
        while let Some(&(review_ms, index)) = self.entries_due.first() {
            if review_ms > time_ms {
                break;
            }
            if budget == 0 {
                return;
            }
            budget = budget.saturating_sub(self.remove_entry(index));
        }
        while let Some(&(review_ms, client)) = self.clients_due.first() {
            if review_ms > time_ms || budget == 0 {
                return;
            }
            budget = budget.saturating_sub(self.review_client(client, time_ms));
        }
    }

    fn remove_entry(&mut self, index: u64) -> usize {
        let Some(entry) = self.entries.get(&index) else { panic!("entry {index} is due but has no results") };
        // Live results are what is counted: a restart closes the gaps between them, and must not change the
        // budget.
        let count = entry.live;
        for place in 0..entry.slots.len() {
            let slot = self.entries.get(&index).and_then(|entry| entry.slots.get(place)?.as_ref());
            let Some((client, sequence)) = slot.map(|slot| (slot.client, slot.sequence)) else { continue };
            if let Some(client) = self.clients.get_mut(&client) {
                client.results.remove(&sequence);
            }
            self.forget(index, place);
        }
        count
    }

    fn review_client(&mut self, id: u128, time_ms: u64) -> usize {
        let Some(client) = self.clients.get_mut(&id) else { panic!("client {id:032x} is due but unknown") };
        self.clients_due.remove(&(client.review_ms, id));
        self.digest.remove(client.digest(id));
        if client.latest_ms > time_ms {
            client.review_ms = client.latest_ms;
            self.digest.add(client.digest(id));
            self.clients_due.insert((client.review_ms, id));
            mark(&mut client.dirty, &mut self.dirty_clients, id);
            return 1;
        }
        // All its deadlines have passed; its results may wait for the latest deadline of an entry that they
        // share.
        let results = std::mem::take(&mut client.results);
        if client.stored {
            mark(&mut client.dirty, &mut self.dirty_clients, id);
        }
        self.clients.remove(&id);
        for &(entry, place) in results.values() {
            self.forget(entry, place);
        }
        1 + results.len()
    }

    /// When something can be removed next.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let entry = self.entries_due.first().map(|due| due.0);
        entry.into_iter().chain(self.clients_due.first().map(|due| due.0)).min()
    }

    /// How many results are there.
    pub(crate) const fn len(&self) -> usize {
        self.live
    }

    /// What they take in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        (self.live + self.clients.len()) * RESULT_BYTES + self.record_bytes
    }

    /// What the results of one client take in memory, in bytes.
    pub(crate) fn bytes_of(&self, client: u128) -> usize {
        let client = self.clients.get(&client);
        client.map_or(0, |client| client.results.len() * RESULT_BYTES + client.record_bytes)
    }

    /// What a request would do to the memory of results, were it executed now.
    pub(crate) fn burden(&self, request: &RequestId) -> Burden {
        let Some(client) = self.clients.get(&request.client) else { return Burden::Adds };
        let oldest = client.results.first_key_value();
        if oldest.is_some_and(|(sequence, _)| *sequence < request.acknowledged) {
            Burden::Frees
        } else if client.results.contains_key(&request.sequence) {
            Burden::Keeps
        } else {
            Burden::Adds
        }
    }

    pub(crate) const fn digest(&self) -> Digest {
        self.digest
    }

    /// What changed since the last call.
    pub(crate) fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for id in std::mem::take(&mut self.dirty_clients) {
            match self.clients.get_mut(&id) {
                Some(client) => {
                    // A client may stand here twice: removed, and come back since.
                    if std::mem::take(&mut client.dirty) {
                        client.stored = true;
                        changes.floors.push((id, Some(client.encode())));
                    }
                }
                None => changes.floors.push((id, None)),
            }
        }
        for index in std::mem::take(&mut self.dirty_entries) {
            let Some(entry) = self.entries.get_mut(&index) else { continue };
            entry.dirty = false;
            if entry.live > 0 {
                entry.stored = true;
                changes.results.push((index, Some(entry.encode())));
            } else {
                changes.results.push((index, None));
                self.entries.remove(&index);
            }
        }
        changes
    }

    /// Takes in a floor that was stored.
    pub(crate) fn load_floor(&mut self, id: u128, record: Bytes) -> Result<(), DecodeError> {
        let mut reader = Reader::new(record);
        let client = Client {
            floor: reader.varint("floor")?,
            latest_ms: reader.varint("latest deadline")?,
            review_ms: reader.varint("review time")?,
            results: BTreeMap::new(),
            record_bytes: 0,
            stored: true,
            dirty: false,
        };
        reader.end("floor")?;
        self.digest.add(client.digest(id));
        self.clients_due.insert((client.review_ms, id));
        self.clients.insert(id, client);
        Ok(())
    }

    /// Takes in the results of an entry that were stored. Floors first.
    pub(crate) fn load_results(&mut self, index: u64, record: Bytes) -> Result<(), DecodeError> {
        let mut reader = Reader::new(record);
        let review_ms = reader.varint("review time")?;
        let mut entry = EntryResults { review_ms, sealed: true, stored: true, ..EntryResults::default() };
        while reader.remaining() > 0 {
            let slot = Slot::decode(&mut reader)?;
            let Some(client) = self.clients.get_mut(&slot.client) else {
                return Err(DecodeError::Range { what: "result of a client without a floor" });
            };
            client.results.insert(slot.sequence, (index, entry.slots.len()));
            client.record_bytes += slot.answer.bytes();
            self.digest.add(slot.digest(index));
            self.record_bytes += slot.answer.bytes();
            entry.slots.push(Some(slot));
        }
        if entry.slots.is_empty() {
            return Err(DecodeError::Short { what: "results of an entry" });
        }
        entry.live = entry.slots.len();
        self.live += entry.live;
        self.entries_due.insert((review_ms, index));
        self.entries.insert(index, entry);
        Ok(())
    }
}

/// Puts an id on the list of what the next flush writes, once.
fn mark<T>(dirty: &mut bool, list: &mut Vec<T>, id: T) {
    if !std::mem::replace(dirty, true) {
        list.push(id);
    }
}

impl Client {
    /// The floor while it counts: until the latest deadline has passed. It may lie here for longer, until it
    /// is reviewed.
    const fn floor_at(&self, time_ms: u64) -> u64 {
        if self.latest_ms > time_ms { self.floor } else { 0 }
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(30);
        for number in [self.floor, self.latest_ms, self.review_ms] {
            put_varint(&mut out, number);
        }
        out.freeze()
    }

    fn digest(&self, id: u128) -> Digest {
        let mut record = [0; 24];
        for (place, number) in [self.floor, self.latest_ms, self.review_ms].into_iter().enumerate() {
            record[8 * place..8 * (place + 1)].copy_from_slice(&number.to_be_bytes());
        }
        Digest::of(&id.to_be_bytes(), &record)
    }
}

impl EntryResults {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_varint(&mut out, self.review_ms);
        for slot in self.slots.iter().flatten() {
            slot.encode(&mut out);
        }
        out.freeze()
    }
}

impl Slot {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u128(self.client);
        put_varint(out, self.sequence);
        put_varint(out, self.deadline_ms);
        self.answer.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            client: reader.u128("client")?,
            sequence: reader.varint("sequence")?,
            deadline_ms: reader.varint("deadline")?,
            answer: Answer::decode(reader)?,
        })
    }

    fn digest(&self, index: u64) -> Digest {
        let mut out = BytesMut::with_capacity(64);
        self.encode(&mut out);
        Digest::of(&index.to_be_bytes(), &out)
    }
}
