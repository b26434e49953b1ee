//! Stories of who leads when something is slow or gone: a disk, a connection.

use std::time::Duration;

use bytes::Bytes;
use flotilla_node::host::{Input, Options};
use flotilla_topology::NodeId;

use crate::fleet::{Fleet, SHARD};

/// A sync takes so long on a disk that hangs, in microseconds.
const HANGS_US: u64 = 2_000_000;

fn others(fleet: &Fleet, node: NodeId) -> Vec<NodeId> {
    fleet.nodes().into_iter().filter(|other| *other != node).collect()
}

#[test]
fn a_leader_whose_log_hangs_hands_over_and_nothing_is_lost() {
    let mut fleet = Fleet::new(31, 3, 1, Options::default());
    fleet.put("k", "before");
    let old = fleet.elect(SHARD);
    fleet.run(Duration::from_millis(100));
    fleet.slow_log_us.insert(old, HANGS_US);
    let operation = fleet.operation("k", "while it hangs");
    let began_us = fleet.now_us;
    let asked = fleet.ask(old, |token| Input::Write { shard: SHARD, token, operation });
    fleet.run(Duration::from_millis(1));
    let operation = fleet.operation("held", "but not for long");
    fleet.ask(old, |token| Input::Write { shard: SHARD, token, operation });
    fleet.until("another leads", Duration::from_millis(600), |fleet| {
        fleet.leader(SHARD).is_some_and(|leader| leader != old)
    });
    assert!(fleet.now_us - began_us >= 500_000, "it waits before it gives up");
    assert_eq!(fleet.get("k").as_deref(), Some("while it hangs"), "the followers had it, so it counts");
    assert_eq!(
        fleet.get("held").as_deref(),
        Some("but not for long"),
        "they had this one before the log moved"
    );
    let began_us = fleet.now_us;
    fleet.put("k", "after");
    assert!(fleet.now_us - began_us < 10_000, "the hanging disk is a follower's now, and delays nobody");
    fleet.slow_log_us.clear();
    fleet.converge(SHARD);
    assert!(fleet.answer(asked).is_some(), "whoever asked is told something");
}

#[test]
fn the_slow_disk_of_a_follower_delays_nobody_and_moves_nothing() {
    let mut fleet = Fleet::new(32, 3, 1, Options::default());
    fleet.put("k", "before");
    let leader = fleet.elect(SHARD);
    let follower = others(&fleet, leader)[0];
    let term = fleet.status(SHARD)[&leader].term;
    fleet.slow_log_us.insert(follower, HANGS_US);
    for number in 0..50 {
        let began_us = fleet.now_us;
        fleet.put("k", &number.to_string());
        assert!(fleet.now_us - began_us < 10_000, "write {number} took {} us", fleet.now_us - began_us);
        fleet.run(Duration::from_millis(100));
    }
    let status = fleet.status(SHARD)[&leader].clone();
    assert!(status.leads() && status.term == term, "{status:?}");
    fleet.slow_log_us.clear();
    fleet.converge(SHARD);
}

/// Three nodes whose disks are one, or hang for one reason: moving the leadership helps nobody, and would only refuse writes.
#[test]
fn where_all_logs_hang_nobody_hands_over() {
    let mut fleet = Fleet::new(33, 3, 1, Options::default());
    fleet.put("k", "before");
    let leader = fleet.elect(SHARD);
    let term = fleet.status(SHARD)[&leader].term;
    fleet.run(Duration::from_millis(100));
    fleet.slow_log_us = fleet.nodes().into_iter().map(|node| (node, HANGS_US)).collect();
    let operation = fleet.operation("k", "late");
    fleet.ask(leader, |token| Input::Write { shard: SHARD, token, operation });
    fleet.run(Duration::from_millis(1_900));
    let status = fleet.status(SHARD)[&leader].clone();
    assert!(status.leads() && status.term == term, "{status:?}");
    fleet.slow_log_us.clear();
    fleet.run(Duration::from_millis(200));
    assert_eq!(fleet.get("k").as_deref(), Some("late"));
    fleet.converge(SHARD);
}

#[test]
fn a_broken_connection_ends_the_wait_for_the_election_timeout() {
    for (told, within_ms) in [(true, 40), (false, 400)] {
        let mut fleet = Fleet::new(34, 3, 1, Options::default());
        fleet.put("k", "before");
        let old = fleet.elect(SHARD);
        fleet.run(Duration::from_millis(100));
        fleet.crash(old);
        if told {
            fleet.silence(old);
        }
        let began_us = fleet.now_us;
        fleet.until("another leads", Duration::from_millis(within_ms), |fleet| fleet.leader(SHARD).is_some());
        let took_us = fleet.now_us - began_us;
        assert!(told || took_us > 100_000, "who is not told waits for the timeout, and did for {took_us} us");
        fleet.put("k", "after");
    }
}

/// The connection from the leader to one follower breaks, and nothing else: nobody votes, the leader stays.
#[test]
fn a_broken_connection_of_one_follower_deposes_nobody() {
    let mut fleet = Fleet::new(35, 3, 1, Options::default());
    fleet.put("k", "before");
    let leader = fleet.elect(SHARD);
    let term = fleet.status(SHARD)[&leader].term;
    let follower = others(&fleet, leader)[0];
    for _ in 0..50 {
        fleet.tell(follower, Input::PeerSilent { node: leader });
        fleet.run(Duration::from_millis(70));
    }
    let status = fleet.status(SHARD);
    assert!(status.values().all(|status| status.term == term), "{status:?}");
    assert_eq!(status[&follower].leader_node, Some(leader), "it follows again with the next heartbeat");
    let (key, consistency) = (Bytes::from_static(b"k"), flotilla_node::host::Consistency::Linearizable);
    let asked = fleet.ask(leader, |token| Input::Get { shard: SHARD, token, key, consistency });
    fleet.run(Duration::from_millis(20));
    assert!(fleet.answer(asked).is_some());
}
