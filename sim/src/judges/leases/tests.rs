//! Stories of shard 1: replicas 1, 2, 3 on nodes 1, 2, 3; replica 1 leads in term 4.

use std::time::Duration;

use flotilla_raft::{Index, LogId, RoleKind, Time};

use super::*;
use crate::judges::statuses::status;
use crate::judges::violation::broken;

const SHARD: ShardId = crate::judges::statuses::SHARD;
const TERM: Term = Term(4);

/// A node whose clock runs by so many millionths too fast, and began at zero.
fn seat(node: u64, drift_ppm: i64) -> Seat {
    Seat { node: NodeId(node), boot: 1, clock: Clock { offset_us: 0, drift_ppm, wall_ahead_ms: 0 } }
}

/// Node `by` promises node 1 support for 100 ms, at this moment.
fn promise(judge: &mut Leases, by: Seat, number: u64, now_us: u64) {
    let beat = Beat { boot: 1, sent: Time(0), fallen: Vec::new() };
    let (number, support) = (SupportNumber(number), Duration::from_millis(100));
    judge.promised(by, NodeId(1), &beat, BeatAnswer { boot: 1, sent: Time(0), number, support }, now_us);
}

fn say(judge: &mut Leases, from: u64, to: u64, term: Term, rpc: Rpc, now_us: u64) {
    let message = Message { from: ReplicaId(from), to: ReplicaId(to), term, rpc };
    judge.said(NodeId(from), SHARD, &message, &Replicas::default(), now_us);
}

fn acknowledge(judge: &mut Leases, from: u64, number: u64) {
    let support = Some(SupportNumber(number));
    let (sent, accepted, matched) = (Index(1), Index(1), Index(1));
    let rpc = Rpc::HeartbeatReply {
        round: flotilla_raft::Round(1),
        sent,
        accepted,
        matched,
        support,
        asleep: false,
    };
    say(judge, from, 1, TERM, rpc, 0);
}

fn campaign() -> Rpc {
    Rpc::PreVote { campaign: TERM.next(), last: LogId::default() }
}

/// The leader claims a lease until then, on its clock.
fn claims(until: u64) -> ReplicaStatus {
    ReplicaStatus { lease: Some(Time(until)), role: RoleKind::Leader, ..status(1, TERM, &[1, 2, 3], &[]) }
}

#[test]
fn who_is_bound_asks_for_no_vote_until_its_own_clock_says_that_the_promise_is_over() {
    let mut judge = Leases::default();
    // A clock that is a quarter too fast: 100 ms of it are 80.
    promise(&mut judge, seat(2, 250_000), 7, 0);
    acknowledge(&mut judge, 2, 7);
    assert_eq!(broken(|| say(&mut judge, 2, 3, TERM, campaign(), 79_999)), Some("promises kept"));
    assert_eq!(broken(|| say(&mut judge, 2, 3, TERM, campaign(), 80_000)), None);
    assert_eq!(broken(|| say(&mut judge, 3, 2, TERM, campaign(), 0)), None, "r3 acknowledged nobody");
}

#[test]
fn who_is_bound_gives_no_vote_but_to_whom_its_leader_summoned() {
    let vote = |whom| {
        let mut judge = Leases::default();
        promise(&mut judge, seat(2, 0), 7, 0);
        acknowledge(&mut judge, 2, 7);
        say(&mut judge, 1, 3, TERM, Rpc::TimeoutNow, 0);
        let voted = ReplicaStatus { vote: Some(ReplicaId(whom)), ..status(2, TERM.next(), &[1, 2, 3], &[]) };
        broken(|| judge.check_vote(NodeId(2), &voted, &Replicas::default(), 1_000))
    };
    assert_eq!(vote(2), Some("promises kept"));
    assert_eq!(vote(3), None);
}

#[test]
fn a_release_and_a_later_life_of_the_leader_free_who_was_bound() {
    let bound = || {
        let mut judge = Leases::default();
        promise(&mut judge, seat(2, 0), 7, 0);
        acknowledge(&mut judge, 2, 7);
        judge
    };
    let mut judge = bound();
    judge.released(NodeId(2), FallenLeader { shard: SHARD, leader: ReplicaId(1), term: Term(3) });
    assert!(broken(|| say(&mut judge, 2, 3, TERM, campaign(), 1)).is_some(), "of an earlier term");
    judge.released(NodeId(2), FallenLeader { shard: SHARD, leader: ReplicaId(1), term: TERM });
    assert_eq!(broken(|| say(&mut judge, 2, 3, TERM, campaign(), 1)), None);
    acknowledge(&mut judge, 2, 7);
    let late = broken(|| say(&mut judge, 2, 3, TERM, campaign(), 1));
    assert_eq!(late, None, "an acknowledgement that waited for the disk");
    let mut judge = bound();
    let beat = Beat { boot: 2, sent: Time(0), fallen: Vec::new() };
    let (number, support) = (SupportNumber(8), Duration::from_millis(100));
    let answer = BeatAnswer { boot: 2, sent: Time(0), number, support };
    judge.promised(seat(2, 0), NodeId(1), &beat, answer, 1);
    assert_eq!(broken(|| say(&mut judge, 2, 3, TERM, campaign(), 2)), None);
}

#[test]
fn a_promise_is_withdrawn_only_when_it_ran_out_but_a_restart_of_who_gave_it_begins_anew() {
    let mut judge = Leases::default();
    promise(&mut judge, seat(2, 0), 7, 0);
    assert_eq!(broken(|| promise(&mut judge, seat(2, 0), 8, 99_999)), Some("promises kept"));
    let mut judge = Leases::default();
    promise(&mut judge, seat(2, 0), 7, 0);
    assert_eq!(broken(|| promise(&mut judge, Seat { boot: 2, ..seat(2, 0) }, 99, 10)), None);
    acknowledge(&mut judge, 2, 7);
    let asks = broken(|| say(&mut judge, 2, 3, TERM, campaign(), 99_999));
    assert_eq!(asks, Some("promises kept"), "what the former life promised still stands");
}

#[test]
fn a_lease_is_covered_by_a_quorum_and_ends_no_later_in_true_time() {
    let mut judge = Leases::default();
    promise(&mut judge, seat(2, 250_000), 7, 0);
    let slow = seat(1, -250_000);
    assert!(judge.uncovered(slow, &claims(60_000), 1).is_some(), "r2 has not acknowledged");
    acknowledge(&mut judge, 2, 7);
    assert_eq!(judge.uncovered(slow, &claims(60_000), 1), None, "80 ms of true time, exactly");
    assert!(judge.uncovered(slow, &claims(60_001), 1).is_some());
    assert_eq!(judge.uncovered(slow, &claims(60_001), 90_000), None, "it is over");
    assert_eq!(judge.read_alone(slow, &claims(0), 79_999), None);
    assert!(judge.read_alone(slow, &claims(0), 80_000).is_some());
    // Another life of the leader's node holds nothing of it.
    assert!(judge.uncovered(Seat { boot: 2, ..slow }, &claims(10_000), 1).is_some());
}

#[test]
fn a_lease_is_covered_in_each_half_and_by_no_learner() {
    let mut judge = Leases::default();
    promise(&mut judge, seat(2, 0), 7, 0);
    acknowledge(&mut judge, 2, 7);
    let lease = |voters: &[u64], outgoing: &[u64]| {
        let status = ReplicaStatus { lease: Some(Time(50_000)), ..status(1, TERM, voters, outgoing) };
        judge.uncovered(seat(1, 0), &status, 1).is_none()
    };
    assert!(lease(&[1, 2, 3], &[]));
    assert!(lease(&[1, 2, 4], &[1, 2, 3]));
    assert!(!lease(&[1, 3, 4], &[1, 2, 3]), "of the incoming half only r1 is bound");
    assert!(!lease(&[1, 3, 4], &[]), "r2 is no voter any more");
    assert!(!lease(&[2, 3, 4], &[1, 2, 3]), "r1 is no voter of the incoming half");
}

#[test]
fn who_has_voted_since_counts_no_more_although_its_node_promises_again() {
    let mut judge = Leases::default();
    promise(&mut judge, seat(2, 0), 7, 0);
    acknowledge(&mut judge, 2, 7);
    let voted = ReplicaStatus { vote: Some(ReplicaId(3)), ..status(2, TERM.next(), &[1, 2, 3], &[]) };
    assert_eq!(broken(|| judge.check_vote(NodeId(2), &voted, &Replicas::default(), 100_000)), None);
    promise(&mut judge, seat(2, 0), 7, 110_000);
    assert!(judge.uncovered(seat(1, 0), &claims(150_000), 120_000).is_some());
}

#[test]
fn a_leader_that_has_summoned_another_has_no_lease() {
    let mut judge = Leases::default();
    promise(&mut judge, seat(2, 0), 7, 0);
    acknowledge(&mut judge, 2, 7);
    assert_eq!(judge.uncovered(seat(1, 0), &claims(50_000), 1), None);
    say(&mut judge, 1, 3, TERM, Rpc::TimeoutNow, 2);
    assert!(judge.uncovered(seat(1, 0), &claims(50_000), 3).is_some());
}

#[test]
fn a_vote_that_was_not_durable_when_the_node_ended_was_none() {
    let mut judge = Leases::default();
    promise(&mut judge, seat(2, 0), 7, 0);
    acknowledge(&mut judge, 2, 7);
    let voted = ReplicaStatus { vote: Some(ReplicaId(2)), ..status(2, TERM.next(), &[1, 2, 3], &[]) };
    assert_eq!(broken(|| judge.check_vote(NodeId(2), &voted, &Replicas::default(), 100_000)), None);
    judge.recovered(SHARD, ReplicaId(2), TERM.next());
    promise(&mut judge, seat(2, 0), 7, 110_000);
    assert!(judge.uncovered(seat(1, 0), &claims(150_000), 120_000).is_some(), "its log remembers the vote");
    judge.recovered(SHARD, ReplicaId(2), TERM);
    assert_eq!(judge.uncovered(seat(1, 0), &claims(150_000), 120_000), None);
}
