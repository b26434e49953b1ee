//! Who may count, be born, speak and end; and what rot excuses of it.

use super::super::statuses::{SHARD, first_map, set};
use super::super::violation::broken;
use super::*;

/// Where r1 lives.
const HOME: NodeId = NodeId(1);
const R1: ReplicaId = ReplicaId(1);

fn members(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Configuration {
    Configuration { voters: set(voters), outgoing: set(outgoing), learners: set(learners) }
}

#[test]
fn a_joint_configuration_needs_both_halves_and_no_learner() {
    let joint = members(&[2, 3, 4], &[1, 2, 3], &[5]);
    for (yes, decides) in
        [(&[2, 3][..], true), (&[3, 4], false), (&[1, 2], false), (&[1, 2, 4], true), (&[1, 4, 5], false)]
    {
        assert_eq!(has_quorums(&joint, &set(yes)), decides, "{yes:?}");
    }
    assert!(!has_quorums(&members(&[1, 2, 3], &[], &[4]), &set(&[1, 4])), "a learner does not count");
}

#[test]
fn voters_change_by_a_joint_configuration_only() {
    let (three, learning) = (members(&[1, 2, 3], &[], &[]), members(&[1, 2, 3], &[], &[4]));
    let (joint, left) = (members(&[2, 3, 4], &[1, 2, 3], &[]), members(&[2, 3, 4], &[], &[]));
    for (before, next) in [(&three, &learning), (&learning, &three), (&learning, &joint), (&joint, &left)] {
        assert!(follows(before, next), "{next} after {before}");
    }
    for (before, next) in [
        (&three, &left),
        (&learning, &left),
        (&three, &joint),
        (&joint, &three),
        (&joint, &joint),
        (&learning, &learning),
    ] {
        assert!(!follows(before, next), "{next} after {before}");
    }
}

/// The shard's replicas r1 to r3, each on the node of its number.
fn three() -> ClusterMap {
    let map = first_map(4, 1);
    assert_eq!(map.node_of(SHARD, R1), Some(HOME), "as the planner places them");
    map
}

/// The same, later: r4 is on node 4 in the place of r1.
fn moved() -> ClusterMap {
    let mut map = three();
    let info = map.shards.get_mut(&SHARD).expect("it is there");
    let placement = info.replicas.remove(&R1).expect("it is there");
    info.replicas.insert(ReplicaId(4), flotilla_topology::Placement { node: NodeId(4), ..placement });
    info.greatest_replica = ReplicaId(4);
    map
}

fn birth(replica: ReplicaId) -> Batch {
    let mut batch = Batch::new();
    batch.push(SHARD, Record::Birth { replica, genesis: Vec::new().into() });
    batch
}

/// r1 was born on its node.
fn with_r1() -> Members {
    let mut members = Members::new(&three());
    members.told(HOME, SHARD, R1);
    members.accepted(HOME, &birth(R1));
    members.durable(HOME, &birth(R1));
    members
}

/// What a start finds of whom ended: up to this id; nothing: nobody.
fn ended(replica: Option<u64>) -> Recovered {
    let tombstones = replica.map(|replica| (SHARD, ReplicaId(replica))).into_iter().collect();
    Recovered { tombstones, ..Recovered::default() }
}

fn vote(from: u64) -> Message {
    let rpc = flotilla_raft::Rpc::Vote { last: LogId::default(), transfer: false };
    Message { from: ReplicaId(from), to: ReplicaId(2), term: Term(1), rpc }
}

#[test]
fn a_log_forgets_who_has_ended_only_if_rot_left_no_name_and_the_map_knows_it() {
    let mut members = with_r1();
    members.placed(&moved());
    let looks = |found: Option<u64>, blind: Option<&ClusterMap>| {
        let mut by_map_alone = 0;
        broken(|| by_map_alone = members.recovered(HOME, &ended(found), blind)).map_or(Ok(by_map_alone), Err)
    };
    assert_eq!(looks(Some(1), None), Ok(0), "the log remembers");
    assert_eq!(looks(None, None), Err("replica ids"), "nothing rotted, or it is known whose it was");
    assert_eq!(looks(Some(0), None), Err("replica ids"), "r0 says nothing");
    assert_eq!(looks(None, Some(&three())), Err("replica ids"), "that map would have r1 born again");
    assert_eq!(looks(None, Some(&moved())), Ok(1));
}

#[test]
fn nobody_is_born_under_a_spent_id_whatever_the_log_forgot() {
    let mut members = with_r1();
    members.placed(&moved());
    members.recovered(HOME, &ended(None), Some(&moved()));
    // An older map came, and the node took it.
    members.told(HOME, SHARD, R1);
    assert_eq!(broken(|| members.accepted(HOME, &birth(R1))), Some("replica ids"));
}

#[test]
fn an_id_that_left_the_map_is_not_given_again_to_whoever_was_lost_either() {
    let mut members = with_r1();
    members.out_of_service(HOME, SHARD, R1);
    members.placed(&moved());
    assert_eq!(broken(|| members.placed(&three())), Some("replica ids"));
}

#[test]
fn who_is_out_of_service_says_nothing_and_is_not_born_and_whoever_comes_after_may() {
    let mut members = with_r1();
    assert_eq!(broken(|| members.check_speaker(HOME, SHARD, &vote(1))), None);
    members.out_of_service(HOME, SHARD, R1);
    assert_eq!(broken(|| members.check_speaker(HOME, SHARD, &vote(1))), Some("out of service"));
    assert_eq!(broken(|| members.check_speaker(HOME, SHARD, &vote(4))), None);
    members.told(HOME, SHARD, R1);
    assert_eq!(broken(|| members.accepted(HOME, &birth(R1))), Some("out of service"));
}

#[test]
fn a_tombstone_ends_somebody_and_judges_all_whom_rot_had_not_ended_before() {
    let bury = |members: &mut Members, at, replica| {
        broken(|| members.buried(at, SHARD, ReplicaId(replica), Index(1)))
    };
    // A world ends with a violation, so each has one of its own.
    assert_eq!(bury(&mut with_r1(), HOME, 0), Some("ends of replicas"), "r0 is nobody");
    assert_eq!(bury(&mut with_r1(), NodeId(4), 1), Some("ends of replicas"), "nobody lived there");
    assert_eq!(bury(&mut with_r1(), HOME, 1), Some("ends of replicas"), "r1 is a voter");
    let mut members = with_r1();
    members.out_of_service(HOME, SHARD, R1);
    assert_eq!(bury(&mut members, HOME, 1), None, "r1 was lost");
    // r4 is placed beside it, and nobody knows yet whether it becomes a member.
    let mut beside = three();
    let info = beside.shards.get_mut(&SHARD).expect("it is there");
    info.replicas.insert(ReplicaId(4), info.replicas[&R1]);
    info.greatest_replica = ReplicaId(4);
    members.placed(&beside);
    assert_eq!(bury(&mut members, HOME, 4), Some("ends of replicas"), "r4 was not");
}
