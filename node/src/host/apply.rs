//! Applying: committed entries go into the state machine in order, each once.
//!
//! An entry may need the present value of keys that only the base holds (a comparison, a delete). The worker does not
//! wait for the disk: the replica parks, the reader pool loads the keys, and apply goes on when they are there. Nothing
//! else can change those keys in between, because apply is what changes them.

use bytes::Bytes;
use flotilla_raft::{Entry, Payload};
use flotilla_store::{Base, Command, Record};

use super::boundary::ReadJob;
use super::replica::{Replica, Turn};

impl Replica {
    /// Applies what can be applied now.
    pub(super) fn apply<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        let before = self.machine.applied().index;
        while !self.parked && !self.install.under_way() {
            let Some(entry) = self.backlog.pop_front() else { break };
            if let Some(entry) = self.apply_entry(turn, entry) {
                self.backlog.push_front(entry);
                break;
            }
        }
        let applied = self.machine.applied().index;
        if applied > before {
            self.raft.applied(turn.now.time, applied);
            self.flushing.applied(turn.now.time);
        }
    }

    /// Applies one entry, or gives it back because keys must be loaded first.
    fn apply_entry<B: Base>(&mut self, turn: &mut Turn<'_, B>, entry: Entry) -> Option<Entry> {
        let (id, bytes) = (entry.id, entry.bytes());
        match &entry.payload {
            Payload::Noop => self.machine.apply_noop(id),
            Payload::Configuration(configuration) => self.machine.apply_configuration(id, configuration),
            Payload::Data(data) => {
                let command = match Command::decode(data.clone()) {
                    Ok(command) => command,
                    // Committed bytes that this version cannot read: going on would let replicas differ.
                    Err(error) => panic!("{} cannot apply {id}: {error}", self.shard),
                };
                let missing = self.machine.missing(&command);
                if !missing.is_empty() {
                    self.park(turn, missing);
                    return Some(entry);
                }
                let outcomes = self.machine.apply(id, &command);
                self.answer(turn, id, outcomes);
            }
        }
        self.backlog_bytes -= bytes;
        self.tail.push(id.index, bytes);
        None
    }

    fn park<B: Base>(&mut self, turn: &mut Turn<'_, B>, missing: Vec<Bytes>) {
        self.parked = true;
        turn.out.reads.push(ReadJob::Load {
            shard: self.shard,
            generation: self.machine.generation(),
            reads: missing.into_iter().map(|key| (key.clone(), self.machine.base_read(&key))).collect(),
            view: turn.base.view(),
        });
    }

    /// The keys for which apply waited are here.
    pub(super) fn loaded(&mut self, generation: u64, records: Vec<(Bytes, Option<Record>)>) {
        // A snapshot became current meanwhile: what was read is not of this state.
        if generation != self.machine.generation() {
            return;
        }
        self.parked = false;
        for (key, record) in records {
            self.machine.load(key, record);
        }
    }
}
