//! What rot excuses of a log, and what not.

use flotilla_raft::{HardState, LogId};
use flotilla_wal::{Quarantined, Record, RotAt, ShardState};

use super::super::statuses::SHARD;
use super::super::violation::broken;
use super::*;

const NODE: NodeId = NodeId(1);
const OTHER: ShardId = ShardId(2);
const STATE: HardState = HardState { term: Term(3), vote: Some(ReplicaId(2)), commit: Index(0) };

fn born(shard: ShardId, replica: u64) -> Batch {
    let mut batch = Batch::new();
    batch.push(shard, Record::Birth { replica: ReplicaId(replica), genesis: Vec::new().into() });
    batch.push(shard, Record::HardState(STATE));
    batch
}

/// r1 of two shards lives there, and has voted.
fn two() -> Logs {
    let mut logs = Logs::default();
    for shard in [SHARD, OTHER] {
        logs.accepted(NODE, &born(shard, 1));
        logs.durable(NODE, &born(shard, 1));
    }
    logs
}

/// What a start finds: who lives, and who is out of service.
fn found(alive: &[(ShardId, u64)], out: &[(ShardId, u64)]) -> Recovered {
    let state = |replica: u64| ShardState {
        replica: ReplicaId(replica),
        genesis: Vec::new().into(),
        hard_state: STATE,
        compacted: LogId::default(),
        entries: Vec::new(),
        intent: None,
    };
    let lost = |replica: u64| Quarantined { replica: ReplicaId(replica), at: RotAt::default() };
    Recovered {
        shards: alive.iter().map(|(shard, replica)| (*shard, state(*replica))).collect(),
        quarantined: out.iter().map(|(shard, replica)| (*shard, lost(*replica))).collect(),
        ..Recovered::default()
    }
}

/// Rot that hit records of the first shard.
fn rot() -> Rot {
    let mut rot = Rot::default();
    rot.rotted(NODE, Some(&[SHARD]));
    rot
}

#[test]
fn rot_takes_whom_it_hit_and_nobody_else() {
    let starts = |found: &Recovered, rot: &Rot| {
        let mut logs = two();
        broken(|| _ = logs.recovered(NODE, found, &[], rot))
    };
    let (both, nobody) = ([(SHARD, 1), (OTHER, 1)], Rot::default());
    assert_eq!(starts(&found(&both, &[]), &nobody), None);
    assert_eq!(starts(&found(&[(OTHER, 1)], &[(SHARD, 1)]), &rot()), None);
    assert_eq!(starts(&found(&[(OTHER, 1)], &[(SHARD, 1)]), &nobody), Some("log"), "nothing rotted");
    assert_eq!(starts(&found(&[(SHARD, 1)], &[(OTHER, 1)]), &rot()), Some("log"), "the other shard rotted");
    assert_eq!(starts(&found(&[], &[(SHARD, 1), (OTHER, 1)]), &rot()), Some("log"), "not both");
    assert_eq!(starts(&found(&[(OTHER, 1)], &[]), &rot()), Some("log"), "whom it hit is not just gone");
}

#[test]
fn who_is_out_of_service_stays_it_until_another_is_born_or_it_is_buried() {
    let out = || {
        let mut logs = two();
        logs.recovered(NODE, &found(&[(OTHER, 1)], &[(SHARD, 1)]), &[], &rot());
        logs
    };
    let again = |logs: &mut Logs, found: &Recovered, in_flight: &[Batch]| {
        broken(|| _ = logs.recovered(NODE, found, in_flight, &rot()))
    };
    let still = found(&[(OTHER, 1)], &[(SHARD, 1)]);
    assert_eq!(again(&mut out(), &still, &[]), None);
    assert_eq!(again(&mut out(), &found(&[(OTHER, 1)], &[]), &[]), Some("log"), "it was forgotten");
    assert_eq!(again(&mut out(), &found(&[(SHARD, 1), (OTHER, 1)], &[]), &[]), Some("log"), "it came back");
    // A birth above it was being written: it is there, or it is not.
    let replaced = found(&[(SHARD, 4), (OTHER, 1)], &[]);
    for (found, expected) in [(&still, None), (&replaced, None), (&found(&[(OTHER, 1)], &[]), Some("log"))] {
        assert_eq!(again(&mut out(), found, &[born(SHARD, 4)]), expected, "{found:?}");
    }
    let mut logs = out();
    logs.accepted(NODE, &born(SHARD, 4));
    logs.durable(NODE, &born(SHARD, 4));
    assert_eq!(again(&mut logs, &replaced, &[]), None);
    let mut logs = out();
    let mut tombstone = Batch::new();
    tombstone.push(SHARD, Record::Tombstone { replica: ReplicaId(1) });
    logs.durable(NODE, &tombstone);
    assert_eq!(again(&mut logs, &found(&[(OTHER, 1)], &[]), &[]), None);
}

#[test]
fn who_is_out_of_service_has_nothing_durable_to_speak_of() {
    let mut logs = two();
    let rpc = Rpc::VoteReply { granted: true };
    let voted = Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(3), rpc };
    assert_eq!(broken(|| logs.check_message(NODE, SHARD, &voted)), None);
    logs.recovered(NODE, &found(&[(OTHER, 1)], &[(SHARD, 1)]), &[], &rot());
    assert_eq!(broken(|| logs.check_message(NODE, SHARD, &voted)), Some("durable promises"));
}
