//! A follower that was away for longer than the others keep their logs.

use std::time::Duration;

use flotilla_proto::v1::{Consistency, RouteMode};
use futures_util::StreamExt;
use serde_json::Value;

use crate::patience::until;
use crate::questions::{self, Read, get};
use crate::stage::Plan;

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

    let shown = fleet.kvctl(&["shard", "show", "1", "--output", "json"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let replicas = shown["replicas"].as_array().unwrap();
    assert_eq!((shown["digests"].as_str(), replicas.len()), (Some("equal"), 3), "{shown}");
    for replica in replicas {
        for field in ["digest", "digest_index", "keys", "bytes"] {
            assert_eq!(replica[field], replicas[0][field], "{field}: {shown}");
        }
    }
    assert_eq!(replicas[0]["keys"], VALUES + 1, "{shown}");

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

fn key(number: usize) -> String {
    format!("key-{number:05}")
}

fn value(number: usize) -> String {
    format!("{number:0VALUE_BYTES$}")
}
