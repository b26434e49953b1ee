//! From what the log and the base hold to replicas that can go on.
//!
//! The base is written after the log, so it is never ahead of it, with one exception: a snapshot install that was cut
//! short after the base switched and before the log was reset. Its intent, which went to the log first, proves it; then
//! the log is reset to the snapshot. A base ahead of its log without an intent is damage, and the node refuses to
//! start: the log lost entries that this replica may have acknowledged.

use std::collections::{BTreeMap, VecDeque};

use flotilla_raft::{Entry, LogId, Raft, Recovered};
use flotilla_store::{Base, Error, Machine, snapshot};
use flotilla_topology::ShardId;
use flotilla_wal::ShardState;

use super::birth::{Birth, BirthError};
use super::boundary::Now;
use super::flushing::Flushing;
use super::install::Install;
use super::reads::Reads;
use super::replica::Replica;
use super::tail::Tail;
use super::writes::Writes;

/// A replica that was found at start, ready to be adopted by the worker of its shard.
#[derive(Debug)]
pub struct RecoveredReplica {
    /// Its shard.
    pub shard: ShardId,
    /// How it came into the world.
    pub birth: Birth,
    /// Its state machine, as far as the base holds it; the log brings the rest.
    pub machine: Machine,
    /// What its core starts from.
    pub recovered: Recovered,
    /// The greatest generation of which the base holds anything.
    pub newest_generation: u64,
    /// The generations in the base that count no more.
    pub leftovers: Vec<u64>,
    /// The log must be reset to this entry: a snapshot install was cut short.
    pub reset: Option<LogId>,
}

impl RecoveredReplica {
    /// A replica that is born now: nothing of it is anywhere yet. Its state begins with this generation.
    #[must_use]
    pub fn newborn(shard: ShardId, birth: Birth, generation: u64) -> Self {
        let machine = Machine::create(shard, generation, &birth.genesis);
        let recovered = Recovered::fresh(machine.configuration().clone());
        let (newest_generation, leftovers) = (generation, Vec::new());
        Self { shard, birth, machine, recovered, newest_generation, leftovers, reset: None }
    }
}

/// The generation of the first replica of a shard on a node, as long as it took no snapshot.
pub(super) const FIRST_GENERATION: u64 = 1;

/// A replica that must not start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Its birth record cannot be read.
    #[error("{shard}: {error}")]
    Birth {
        /// The shard.
        shard: ShardId,
        /// What is wrong with it.
        #[source]
        error: BirthError,
    },
    /// Its part of the base cannot be read.
    #[error("{shard}: {error}")]
    Base {
        /// The shard.
        shard: ShardId,
        /// What is wrong with it.
        #[source]
        error: Error,
    },
    /// The log lost entries that the base has seen.
    #[error(
        "{shard}: the base holds {applied}, but the log ends at {last} and names no snapshot: the log is damaged"
    )]
    BaseAhead {
        /// The shard.
        shard: ShardId,
        /// The newest entry in the base.
        applied: LogId,
        /// The last entry of the log.
        last: LogId,
    },
    /// The base lost what the log was compacted for.
    #[error(
        "{shard}: the log begins after {compacted}, but the base holds only {applied}: the base is damaged"
    )]
    BaseBehind {
        /// The shard.
        shard: ShardId,
        /// The compaction point of the log.
        compacted: LogId,
        /// The newest entry in the base.
        applied: LogId,
    },
}

/// Brings the log's and the base's word on one shard together.
///
/// # Errors
/// One of the two is damaged: this replica must not start.
pub fn recover<B: Base>(
    base: &B,
    shard: ShardId,
    state: ShardState,
) -> Result<RecoveredReplica, RecoveryError> {
    let birth =
        Birth::decode(state.replica, state.genesis).map_err(|error| RecoveryError::Birth { shard, error })?;
    let view = base.view();
    let failed = |error| RecoveryError::Base { shard, error };
    let machine = Machine::open(shard, &view, &birth.genesis).map_err(failed)?;
    let leftovers = snapshot::leftovers(&view, shard).map_err(failed)?;
    let newest_generation = leftovers.iter().copied().fold(machine.generation(), u64::max);
    let (applied, compacted) = (machine.applied(), state.compacted);
    let last = state.entries.last().map_or(compacted, |entry| entry.id);
    let mut recovered = Recovered {
        hard_state: state.hard_state,
        compacted,
        entries: state.entries,
        applied,
        configuration: machine.configuration().clone(),
        configuration_index: machine.configuration_index(),
    };
    let mut reset = None;
    if !holds(&recovered, applied) {
        if state.intent == Some(applied) {
            recovered.compacted = applied;
            recovered.entries.clear();
            reset = Some(applied);
        } else if applied.index < compacted.index {
            return Err(RecoveryError::BaseBehind { shard, compacted, applied });
        } else {
            return Err(RecoveryError::BaseAhead { shard, applied, last });
        }
    }
    Ok(RecoveredReplica { shard, birth, machine, recovered, newest_generation, leftovers, reset })
}

/// The shards of which the base holds something although no replica lives here, each with a generation that is not below any
/// of it: [`super::Worker::bury`] them.
///
/// # Errors
/// The base cannot be read.
pub fn ended<B: Base>(base: &B, lives: impl Fn(ShardId) -> bool) -> Result<Vec<(ShardId, u64)>, Error> {
    let view = base.view();
    let held = snapshot::shards_in(&view)?.into_iter().filter(|shard| !lives(*shard));
    held.map(|shard| Ok((shard, snapshot::unused_generation(&view, shard)?))).collect()
}

/// Whether the log knows this very entry.
fn holds(recovered: &Recovered, id: LogId) -> bool {
    if id.index <= recovered.compacted.index {
        return id == recovered.compacted;
    }
    let place = id.index.0 - recovered.compacted.index.0 - 1;
    usize::try_from(place)
        .ok()
        .and_then(|place| recovered.entries.get(place))
        .is_some_and(|entry| entry.id == id)
}

impl Replica {
    /// A replica that goes on from what was found.
    pub(super) fn recovered(
        options: flotilla_raft::Options,
        seed: u64,
        now: Now,
        found: RecoveredReplica,
    ) -> Self {
        let RecoveredReplica { shard, birth, machine, recovered, newest_generation, leftovers, .. } = found;
        let mut tail = Tail::default();
        let applied = recovered.applied.index;
        recovered
            .entries
            .iter()
            .take_while(|entry| entry.id.index <= applied)
            .for_each(|entry| tail.push(entry.id.index, entry.bytes()));
        Self {
            shard,
            id: birth.replica,
            genesis: birth.genesis,
            placement: birth.placement.into_iter().collect::<BTreeMap<_, _>>(),
            raft: Raft::new(birth.replica, options, seed, now.time, recovered),
            fell_in: None,
            woken_by: None,
            install: Install::new(newest_generation, leftovers),
            machine,
            writes: Writes::default(),
            reads: Reads::default(),
            backlog: VecDeque::<Entry>::new(),
            backlog_bytes: 0,
            parked: false,
            tail,
            flushing: Flushing::default(),
            streaming: BTreeMap::new(),
        }
    }
}
