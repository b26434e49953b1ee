//! A follower that was away: for so short that the others still have what it lacks, and for longer than they keep their logs.

use std::time::Duration;

use flotilla_proto::v1::{Consistency, RouteMode};
use futures_util::StreamExt;

use crate::patience::until;
use crate::questions::{self, Read, get};
use crate::stage::{Fleet, Plan};

/// How many values are written while the follower is away, and their length: many times what is retained.
const VALUES: usize = 1500;
const VALUE_BYTES: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_behind_the_log_comes_back_by_snapshot() {
    let plan = Plan::new(3).shards(1).flag("--log-retain-bytes", "16KiB").flag("--flush-bytes", "64KiB");
    let mut fleet = plan.flag("--flush-interval-ms", "50").start().await;
    let client = fleet.client(Duration::from_secs(20)).await;
    client.put("before", "stays").await.unwrap();
    client.put("deleted", "goes").await.unwrap();
    let leader = fleet.leader(1).await.node;
    let away = fleet.ids().into_iter().find(|id| *id != leader).unwrap();
    let left = fleet.replica(away, 1).await.unwrap();
    fleet.kill(away);

    assert!(client.delete("deleted").await.unwrap());
    let writes = (0..VALUES).map(|number| client.put(key(number), value(number)));
    futures_util::stream::iter(writes)
        .buffer_unordered(64)
        .for_each(async |done| {
            done.unwrap();
        })
        .await;
    // What it lacks is in no log any more: only a snapshot can bring it.
    let compacted = async || {
        let replica = fleet.replica(leader, 1).await?;
        (replica.compacted_index > left.last_index + 1).then_some(replica.compacted_index)
    };
    let compacted = until("the leader dropped what the follower lacks", compacted).await;

    fleet.restart(away);
    fleet.ready().await;
    let caught_up = async || {
        let (leading, following) = (fleet.replica(leader, 1).await?, fleet.replica(away, 1).await?);
        (following.applied_index == leading.commit_index).then_some(following)
    };
    let back = until("the follower caught up", caught_up).await;
    println!("left at {}, the log began at {compacted}, back at {}", left.last_index, back.applied_index);

    let shown = &fleet.converged().await[1];
    assert_eq!(shown["replicas"][0]["keys"], VALUES + 1, "{shown}");
    assert!(snapshots_received(&fleet, away).await > 0, "it came back without a snapshot");

    // It can carry the shard: what it got by snapshot is read from it alone, and then with one more of the others.
    let mut kv = questions::kv(questions::connect(&fleet.address(away)).await.unwrap());
    for (name, expected) in [("before", Some("stays".to_string())), ("deleted", None)] {
        let mut request = get(name, RouteMode::Redirect);
        request.consistency = Consistency::Stale.into();
        assert_eq!(Read::from(kv.get(request).await), Read::Value(expected), "{name}");
    }
    fleet.kill(leader);
    fleet.led_by_another(1, leader).await;
    for number in 0..VALUES {
        let found = client.get(key(number)).await.unwrap().map(|found| found.bytes);
        assert_eq!(found.as_deref(), Some(value(number).as_bytes()), "{}", key(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_for_a_while_comes_back_by_the_log() {
    // The base gets everything at once, and yet the log is kept for those who are away.
    let mut fleet = Plan::new(3).shards(1).flag("--flush-interval-ms", "50").start().await;
    let client = fleet.client(Duration::from_secs(20)).await;
    for round in 0..3 {
        let leader = fleet.leader(1).await.node;
        let away = fleet.ids().into_iter().find(|id| *id != leader).unwrap();
        let left = fleet.replica(away, 1).await.unwrap();
        fleet.kill(away);
        let lacked = VALUES / 3;
        for number in 0..lacked {
            client.put(key(number), value(number + round)).await.unwrap();
        }
        let leading = fleet.replica(leader, 1).await.unwrap();
        assert!(leading.last_index > left.last_index + lacked as u64 / 2, "{leading:?}, {left:?}");
        assert!(leading.compacted_index <= left.last_index, "the log was kept: {leading:?}, {left:?}");
        fleet.restart(away);
        let shown = &fleet.converged().await[1];
        assert_eq!(shown["replicas"][0]["keys"], lacked, "{shown}");
        assert_eq!(snapshots_received(&fleet, away).await, 0, "a snapshot was sent where the log suffices");
        println!("left at {}, {} when it came back", left.last_index, leading.last_index);
    }
}

/// How many snapshots a node was sent in its present run.
async fn snapshots_received(fleet: &Fleet, id: u64) -> u64 {
    let text =
        questions::metrics(&fleet.ports(id).http_addr()).await.expect("a node that runs shows its metrics");
    let counts = text.lines().filter(|line| {
        line.starts_with("kv_shard_snapshots_total{") && line.contains("direction=\"received\"")
    });
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn key(number: usize) -> String {
    format!("key-{number:05}")
}

fn value(number: usize) -> String {
    format!("{number:0VALUE_BYTES$}")
}
