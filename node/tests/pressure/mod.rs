//! Stories of a base that cannot be written: its flusher hangs, or every write fails. The overlays fill up, and then new
//! writes are refused; nothing else may change, and when the base works again nobody has to help.

use std::collections::BTreeMap;
use std::time::Duration;

use flotilla_node::host::{Answer, Input, Options, Refusal};
use flotilla_raft::Term;
use flotilla_store::Outcome;
use flotilla_topology::NodeId;

use crate::fleet::{Fleet, SHARD};

/// The overlays of a node take so much, in bytes.
const OVERLAY_BYTES_MAX: usize = 64 << 10;
/// What may be on its way beyond the overlay when it becomes full, in bytes: proposals at a leader, a window of appends at a
/// follower, each with what the overlay adds per key.
const ON_THE_WAY_BYTES_MAX: usize = 48 << 10;

/// Bounds so small that a short test meets them.
fn tight() -> Options {
    let raft = flotilla_raft::Options {
        inflight_bytes_max: 16 << 10,
        append_bytes_max: 4 << 10,
        ..flotilla_raft::Options::default()
    };
    Options {
        raft,
        overlay_bytes_max: OVERLAY_BYTES_MAX,
        proposed_bytes_max: 32 << 10,
        flush_bytes: 8 << 10,
        flush_interval: Duration::from_millis(500),
        log_retain_bytes: 16 << 10,
        ..Options::default()
    }
}

/// What holds a flusher up.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Stall,
    Fail,
}

impl Trouble {
    fn befalls(self, fleet: &mut Fleet, node: NodeId) {
        match self {
            Self::Stall => fleet.stall(node),
            Self::Fail => fleet.fail_disk(node),
        }
    }
}

/// What became of writes that were sent to one node, by their keys.
#[derive(Debug, Default)]
struct Sent {
    acknowledged: BTreeMap<String, String>,
    refused: Vec<(String, Refusal)>,
    unanswered: BTreeMap<String, (flotilla_node::host::Token, String)>,
}

impl Sent {
    /// Sends so many writes of half a kilobyte, each under a key of its own, a millisecond apart.
    fn send(fleet: &mut Fleet, node: NodeId, prefix: &str, count: usize) -> Self {
        let mut sent = Self::default();
        for number in 0..count {
            let (key, value) = (format!("{prefix}{number}"), format!("{number}-{}", "x".repeat(500)));
            let operation = fleet.operation(&key, &value);
            let token = fleet.ask(node, |token| Input::Write { shard: SHARD, token, operation });
            sent.unanswered.insert(key, (token, value));
            fleet.run(Duration::from_millis(1));
        }
        sent.collect(fleet);
        sent
    }

    /// Takes in the answers that have come since.
    fn collect(&mut self, fleet: &mut Fleet) {
        let unanswered = std::mem::take(&mut self.unanswered);
        for (key, (token, value)) in unanswered {
            match fleet.answer(token) {
                Some(Answer::Written(_, Outcome::Written { .. })) => {
                    self.acknowledged.insert(key, value);
                }
                Some(Answer::Refused(refusal)) => self.refused.push((key, refusal)),
                None => drop(self.unanswered.insert(key, (token, value))),
                other => panic!("{key} was answered by {other:?}"),
            }
        }
    }

    /// What was acknowledged is there, and what was definitely refused is not.
    fn judge(&self, fleet: &mut Fleet) {
        for (key, value) in &self.acknowledged {
            assert_eq!(fleet.get(key).as_ref(), Some(value), "{key} was acknowledged");
        }
        for (key, refusal) in self.refused.iter().filter(|(_, refusal)| refusal.definite()) {
            assert_eq!(fleet.get(key), None, "{key} was refused: {refusal}");
        }
    }
}

fn term(fleet: &mut Fleet, node: NodeId) -> Term {
    fleet.status(SHARD)[&node].term
}

fn overlay_bytes(fleet: &mut Fleet, node: NodeId) -> usize {
    fleet.status(SHARD)[&node].overlay_bytes
}

fn followers(fleet: &Fleet, leader: NodeId) -> Vec<NodeId> {
    fleet.nodes().into_iter().filter(|node| *node != leader).collect()
}

#[test]
fn a_leader_whose_flusher_is_held_up_refuses_writes_and_does_everything_else() {
    for (seed, trouble) in [(30, Trouble::Stall), (31, Trouble::Fail)] {
        let mut fleet = Fleet::new(seed, 3, 1, tight());
        fleet.put("first", "v");
        let leader = fleet.elect(SHARD);
        let elected = term(&mut fleet, leader);
        trouble.befalls(&mut fleet, leader);

        let mut sent = Sent::send(&mut fleet, leader, "k", 300);
        assert!(sent.acknowledged.len() > 50, "the overlay takes what it can: {}", sent.acknowledged.len());
        assert!(!sent.refused.is_empty(), "{trouble:?}: an overlay of 64 KiB cannot take 150 KB");
        for (key, refusal) in &sent.refused {
            assert!(
                matches!(refusal, Refusal::Overloaded { what: "the overlay", .. }) && refusal.definite(),
                "{key}: {refusal}"
            );
        }
        assert!(overlay_bytes(&mut fleet, leader) < OVERLAY_BYTES_MAX + ON_THE_WAY_BYTES_MAX);

        // Refused at once: in the turn in which it arrived.
        let before = fleet.now_us;
        let operation = fleet.operation("late", "v");
        let token = fleet.ask(leader, |token| Input::Write { shard: SHARD, token, operation });
        fleet.run(Duration::ZERO);
        assert!(matches!(fleet.answer(token), Some(Answer::Refused(Refusal::Overloaded { .. }))));
        assert_eq!(fleet.now_us, before);

        // Heartbeats and reads go on, for many election timeouts.
        fleet.run(Duration::from_secs(10));
        assert_eq!((fleet.elect(SHARD), term(&mut fleet, leader)), (leader, elected), "no election");
        sent.judge(&mut fleet);
        assert_eq!(term(&mut fleet, leader), elected);

        fleet.resume(leader);
        fleet.until("writes are taken again", Duration::from_secs(2), |fleet| {
            let more = Sent::send(fleet, leader, "again", 1);
            more.refused.is_empty()
        });
        sent.collect(&mut fleet);
        fleet.converge(SHARD);
        for node in fleet.nodes() {
            fleet.crash(node);
        }
        for node in fleet.nodes() {
            fleet.start(node);
        }
        sent.judge(&mut fleet);
        fleet.converge(SHARD);
    }
}

#[test]
fn a_follower_whose_flusher_is_held_up_stays_small_and_quiet_and_catches_up() {
    for (seed, trouble) in [(32, Trouble::Stall), (33, Trouble::Fail)] {
        let mut fleet = Fleet::new(seed, 3, 1, tight());
        fleet.put("first", "v");
        let leader = fleet.elect(SHARD);
        let elected = term(&mut fleet, leader);
        let slow = followers(&fleet, leader)[0];
        trouble.befalls(&mut fleet, slow);

        let mut sent = Sent::default();
        for round in 0..20 {
            let more = Sent::send(&mut fleet, leader, &format!("{round}-"), 50);
            assert!(more.refused.is_empty(), "the others go on: {:?}", more.refused);
            sent.acknowledged.extend(more.acknowledged);
            let bytes = overlay_bytes(&mut fleet, slow);
            assert!(bytes < OVERLAY_BYTES_MAX + ON_THE_WAY_BYTES_MAX, "{bytes} bytes in round {round}");
        }
        assert!(sent.acknowledged.len() > 990, "at most what is on its way is not acknowledged");
        let status = fleet.status(SHARD);
        assert!(status[&slow].overlay_bytes >= OVERLAY_BYTES_MAX, "it is full");
        assert!(status[&slow].applied.index < status[&leader].applied.index, "so it fell behind");
        fleet.run(Duration::from_secs(10));
        let status = fleet.status(SHARD);
        assert!(status.values().all(|replica| replica.term == elected), "nobody campaigned");

        fleet.resume(slow);
        fleet.converge(SHARD);
        assert_eq!(term(&mut fleet, leader), elected, "and it needed no election to catch up");
        sent.judge(&mut fleet);
    }
}

/// Two of three cannot take more. Then nothing more can be committed, and that is all.
#[test]
fn two_held_up_flushers_cost_availability_and_nothing_else() {
    for (seed, with_leader) in [(34, false), (35, true)] {
        let mut fleet = Fleet::new(seed, 3, 1, tight());
        fleet.put("first", "v");
        let leader = fleet.elect(SHARD);
        let elected = term(&mut fleet, leader);
        let mut held_up = followers(&fleet, leader);
        if with_leader {
            held_up[0] = leader;
        }
        held_up.iter().for_each(|node| fleet.stall(*node));

        let mut sent = Sent::send(&mut fleet, leader, "k", 500);
        assert!(!sent.refused.is_empty(), "what cannot be committed is bounded");
        assert!(sent.refused.iter().all(|(_, refusal)| refusal.definite()), "{:?}", sent.refused);
        fleet.run(Duration::from_secs(10));
        let status = fleet.status(SHARD);
        assert!(status.values().all(|replica| replica.term == elected), "nobody campaigned");
        for node in held_up.iter() {
            let bytes = status[node].overlay_bytes;
            assert!(bytes < OVERLAY_BYTES_MAX + ON_THE_WAY_BYTES_MAX, "{node} holds {bytes} bytes");
        }
        assert_eq!(fleet.get("first").as_deref(), Some("v"), "reads go on");

        held_up.iter().for_each(|node| fleet.resume(*node));
        fleet.put("last", "v");
        fleet.converge(SHARD);
        sent.collect(&mut fleet);
        assert!(sent.unanswered.is_empty(), "what waited was committed: {:?}", sent.unanswered.keys());
        sent.judge(&mut fleet);
    }
}

/// A leader keeps what follows a snapshot on its way, or the follower would need the next one at once. A stream that never
/// ends must not make it keep everything.
#[test]
fn a_follower_that_is_sent_a_snapshot_for_ever_does_not_make_the_log_grow_without_bound() {
    const RETAINED_BYTES: u64 = 16 << 10;
    const PINNED_BYTES_MAX: u64 = 64 << 10;
    let options =
        Options { log_retain_bytes: RETAINED_BYTES, log_pinned_bytes_max: PINNED_BYTES_MAX, ..tight() };
    let mut fleet = Fleet::new(36, 3, 1, options);
    fleet.put("first", "v");
    let leader = fleet.elect(SHARD);
    let away = followers(&fleet, leader)[0];
    fleet.crash(away);
    Sent::send(&mut fleet, leader, "a", 200);
    fleet.streams_hang = true;
    fleet.start(away);
    let kept_bytes = |fleet: &mut Fleet| {
        let status = &fleet.status(SHARD)[&leader];
        // Half a kilobyte of value, and its key, request id and lengths: an entry of one put.
        (status.last.0 - status.compacted.0) * 500
    };
    let mut greatest = 0;
    for round in 0..20 {
        let sent = Sent::send(&mut fleet, leader, &format!("{round}-"), 50);
        assert!(sent.refused.is_empty(), "{:?}", sent.refused);
        greatest = greatest.max(kept_bytes(&mut fleet));
    }
    assert!(greatest > 2 * RETAINED_BYTES, "for a while it is kept for the follower: {greatest} bytes");
    let bound = RETAINED_BYTES + PINNED_BYTES_MAX + 2 * (8 << 10);
    assert!(greatest < bound, "{greatest} bytes are kept, beyond {bound}");

    // The leader gives the stream up with its office; the next one sends another.
    fleet.streams_hang = false;
    fleet.crash(leader);
    fleet.elect(SHARD);
    fleet.start(leader);
    fleet.converge(SHARD);
}

/// Nothing is flushed while a snapshot replaces the state. A deadline for it would lie in the past, and the worker would spin
/// until the base has switched.
#[test]
fn a_replica_that_waits_for_its_base_to_switch_to_a_snapshot_sleeps() {
    let options = Options { flush_interval: Duration::from_secs(2), log_retain_bytes: 2 << 10, ..tight() };
    let mut fleet = Fleet::new(37, 3, 1, options);
    let leader = fleet.elect(SHARD);
    fleet.put("first", "v");
    let away = followers(&fleet, leader)[0];
    fleet.until("the follower holds what is not in its base", Duration::from_secs(1), |fleet| {
        overlay_bytes(fleet, away) > 0
    });
    fleet.isolate(away);
    Sent::send(&mut fleet, leader, "k", 200);
    assert!(overlay_bytes(&mut fleet, away) > 0, "and has not flushed it since");
    fleet.heal();
    fleet.until("a snapshot is staged", Duration::from_secs(5), |fleet| fleet.snapshots_staged > 0);
    fleet.stall(away);
    let staged = fleet.snapshots_staged;
    // The fleet notices when time stands still.
    fleet.run(Duration::from_secs(10));
    assert_eq!(fleet.snapshots_staged, staged, "it is being made current");
    fleet.resume(away);
    fleet.converge(SHARD);
}

/// Whoever waits for a flush waits in memory, for as long as the flusher hangs.
#[test]
fn who_waits_for_a_flush_that_does_not_come_is_bounded() {
    let mut fleet = Fleet::new(38, 3, 1, tight());
    fleet.put("k", "v");
    let leader = fleet.elect(SHARD);
    fleet.stall(leader);
    fleet.put("k", "w");
    let tokens: Vec<_> =
        (0..300).map(|_| fleet.ask(leader, |token| Input::Flush { shard: SHARD, token })).collect();
    fleet.run(Duration::from_millis(100));
    let mut refused = 0;
    let mut waiting = Vec::new();
    for token in tokens {
        match fleet.answer(token) {
            Some(Answer::Refused(Refusal::Overloaded { .. })) => refused += 1,
            None => waiting.push(token),
            other => panic!("a flush that cannot end was answered by {other:?}"),
        }
    }
    assert_eq!((waiting.len(), refused), (256, 44));
    fleet.resume(leader);
    fleet.run(Duration::from_millis(100));
    for token in waiting {
        assert!(matches!(fleet.answer(token), Some(Answer::Flushed(_))), "who waited is answered");
    }
}
