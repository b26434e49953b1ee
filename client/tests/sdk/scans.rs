//! Scans over all shards, and what an operator asks.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use flotilla_client::{Client, Error, ScanRange};
use flotilla_proto::status;
use flotilla_topology::{Epoch, NodeId, ShardId};
use tokio_stream::StreamExt;

use crate::fake::{Does, Fleet, Seen, shard_of};

fn key(number: usize) -> String {
    format!("key{number:03}")
}

async fn filled(script: impl FnMut(&Seen) -> Does + Send + 'static) -> (Fleet, Client) {
    let fleet = Fleet::start(3, script).await;
    for number in 0..20 {
        let record = flotilla_proto::v1::Record { value: Bytes::new(), version: 1, expires_ms: None };
        fleet.sea.records.lock().unwrap().insert(key(number).into(), record);
    }
    let client = fleet.builder().build().await.unwrap();
    (fleet, client)
}

async fn keys(client: &Client, range: ScanRange) -> Vec<String> {
    let records: Result<Vec<_>, Error> = client.scan(range).collect().await;
    records.unwrap().into_iter().map(|record| String::from_utf8(record.key.to_vec()).unwrap()).collect()
}

fn expected(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(key).collect()
}

#[tokio::test]
async fn all_shards_come_as_one_row_in_order() {
    let (_fleet, client) = filled(|_| Does::Answer).await;
    let shards: BTreeSet<u64> = (0..20).map(|number| shard_of(key(number).as_bytes(), 2)).collect();
    assert_eq!(shards.len(), 2, "the keys lie in both shards");

    let all = ScanRange::default();
    assert_eq!(keys(&client, all.clone()).await, expected(0..20));
    assert_eq!(keys(&client, ScanRange { reverse: true, ..all.clone() }).await, expected((0..20).rev()));
    assert_eq!(keys(&client, ScanRange { limit: Some(7), ..all.clone() }).await, expected(0..7));
    assert_eq!(keys(&client, ScanRange { limit: Some(0), ..all.clone() }).await, expected([]));

    let part = ScanRange { from: key(5).into(), to: Some(key(15).into()), ..all };
    assert_eq!(keys(&client, part.clone()).await, expected(5..15));
    let last = ScanRange { reverse: true, limit: Some(2), ..part.clone() };
    assert_eq!(keys(&client, last).await, expected([14, 13]));
    assert_eq!(keys(&client, ScanRange { from: key(15).into(), ..part }).await, expected([]));
}

/// Each answer of the fake is one page, so every page after the first is asked for after a break already; here attempts break,
/// redirect and fail on top of that.
#[tokio::test]
async fn nothing_is_lost_or_doubled_when_streams_break() {
    let mut turn = 0;
    let script = move |_: &Seen| {
        turn += 1;
        match turn % 5 {
            0 => Does::Break,
            1 => Does::Redirect { leader: 2, term: turn },
            2 => Does::Refuse(status::unavailable(None, 0, "no leader")),
            _ => Does::Answer,
        }
    };
    let (_fleet, client) = filled(script).await;
    assert_eq!(keys(&client, ScanRange::default()).await, expected(0..20));
}

#[tokio::test]
async fn a_scan_that_cannot_go_on_ends_with_an_error() {
    let script = |seen: &Seen| match seen.before {
        0..2 => Does::Answer,
        _ => Does::Refuse(status::invalid("from", "odd")),
    };
    let (_fleet, client) = filled(script).await;
    let records: Vec<_> = client.scan(ScanRange::default()).collect().await;
    let (last, before) = records.split_last().unwrap();
    assert!(matches!(last, Err(Error::Invalid { .. })), "{last:?}");
    assert!(before.iter().all(Result::is_ok));
}

/// Of 50 records over 8 shards each shard has about 6; once each was asked for 50. The keys are not spread quite evenly, so a
/// few shards are asked a second time.
#[tokio::test]
async fn a_scan_with_a_limit_asks_each_shard_for_about_its_share() {
    let fleet = Fleet::alone(8, |_| Does::Answer).await;
    fleet.sea.streams.store(true, Ordering::Relaxed);
    for number in 0..1000 {
        let record = flotilla_proto::v1::Record { value: Bytes::new(), version: 1, expires_ms: None };
        fleet.sea.records.lock().unwrap().insert(key(number).into(), record);
    }
    let client = fleet.builder().build().await.unwrap();
    for (limit, most) in [(50, 250), (1, 8), (400, 900)] {
        for reverse in [false, true] {
            let before = fleet.sea.scanned.load(Ordering::Relaxed);
            let range = ScanRange { limit: Some(limit), reverse, ..ScanRange::default() };
            let mut all = expected(0..1000);
            if reverse {
                all.reverse();
            }
            all.truncate(limit as usize);
            assert_eq!(keys(&client, range).await, all);
            let scanned = fleet.sea.scanned.load(Ordering::Relaxed) - before;
            println!("limit {limit}, reverse {reverse}: {scanned} records were read");
            assert!(scanned <= most, "{scanned} records were read for {limit}");
        }
    }
    // One shard has all of them: it is asked again and again, for more each time.
    fleet.move_slots(|_| 3);
    let one_has_all = fleet.builder().build().await.unwrap();
    let range = ScanRange { limit: Some(500), ..ScanRange::default() };
    assert_eq!(keys(&one_has_all, range).await, expected(0..500));
}

#[tokio::test]
async fn through_an_endpoint_the_endpoint_merges() {
    let (fleet, _client) = filled(|_| Does::Answer).await;
    let endpoint = fleet.sea.addresses[0].clone();
    let client = Client::builder([endpoint]).through_endpoints(true).build().await.unwrap();
    assert_eq!(keys(&client, ScanRange::default()).await, expected(0..20));
    let asked: BTreeSet<u64> = fleet.nodes_asked("scan").into_iter().collect();
    assert_eq!(asked, BTreeSet::from([1]));
}

#[tokio::test]
async fn an_operator_is_answered() {
    let fleet = Fleet::start(2, |_| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    let map = client.map();
    assert_eq!((map.epoch, map.nodes.len(), map.shards.len()), (Epoch(1), 2, 3));
    let second = map.nodes[&NodeId(2)].client_addr.clone();
    assert_eq!(client.node_status(&second).await.unwrap().node, 2);
    let replica = client.shard_status(&second, ShardId(1), true).await.unwrap();
    assert_eq!(replica.map(|it| it.keys), Some(7));
    assert_eq!(client.shard_status(&second, ShardId(9), true).await.unwrap(), None);
    assert_eq!(client.transfer_leader(ShardId(1), NodeId(2)).await.unwrap().0, NodeId(2));
}

#[tokio::test]
async fn a_redirect_that_speaks_of_a_newer_map_brings_it() {
    let fleet = Fleet::start(2, |seen| match seen.node {
        1 => Does::Redirect { leader: 2, term: 1 },
        _ => Does::Answer,
    })
    .await;
    let client = fleet.builder().build().await.unwrap();
    *fleet.sea.epoch.lock().unwrap() = 5;
    client.put("ship", "Bounty").await.unwrap();
    let arrived = async {
        while client.map().epoch != Epoch(5) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.expect("the new map never came");
}

#[tokio::test]
async fn the_map_is_followed_without_a_redirect() {
    let fleet = Fleet::start(2, |_| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    let arrived = async {
        while client.map().epoch != Epoch(7) {
            // Again and again: the client may not be watching yet.
            *fleet.sea.epoch.lock().unwrap() = 7;
            fleet.sea.news.send_replace(());
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.expect("the new map never came");
    assert!(fleet.seen().is_empty(), "nothing was asked");
}

/// While a scan is under way, every other slot of each shard moves to the other shard.
#[tokio::test]
async fn each_slot_is_covered_once_when_slots_move_during_a_scan() {
    for reverse in [false, true] {
        let (fleet, client) = filled(|_| Does::Answer).await;
        for number in 20..200 {
            let record = flotilla_proto::v1::Record { value: Bytes::new(), version: 1, expires_ms: None };
            fleet.sea.records.lock().unwrap().insert(key(number).into(), record);
        }
        let mut scan = client.scan(ScanRange { reverse, ..ScanRange::default() });
        let mut found = Vec::new();
        while let Some(record) = scan.next().await {
            found.push(String::from_utf8(record.unwrap().key.to_vec()).unwrap());
            if found.len() == 1 {
                fleet.move_slots(|slot| match u64::from(slot.number()) * 2 / 16384 + 1 {
                    owner if slot.number() % 2 == 0 => owner,
                    owner => 3 - owner,
                });
            }
        }
        let mut all = expected(0..200);
        if reverse {
            all.reverse();
        }
        assert_eq!(found, all);
        assert!(fleet.nodes_asked("scan").len() > 4, "it was read in pieces");
    }
}

#[tokio::test]
async fn slots_that_nobody_answers_for_end_a_scan_with_an_error() {
    let (fleet, _client) = filled(|_| Does::Answer).await;
    let client = fleet.builder().deadline(Duration::from_millis(300)).build().await.unwrap();
    // The map of epoch 1 is all that the client will ever see, and it is wrong.
    fleet.move_slots(|_| 1);
    *fleet.sea.epoch.lock().unwrap() = 1;
    let records: Vec<_> = client.scan(ScanRange::default()).collect().await;
    assert!(matches!(records.last(), Some(Err(Error::NotExecuted { .. }))), "{records:?}");
}

#[tokio::test]
async fn dropping_a_scan_ends_the_work_of_the_nodes() {
    let (fleet, client) = filled(|_| Does::Hang).await;
    let mut scan = client.scan(ScanRange::default());
    let mut working = fleet.sea.working.subscribe();
    tokio::select! {
        _ = scan.next() => panic!("nobody answers"),
        begun = working.wait_for(|count| *count == 2) => drop(begun.unwrap()),
    }
    drop(scan);
    let ended = tokio::time::timeout(Duration::from_secs(10), working.wait_for(|count| *count == 0)).await;
    drop(ended.expect("the nodes still work for nobody").unwrap());
}
