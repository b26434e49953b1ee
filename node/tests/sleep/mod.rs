//! Stories of groups in which nothing happens: they sleep, cost nothing, and wake when they must.

use std::time::Duration;

use bytes::Bytes;
use flotilla_node::host::{Consistency, Input, Options, Wakeup};
use flotilla_raft::Sign;
use flotilla_store::Action;
use flotilla_topology::{NodeId, ShardId};

use crate::fleet::{Fleet, SHARD, Weather};

const MANY: u64 = 50;

fn shards(count: u64) -> Vec<ShardId> {
    (1..=count).map(ShardId).collect()
}

/// Three nodes that beat, and whose shards all sleep.
fn asleep(seed: u64, count: u64) -> Fleet {
    let mut fleet = Fleet::new(seed, 3, count, Options::default());
    fleet.start_beats();
    for shard in shards(count) {
        fleet.elect(shard);
    }
    fleet.until_all_sleep(&shards(count));
    fleet.wakeups.clear();
    fleet
}

fn others(fleet: &Fleet, node: NodeId) -> Vec<NodeId> {
    fleet.nodes().into_iter().filter(|other| *other != node).collect()
}

#[test]
fn who_sleeps_sends_nothing_and_owns_no_timer() {
    let mut fleet = asleep(51, MANY);
    // Until the bases hold what the elections wrote.
    fleet.run(Duration::from_secs(10));
    let (messages, turns) = (fleet.messages_sent, fleet.turns);
    let terms = |fleet: &mut Fleet| -> Vec<_> {
        shards(MANY).iter().map(|shard| fleet.status(*shard)[&NodeId(1)].term).collect()
    };
    let before = terms(&mut fleet);
    fleet.run(Duration::from_secs(60));
    assert_eq!(fleet.messages_sent, messages, "not one message in a minute");
    // Each node looks after its pairs with others at most once per election timeout (150 ms, less the time between two beats and
    // a round trip).
    let looks = fleet.turns - turns;
    assert!(looks <= 3 * 60_000 / 120, "{looks} turns of three workers in a minute");
    assert_eq!(terms(&mut fleet), before, "nobody was deposed");
    assert_eq!(fleet.wakeups, []);
}

#[test]
fn a_write_wakes_its_group_alone_and_takes_no_longer_than_awake() {
    let mut fleet = asleep(52, 2);
    fleet.run(Duration::from_secs(10));
    let leader = fleet.leader(SHARD).unwrap();
    let operation = fleet.operation("k", "v");
    let (began_us, messages) = (fleet.now_us, fleet.messages_sent);
    let token = fleet.ask(leader, |token| Input::Write { shard: SHARD, token, operation });
    fleet.until("it is answered", Duration::from_millis(5), |fleet| fleet.answer(token).is_some());
    // One round trip between nodes, of at most 300 us each way, and a sync of at most 400 us on each side.
    assert!(fleet.now_us - began_us <= 1_500, "{} us", fleet.now_us - began_us);
    assert!(fleet.messages_sent > messages);
    assert!(!fleet.status(SHARD).values().any(|status| status.sleeps()));
    assert!(fleet.status(ShardId(2)).values().all(|status| status.sleeps()), "the other group slept on");
    assert_eq!(fleet.wakeups, [Wakeup::Asked, Wakeup::Told, Wakeup::Told]);
    fleet.until_all_sleep(&shards(2));
    assert_eq!(fleet.get("k").as_deref(), Some("v"));
}

#[test]
fn a_read_wakes_a_group_without_a_lease() {
    let mut fleet = asleep(53, 1);
    let leader = fleet.leader(SHARD).unwrap();
    let began_us = fleet.now_us;
    let (key, consistency) = (Bytes::from_static(b"k"), Consistency::Linearizable);
    let token = fleet.ask(leader, |token| Input::Get { shard: SHARD, token, key, consistency });
    fleet.until("it is answered", Duration::from_millis(5), |fleet| fleet.answer(token).is_some());
    assert!(fleet.now_us - began_us <= 1_000, "one round trip: {} us", fleet.now_us - began_us);
    assert_eq!(fleet.wakeups.first(), Some(&Wakeup::Asked));
}

/// The node of the leader dies and nobody is told: its beats end, and after an election timeout all its groups wake. Some lead
/// elsewhere; all have a leader again.
#[test]
fn a_silent_node_wakes_the_followers_of_its_leaders() {
    let mut fleet = asleep(54, MANY);
    let dead = fleet.leader(SHARD).unwrap();
    fleet.crash(dead);
    fleet.run(Duration::from_millis(600));
    for shard in shards(MANY) {
        assert!(fleet.leader(shard).is_some_and(|leader| leader != dead), "{shard}: {}", fleet.portrait());
    }
    assert!(fleet.wakeups.contains(&Wakeup::Silent), "{:?}", fleet.wakeups);
}

/// The node of the leader restarts faster than anybody could miss it, and no connection breaks visibly. Its groups are led by
/// nobody, and all that tells is the life in which it beats.
#[test]
fn a_restart_faster_than_the_timeout_wakes_the_followers() {
    for seed in 60..70 {
        let mut fleet = asleep(seed, 3);
        let node = fleet.leader(SHARD).unwrap();
        fleet.crash(node);
        fleet.start(node);
        let began_us = fleet.now_us;
        // Its own replica waits an election timeout of at least 150 ms: so somebody else was woken, at its first beat.
        fleet.until("another leads", Duration::from_millis(100), |fleet| {
            fleet.leader(SHARD).is_some_and(|leader| leader != node)
        });
        assert!(fleet.now_us > began_us);
        fleet.until_all_sleep(&shards(3));
    }
}

/// The same on the other side: a follower's node restarts, and its replica must not wait until it asks for votes.
#[test]
fn a_restarted_follower_is_told_who_leads() {
    for seed in 70..80 {
        let mut fleet = asleep(seed, 3);
        let leader = fleet.leader(SHARD).unwrap();
        let term = fleet.status(SHARD)[&leader].term;
        let node = others(&fleet, leader)[0];
        fleet.crash(node);
        fleet.start(node);
        fleet.until("it follows", Duration::from_millis(60), |fleet| {
            fleet.status(SHARD).get(&node).is_some_and(|status| status.leader_node == Some(leader))
        });
        fleet.until_all_sleep(&shards(3));
        assert_eq!(fleet.status(SHARD)[&leader].term, term, "it deposed nobody");
    }
}

/// The node of a sleeping leader is cut off. It must not believe for ever that it leads: the pairs measure the election timeout.
#[test]
fn a_leader_that_is_cut_off_in_its_sleep_steps_down_in_time() {
    for seed in 80..90 {
        let mut fleet = asleep(seed, 3);
        let old = fleet.leader(SHARD).unwrap();
        fleet.isolate(old);
        // The election timeout is at most 300 ms; the last beat that was answered left at most 25 ms and a round trip before.
        fleet.run(Duration::from_millis(301));
        assert!(!fleet.status(SHARD)[&old].leads(), "{}", fleet.portrait());
        fleet.until("another leads", Duration::from_millis(700), |fleet| fleet.leader(SHARD).is_some());
        fleet.heal();
        fleet.until_all_sleep(&shards(3));
    }
}

/// One way only: the leader's beats arrive, the answers do not. It hears nobody, steps down, and its node goes on beating: only the
/// word of the fall wakes its followers.
#[test]
fn the_word_that_a_leader_fell_wakes_its_followers() {
    let mut fleet = asleep(91, 1);
    let old = fleet.leader(SHARD).unwrap();
    let followers = others(&fleet, old);
    for follower in &followers {
        fleet.cut(*follower, old);
    }
    fleet.until("it steps down", Duration::from_millis(330), |fleet| !fleet.status(SHARD)[&old].leads());
    fleet.until("another leads", Duration::from_millis(200), |fleet| fleet.leader(SHARD).is_some());
    fleet.heal();
    fleet.put("k", "after");
    fleet.until_all_sleep(&shards(1));
}

/// A broken connection wakes both sides at once.
#[test]
fn a_broken_connection_wakes() {
    let mut fleet = asleep(92, 1);
    let leader = fleet.leader(SHARD).unwrap();
    let term = fleet.status(SHARD)[&leader].term;
    let follower = others(&fleet, leader)[0];
    fleet.tell(follower, Input::PeerSilent { node: leader });
    fleet.tell(leader, Input::PeerLost { node: follower });
    fleet.run(Duration::from_millis(1));
    assert_eq!(fleet.wakeups, [Wakeup::Broken, Wakeup::Broken]);
    fleet.until_all_sleep(&shards(1));
    assert_eq!(fleet.status(SHARD)[&leader].term, term, "nobody was deposed");
}

/// A group one of whose replicas is away does not sleep; it does when the replica is back and has everything.
#[test]
fn nobody_sleeps_while_one_is_behind() {
    let mut fleet = asleep(93, 1);
    let leader = fleet.leader(SHARD).unwrap();
    let away = others(&fleet, leader)[0];
    fleet.crash(away);
    fleet.run(Duration::from_secs(20));
    assert!(!fleet.status(SHARD)[&leader].sleeps());
    fleet.put("k", "while it was away");
    fleet.start(away);
    fleet.until_all_sleep(&shards(1));
    let status = fleet.status(SHARD);
    assert_eq!(status[&away].applied, status[&leader].applied);
}

/// What a stale read says of the silence of its leader is what the nodes heard, and not how long the group has slept.
#[test]
fn a_stale_read_of_a_sleeper_knows_how_fresh_it_is() {
    let mut fleet = asleep(94, 1);
    let leader = fleet.leader(SHARD).unwrap();
    let follower = others(&fleet, leader)[0];
    fleet.run(Duration::from_secs(60));
    let (key, consistency) = (Bytes::from_static(b"k"), Consistency::Stale);
    let token = fleet.ask(follower, |token| Input::Get { shard: SHARD, token, key, consistency });
    fleet.run(Duration::from_millis(5));
    let Some(flotilla_node::host::Answer::Got(served, None)) = fleet.answer(token) else {
        panic!("an answer")
    };
    assert!(served.silence_ms <= 30, "{served:?}");
    assert!(fleet.status(SHARD)[&follower].sleeps(), "and it sleeps on");
}

/// Whose signs are watched: followers those of the leader's node, the leader those of all.
#[test]
fn sleepers_watch_the_nodes_on_which_they_depend() {
    let mut fleet = asleep(95, 1);
    let leader = fleet.leader(SHARD).unwrap();
    for (node, status) in fleet.status(SHARD) {
        let nodes: Vec<NodeId> = status.watched.iter().map(|(node, _)| *node).collect();
        let numbers = status.watched.iter().all(|(_, sign)| matches!(sign, Sign::Number(_)));
        if node == leader {
            assert_eq!((nodes, numbers), (others(&fleet, leader), true));
        } else {
            assert_eq!((nodes, numbers), (vec![leader], false));
        }
    }
}

/// In any weather, with nodes that come and go: whatever sleeps wakes, and in the end all sleep.
#[test]
fn storms_over_sleepers() {
    for seed in 100..120 {
        let mut fleet = Fleet::new(seed, 3, 2, Options::default());
        fleet.start_beats();
        for round in 0..6 {
            fleet.weather = if round % 2 == 0 { Weather::FOUL } else { Weather::FAIR };
            let pause = 500 + fleet.draw(3_000);
            fleet.run(Duration::from_millis(pause));
            let victim = NodeId(1 + fleet.draw(3));
            fleet.crash(victim);
            let down = fleet.draw(400);
            fleet.run(Duration::from_millis(down));
            fleet.start(victim);
            if fleet.draw(2) == 0 {
                fleet.put_to_owner(&format!("k{round}"), "v");
            }
        }
        fleet.weather = Weather::FAIR;
        fleet.until_all_sleep(&shards(2));
        for shard in shards(2) {
            let leader = fleet.leader(shard).expect("somebody leads");
            let term = fleet.status(shard)[&leader].term;
            assert!(
                fleet.status(shard).values().all(|it| it.leader_node == Some(leader) && it.term == term),
                "all sleep behind one leader: {}",
                fleet.portrait()
            );
        }
    }
}

/// A key with an hour to live, or a result that is remembered for a minute, is no reason to look at the clock every few milliseconds.
#[test]
fn what_is_due_later_wakes_nobody_before() {
    let mut fleet = asleep(96, 1);
    let leader = fleet.leader(SHARD).unwrap();
    let mut operation = fleet.operation("k", "v");
    operation.action =
        Action::Put { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"v"), ttl_ms: Some(30_000) };
    fleet.ask(leader, |token| Input::Write { shard: SHARD, token, operation });
    let written_us = fleet.now_us;
    fleet.run(Duration::from_millis(100));
    fleet.until_all_sleep(&shards(1));
    fleet.run(Duration::from_secs(10));
    let (turns, messages) = (fleet.turns, fleet.messages_sent);
    fleet.run(Duration::from_secs(15));
    assert_eq!(fleet.messages_sent, messages);
    let looks = fleet.turns - turns;
    assert!(looks <= 3 * 15_000 / 120 + 2, "{looks} turns in 15 seconds");
    // It expires in time all the same.
    fleet.run(Duration::from_millis(30_200 - (fleet.now_us - written_us) / 1000));
    assert_eq!(fleet.wakeups.iter().filter(|why| **why == Wakeup::Asked).count(), 2, "{:?}", fleet.wakeups);
    let (key, consistency) = (Bytes::from_static(b"k"), Consistency::Stale);
    let token = fleet.ask(leader, |token| Input::Get { shard: SHARD, token, key, consistency });
    fleet.run(Duration::from_millis(5));
    let answer = fleet.answer(token);
    assert!(matches!(answer, Some(flotilla_node::host::Answer::Got(_, None))), "{answer:?}");
}
