//! SIGKILL, and SIGTERM: what was acknowledged stays.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::ledger::Writers;
use crate::patience::until;
use crate::stage::Plan;

/// What `kvnode` promises for its end after SIGTERM.
const END_MAX: Duration = Duration::from_secs(10);

/// Longer than an election and a restart: a write is tried again until it is answered.
const PATIENT: Duration = Duration::from_secs(20);

/// Too short to outlive a dead fleet.
const HASTY: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn leaders_killed_under_load_lose_nothing() {
    let mut fleet = Plan::new(3).start().await;
    let client = fleet.client(PATIENT).await;
    let writers = Writers::start(&client, "load", 8);
    for shard in fleet.shards() {
        writers.progress(200).await;
        let old = fleet.leader(shard).await;
        fleet.kill(old.node);
        let new = fleet.led_by_another(shard, old.node).await;
        assert!(new.term > old.term, "shard {shard}: {old:?}, then {new:?}");
        writers.progress(200).await;
        fleet.restart(old.node);
        fleet.ready().await;
    }
    let promises = writers.stop().await;
    promises.check(&client).await;
    // The nodes that came back hold the same as the others.
    fleet.converged().await;
    // A client that was not there reads the same.
    promises.check(&fleet.client(PATIENT).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_killed_while_writing_come_back_with_everything() {
    let mut fleet = Plan::new(3).flag("--flush-interval-ms", "300").start().await;
    let mut promises = crate::ledger::Promises::default();
    for round in ["first", "second", "third"] {
        let writers = Writers::start(&fleet.client(HASTY).await, round, 8);
        writers.progress(400).await;
        fleet.kill_all();
        promises = promises.and(writers.stop().await);
        fleet.ids().into_iter().for_each(|id| fleet.restart(id));
        fleet.ready().await;
        promises.check(&fleet.client(PATIENT).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_moves_leaders_away_and_ends_in_time() {
    let mut fleet = Plan::new(3).start().await;
    let client = fleet.client(PATIENT).await;
    let leaving = fleet.leader(1).await.node;
    let writers = Writers::start(&client, "term", 4);
    writers.progress(100).await;
    let asked = Instant::now();
    fleet.process(leaving).signal(Signal::TERM);
    // Nobody leads there any more while the process still answers: not its death, but itself moved them.
    let (status, words) = fleet.end(leaving).await;
    assert!(asked.elapsed() < END_MAX, "{:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0), "{status}: {words}");
    assert!(!words.contains("could not be moved"), "{words}");
    // At once, without waiting for an election.
    let statuses = fleet.statuses().await;
    for shard in fleet.shards() {
        let leads = |status: &&flotilla_proto::v1::StatusResponse| {
            let leads = |replica: &flotilla_proto::v1::ReplicaStatus| {
                replica.shard == shard && replica.role() == flotilla_proto::v1::Role::Leader
            };
            status.replicas.iter().any(leads)
        };
        assert!(statuses.iter().any(|status| leads(&status)), "nobody leads shard {shard}: {statuses:?}");
    }
    writers.progress(100).await;
    let promises = writers.stop().await;
    fleet.restart(leaving);
    fleet.ready().await;
    promises.check(&client).await;
    // Ctrl-C ends all of them as well.
    for id in fleet.ids() {
        fleet.process(id).signal(Signal::INT);
    }
    let asked = Instant::now();
    for id in fleet.ids() {
        let (status, words) = fleet.end(id).await;
        assert_eq!(status.code(), Some(0), "node {id}: {status}: {words}");
    }
    assert!(asked.elapsed() < END_MAX, "{:?}", asked.elapsed());
    until("nobody listens any more", async || fleet.statuses().await.is_empty().then_some(())).await;
}
