//! The members of a shard, as far as a node has to do with them: it hands changes to the core, and ends a replica that
//! was removed.
//!
//! What a change is, and when it is refused, is the core's business (`flotilla_raft::Change`). A configuration takes
//! effect like any entry, by being applied (`apply.rs`).
//!
//! # The end of a replica
//!
//! ```text
//!   Retire       it is no member, and nobody needs it: it answers nothing any more, and whoever waits is told
//!   tombstone    goes to the log: its id is spent for ever
//!   Forget       the tombstone is stable → the base drops everything of the shard
//!   Forgotten    the base is synced → another replica of the shard may be born here
//! ```
//!
//! The order matters. A base that is dropped before the tombstone is stable is, after a crash, behind its log: damage.
//! A replica that is born before the base is dropped and synced could find the state of its predecessor.

use std::collections::BTreeMap;

use flotilla_raft::{Change, Index, ReplicaId};
use flotilla_store::Base;
use flotilla_topology::ShardId;

use super::birth::Birth;
use super::boundary::{Answer, Refusal, Token};
use super::recovery::FIRST_GENERATION;
use super::replica::{Replica, Turn};
use super::sleep::Wakeup;

/// The shards whose replica here has ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    shards: BTreeMap<ShardId, Ended>,
    /// Found at start: the base still holds something of them.
    found: Vec<ShardId>,
}

/// What is known of a replica that has ended.
#[derive(Debug)]
struct Ended {
    /// The greatest generation that it ever named. The next replica has greater ones, as long as this process lives: what is
    /// still on its way, from the reader pool or from a peer's stream, is told apart by the generation.
    newest_generation: u64,
    /// The base holds nothing of it any more.
    is_forgotten: bool,
    /// It is out of service: what is left in the base stays until it is replaced or removed.
    is_kept: bool,
    /// The replica that shall be born then.
    next: Option<Birth>,
}

impl Ending {
    /// A replica has ended.
    pub(super) fn begin(&mut self, shard: ShardId, newest_generation: u64) {
        let ended = Ended { newest_generation, is_forgotten: false, is_kept: false, next: None };
        self.shards.insert(shard, ended);
    }

    /// A replica is out of service since before this start.
    pub(super) fn keep(&mut self, shard: ShardId, newest_generation: u64) {
        let ended = Ended { newest_generation, is_forgotten: false, is_kept: true, next: None };
        self.shards.insert(shard, ended);
    }

    /// One that was out of service has been removed, or is being replaced: whether its base was kept until now.
    pub(super) fn give_up(&mut self, shard: ShardId) -> bool {
        self.shards.get_mut(&shard).is_some_and(|ended| std::mem::take(&mut ended.is_kept))
    }

    /// Whoever waits to be born under this id, or an older one, is not born any more.
    pub(super) fn call_off(&mut self, shard: ShardId, replica: ReplicaId) {
        if let Some(ended) = self.shards.get_mut(&shard) {
            ended.next.take_if(|birth| birth.replica <= replica);
        }
    }

    /// A replica had ended in an earlier life of this process, which did not come to drop it from the base.
    pub(super) fn resume(&mut self, shard: ShardId, newest_generation: u64) {
        self.begin(shard, newest_generation);
        self.found.push(shard);
    }

    /// What was found at start, once: to be dropped from the base.
    pub(super) fn take_found(&mut self) -> Vec<ShardId> {
        std::mem::take(&mut self.found)
    }

    /// The generation with which a replica is born now. Nothing: the birth is kept until the base is empty.
    pub(super) fn make_room(&mut self, shard: ShardId, birth: Birth) -> Option<(Birth, u64)> {
        match self.shards.get_mut(&shard) {
            None => Some((birth, FIRST_GENERATION)),
            Some(ended) if ended.is_forgotten => Some((birth, ended.newest_generation + 1)),
            Some(ended) => {
                ended.next = Some(birth);
                None
            }
        }
    }

    /// The base is empty. Who was to be born, and the generation with which it begins.
    pub(super) fn finish(&mut self, shard: ShardId) -> Option<(Birth, u64)> {
        let ended = self.shards.get_mut(&shard)?;
        ended.is_forgotten = true;
        ended.next.take().map(|birth| (birth, ended.newest_generation + 1))
    }
}

impl Replica {
    /// Proposes a change of the members.
    pub(super) fn change<B: Base>(
        &mut self,
        turn: &mut Turn<'_, B>,
        token: Token,
        change: &Change,
        derived_from: Index,
    ) {
        let shard = self.shard;
        if self.raft.is_leader() {
            self.rouse(turn, Wakeup::Asked);
        }
        match self.raft.propose_configuration(turn.now.time, change, derived_from) {
            Ok(entry) => turn.out.reply(token, Answer::Changing(entry)),
            Err(_) if !self.raft.is_leader() => turn.out.refuse(token, self.not_leader()),
            Err(error) => turn.out.refuse(token, Refusal::Members { shard, error }),
        }
    }

    /// This replica is about to be dropped: nobody shall wait for it.
    pub(super) fn end<B: Base>(&mut self, turn: &mut Turn<'_, B>) {
        self.fall_for_ever(turn);
        self.abandon_writes(turn);
        self.abandon_reads(turn);
        self.abandon_flushes(turn);
    }

    /// Whether this is the replica that is meant.
    pub(super) fn is(&self, replica: ReplicaId) -> bool {
        self.id == replica
    }
}
