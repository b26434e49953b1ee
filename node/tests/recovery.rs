//! What the log and the base say of one shard after a crash, and what may be concluded from it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use flotilla_node::host::{Birth, RecoveryError, recover};
use flotilla_raft::{Configuration, Entry, HardState, Index, LogId, Payload, ReplicaId, Term};
use flotilla_store::memory::Memory;
use flotilla_store::{Action, Command, Genesis, Machine, Operation, Scope};
use flotilla_topology::{Epoch, NodeId, ShardId};
use flotilla_wal::ShardState;

const SHARD: ShardId = ShardId(1);

fn id(index: u64) -> LogId {
    LogId::new(Index(index), Term(1))
}

fn birth() -> Birth {
    let voters = [ReplicaId(1)].into();
    Birth {
        replica: ReplicaId(1),
        placement: vec![(ReplicaId(1), NodeId(1))],
        genesis: Genesis {
            scope: Scope::Meta,
            epoch: Epoch(1),
            configuration: Configuration { voters, ..Configuration::default() },
        },
    }
}

fn command(number: u64) -> Bytes {
    let key = Bytes::from(format!("\0flotilla/k{number}"));
    let action = Action::Put { key, value: Bytes::from_static(b"v"), ttl_ms: None };
    Command { stamp_ms: number, operations: vec![Operation { request: None, action }] }.encode()
}

/// A base that holds everything up to this entry.
fn base(applied: u64) -> Memory {
    let base = Memory::new();
    let mut machine = Machine::create(SHARD, 1, &birth().genesis);
    for index in 1..=applied {
        machine.apply(id(index), &Command::decode(command(index)).unwrap());
    }
    if let Some(flush) = machine.freeze() {
        machine.flushed(flush.run(&base).unwrap());
    }
    base
}

/// A log with the entries `compacted + 1 ..= last`.
fn log(compacted: u64, last: u64, intent: Option<LogId>) -> ShardState {
    let entry = |index| Entry { id: id(index), payload: Payload::Data(command(index)) };
    ShardState {
        replica: ReplicaId(1),
        genesis: birth().encode(),
        hard_state: HardState { term: Term(1), vote: Some(ReplicaId(1)), commit: Index(compacted) },
        compacted: if compacted == 0 { LogId::default() } else { id(compacted) },
        entries: (compacted + 1..=last).map(entry).collect(),
        intent,
    }
}

#[test]
fn a_base_behind_its_log_is_brought_up_to_date_from_there() {
    let found = recover(&base(4), SHARD, log(2, 9, None)).unwrap();
    assert_eq!((found.machine.applied(), found.recovered.applied), (id(4), id(4)));
    assert_eq!((found.recovered.entries.len(), found.reset), (7, None));
}

#[test]
fn a_replica_that_was_never_flushed_starts_from_its_birth() {
    let found = recover(&Memory::new(), SHARD, log(0, 3, None)).unwrap();
    assert_eq!(found.machine.applied(), LogId::default());
    assert_eq!(found.birth, birth());
}

#[test]
fn a_base_ahead_of_its_log_with_the_intent_is_an_install_cut_short() {
    let found = recover(&base(8), SHARD, log(0, 5, Some(id(8)))).unwrap();
    assert_eq!(found.reset, Some(id(8)), "the log restarts after the snapshot");
    assert_eq!((found.recovered.compacted, found.recovered.entries.len()), (id(8), 0));
}

#[test]
fn a_base_ahead_of_its_log_without_an_intent_is_damage() {
    for intent in [None, Some(id(7))] {
        match recover(&base(8), SHARD, log(0, 5, intent)) {
            Err(RecoveryError::BaseAhead { applied, last, .. }) => {
                assert_eq!((applied, last), (id(8), id(5)))
            }
            other => panic!("expected that the replica is refused, got {other:?}"),
        }
    }
}

#[test]
fn a_base_that_lost_what_the_log_was_compacted_for_is_damage() {
    match recover(&base(3), SHARD, log(6, 9, None)) {
        Err(RecoveryError::BaseBehind { applied, compacted, .. }) => {
            assert_eq!((applied, compacted), (id(3), id(6)));
        }
        other => panic!("expected that the replica is refused, got {other:?}"),
    }
}

#[test]
fn a_birth_cut_at_any_byte_is_refused_and_never_panics() {
    let whole = birth().encode();
    assert_eq!(Birth::decode(ReplicaId(1), whole.clone()).unwrap(), birth());
    for cut in 0..whole.len() {
        assert!(Birth::decode(ReplicaId(1), whole.slice(..cut)).is_err(), "cut at {cut}");
    }
}
