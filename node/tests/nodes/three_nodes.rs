//! Three whole nodes in one process, over loopback: founded, written, read, led by others, stopped and started again.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::{status, v1};
use tonic::Code;
use tonic::transport::Channel;

use crate::fleet::{Fleet, PATIENCE, SHARDS};

fn put(key: &str, value: &str) -> v1::PutRequest {
    v1::PutRequest {
        key: Bytes::from(key.to_string()),
        value: Bytes::from(value.to_string()),
        ..v1::PutRequest::default()
    }
}

fn get(key: &str, route_mode: v1::RouteMode) -> v1::GetRequest {
    v1::GetRequest {
        key: Bytes::from(key.to_string()),
        route_mode: route_mode.into(),
        ..v1::GetRequest::default()
    }
}

async fn value(node: &mut KvClient<Channel>, key: &str) -> Option<Bytes> {
    match node.get(get(key, v1::RouteMode::Proxy)).await.unwrap().into_inner().outcome {
        Some(v1::get_response::Outcome::Result(result)) => result.record.map(|record| record.value),
        other => panic!("a proxy answered {other:?}"),
    }
}

/// All records of a scan, in the order in which they came.
async fn scan(node: &mut KvClient<Channel>, request: v1::ScanRequest) -> Vec<(Bytes, Bytes)> {
    let mut pages = node.scan(request).await.unwrap().into_inner();
    let mut records = Vec::new();
    while let Some(response) = pages.message().await.unwrap() {
        let Some(v1::scan_response::Outcome::Result(page)) = response.outcome else {
            panic!("a scan over all shards answered {response:?}");
        };
        records.extend(page.records.into_iter().map(|entry| (entry.key, entry.record.unwrap().value)));
    }
    records
}

fn expected() -> BTreeMap<Bytes, Bytes> {
    let pair = |number| (Bytes::from(format!("key-{number:03}")), Bytes::from(format!("value of {number}")));
    (0..60).map(pair).collect()
}

async fn fill(fleet: &Fleet) {
    for (number, (key, value)) in expected().into_iter().enumerate() {
        let request = v1::PutRequest { key, value, ..v1::PutRequest::default() };
        let response = fleet.kv(number % 3).await.put(request).await.unwrap().into_inner();
        let Some(v1::put_response::Outcome::Result(result)) = response.outcome else {
            panic!("a proxy answered {response:?}");
        };
        assert!(result.version >= 1);
        assert_eq!(result.stamp.unwrap().version, result.version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_through_one_node_is_read_through_every_other_and_after_a_restart() {
    let fleet = Fleet::found().await;
    fill(&fleet).await;
    check_reads(&fleet).await;
    let fleet = fleet.stop().await.start().await;
    check_reads(&fleet).await;
    check_scans(&fleet).await;
    fleet.stop().await;
}

async fn check_reads(fleet: &Fleet) {
    for number in 0..3 {
        let mut node = fleet.kv(number).await;
        for (key, written) in expected() {
            let key = String::from_utf8(key.to_vec()).unwrap();
            assert_eq!(value(&mut node, &key).await, Some(written), "{key} through node {}", number + 1);
        }
        assert_eq!(value(&mut node, "never written").await, None);
    }
}

async fn check_scans(fleet: &Fleet) {
    let all: Vec<(Bytes, Bytes)> = expected().into_iter().collect();
    let mut node = fleet.kv(1).await;
    assert_eq!(scan(&mut node, v1::ScanRequest::default()).await, all);
    let reverse = v1::ScanRequest { reverse: true, ..v1::ScanRequest::default() };
    assert_eq!(scan(&mut node, reverse).await, all.iter().rev().cloned().collect::<Vec<_>>());
    let part = v1::ScanRequest {
        from: Bytes::from_static(b"key-010"),
        to: Bytes::from_static(b"key-020"),
        limit: 7,
        ..v1::ScanRequest::default()
    };
    assert_eq!(scan(&mut node, part.clone()).await, all[10..17]);
    assert_eq!(
        scan(&mut node, v1::ScanRequest { reverse: true, ..part }).await,
        all[13..20].iter().rev().cloned().collect::<Vec<_>>()
    );
    let mut by_shard = Vec::new();
    for shard in 1..=SHARDS {
        let one = v1::ScanRequest { shard: Some(shard), ..v1::ScanRequest::default() };
        by_shard.extend(scan(&mut node, one).await);
    }
    by_shard.sort();
    assert_eq!(by_shard, all, "the shards hold every record once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_names_the_leader_and_a_transfer_moves_it() {
    let fleet = Fleet::found().await;
    fill(&fleet).await;
    let key = "key-007";
    let mut seen = Vec::new();
    let mut redirect = None;
    for number in 0..3 {
        match fleet
            .kv(number)
            .await
            .get(get(key, v1::RouteMode::Redirect))
            .await
            .unwrap()
            .into_inner()
            .outcome
        {
            Some(v1::get_response::Outcome::Result(result)) => seen.push((number, result)),
            Some(v1::get_response::Outcome::Redirect(it)) => redirect = Some(it),
            None => panic!("an answer without an outcome"),
        }
    }
    let [(leader, result)] = seen.as_slice() else { panic!("{} nodes lead one shard", seen.len()) };
    let redirect = redirect.expect("two nodes do not lead");
    assert_eq!(redirect.leader_node, *leader as u64 + 1);
    assert_eq!(format!("http://{}", redirect.leader_addr), fleet.address(*leader));
    let stamp = result.stamp.unwrap();
    assert_eq!((redirect.shard, redirect.term), (stamp.shard, stamp.term));

    let target = (leader + 1) % 3;
    let request = v1::TransferLeaderRequest {
        shard: stamp.shard,
        to_node: target as u64 + 1,
        ..v1::TransferLeaderRequest::default()
    };
    // Asked of a node that does not lead: it forwards.
    let moved = fleet.cluster(target).await.transfer_leader(request).await.unwrap().into_inner();
    let Some(v1::transfer_leader_response::Outcome::Result(moved)) = moved.outcome else {
        panic!("a proxy answered {moved:?}");
    };
    assert_eq!(moved.leader_node, target as u64 + 1);
    assert!(moved.term > stamp.term);
    let written = fleet.kv(*leader).await.put(put(key, "under the new leader")).await.unwrap().into_inner();
    let Some(v1::put_response::Outcome::Result(written)) = written.outcome else { panic!("{written:?}") };
    assert_eq!(written.stamp.unwrap().term, moved.term);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_kept_repetitions_are_one_and_limits_are_named() {
    let fleet = Fleet::found().await;
    let mut node = fleet.kv(0).await;
    let swap = |expected_version, value: &'static str| v1::CompareAndSwapRequest {
        key: Bytes::from_static(b"lock"),
        value: Bytes::from_static(value.as_bytes()),
        expected_version,
        ..v1::CompareAndSwapRequest::default()
    };
    let swapped = |response: v1::CompareAndSwapResponse| match response.outcome {
        Some(v1::compare_and_swap_response::Outcome::Result(result)) => result,
        other => panic!("a proxy answered {other:?}"),
    };
    let first = swapped(node.compare_and_swap(swap(0, "mine")).await.unwrap().into_inner());
    assert!(first.swapped);
    let second = swapped(node.compare_and_swap(swap(0, "yours")).await.unwrap().into_inner());
    assert!(!second.swapped);
    assert_eq!(second.current.unwrap().value, "mine");

    // One write, sent twice under one id through two nodes: it has one version.
    let time_ms = first.stamp.unwrap().shard_time_ms;
    let request = v1::RequestId {
        client: Some(77.into()),
        sequence: 1,
        acknowledged: 0,
        deadline_ms: time_ms + 30_000,
    };
    let once = v1::PutRequest { request: Some(request), ..put("once", "only") };
    let mut versions = Vec::new();
    for number in [0, 1, 0] {
        let response = fleet.kv(number).await.put(once.clone()).await.unwrap().into_inner();
        let Some(v1::put_response::Outcome::Result(result)) = response.outcome else {
            panic!("{response:?}")
        };
        versions.push(result.version);
    }
    assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "{versions:?}");

    let refusal = node.put(put("", "x")).await.unwrap_err();
    assert_eq!(
        (refusal.code(), status::detail(&refusal).unwrap().field.as_str()),
        (Code::InvalidArgument, "key")
    );
    let refusal = node.put(put(&"k".repeat(4097), "x")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    let refusal = node.put(put("k", &"v".repeat((1 << 20) + 1))).await.unwrap_err();
    assert_eq!(
        (refusal.code(), status::detail(&refusal).unwrap().field.as_str()),
        (Code::InvalidArgument, "value")
    );
    node.put(put(&"k".repeat(4096), &"v".repeat(1 << 20)))
        .await
        .expect("the longest key and value are allowed");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_one_state_have_one_digest() {
    let fleet = Fleet::found().await;
    fill(&fleet).await;
    let mut cluster = fleet.cluster(0).await;
    let map = cluster.get_map(v1::GetMapRequest { linearizable: true, ..v1::GetMapRequest::default() });
    let Some(v1::get_map_response::Outcome::Result(map)) = map.await.unwrap().into_inner().outcome else {
        panic!("a proxy redirects");
    };
    assert_eq!((map.nodes.len(), map.shards.len()), (3, SHARDS as usize + 1));
    let mut keys = 0;
    for shard in 1..=SHARDS {
        let ask = async |number: usize| {
            let request = v1::ShardStatusRequest { shard, flush: true };
            fleet.cluster(number).await.shard_status(request).await.unwrap().into_inner().replica.unwrap()
        };
        // A follower hears of the last commit with the next heartbeat: ask until it has applied what the leader has.
        let leader = tokio::time::timeout(PATIENCE, async {
            loop {
                let replicas = [ask(0).await, ask(1).await, ask(2).await];
                let first = &replicas[0];
                if replicas.iter().all(|replica| replica.digest_index == first.digest_index) {
                    assert!(replicas.iter().all(|replica| replica.digest == first.digest), "{replicas:?}");
                    assert!(first.digest.is_some());
                    break replicas.into_iter().find(|replica| replica.role() == v1::Role::Leader);
                }
            }
        });
        keys += leader.await.expect("replicas become equal").map_or(0, |leader| leader.keys);
    }
    assert_eq!(keys, expected().len() as u64);
    fleet.stop().await;
}

/// A `wal/` that was emptied would forget votes. It must not pass for that of a young node, nor at the second attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_was_emptied_does_not_start() {
    let fleet = Fleet::found().await.stop().await;
    for entry in std::fs::read_dir(fleet.wal(0)).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for _ in 0..2 {
        let refused = fleet.refuses(0).await;
        assert!(refused.contains("the log was lost, and votes with it"), "{refused}");
    }
}

/// The client address of a node, as another node's map states it.
async fn stated(fleet: &Fleet, asked: usize, of: usize) -> String {
    let map = fleet.cluster(asked).await.get_map(v1::GetMapRequest::default()).await.unwrap().into_inner();
    let Some(v1::get_map_response::Outcome::Result(map)) = map.outcome else { panic!("{map:?}") };
    let node = map.nodes.into_iter().find(|node| node.node == of as u64 + 1);
    node.expect("the map names all nodes").client_addr
}

/// The genesis map was taken in first at each start, and became the cache, so that the newer map there was lost: a node without a
/// replica of the meta shard knew its peers only under the addresses of the first day.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_alone_knows_the_newest_map_that_it_had() {
    let mut fleet = Fleet::with_replicas(1).await.stop().await;
    fleet.move_client_address(0);
    let moved = fleet.address(0);
    let fleet = fleet.start().await;
    let heard = tokio::time::timeout(PATIENCE, async {
        while format!("http://{}", stated(&fleet, 2, 0).await) != moved {}
    });
    heard.await.expect("a node without a replica of the meta shard hears of the newer map");
    let mut fleet = fleet.stop().await;
    fleet.start_alone(2).await;
    assert_eq!(format!("http://{}", stated(&fleet, 2, 0).await), moved);
    fleet.stop().await;
}
