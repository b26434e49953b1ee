//! Operations on shared lanes: batches that form by themselves, and the truth about each operation when a lane breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use flotilla_client::dispatch::Failure;
use flotilla_client::{Client, Courier, CourierOptions, Error, Undelivered};
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::{PutRequest, RequestId};
use futures_util::future::join_all;
use tonic::Status;

use crate::fake::{Does, Fleet, Manners, Seen};

const SHORT: Duration = Duration::from_millis(400);

/// So many puts at once.
async fn puts(client: &Client, count: usize) -> Vec<Result<u64, Error>> {
    join_all((0..count).map(|key| client.put(format!("key{key}"), "value"))).await
}

/// The ids under which each key was written.
fn ids(fleet: &Fleet) -> BTreeMap<String, BTreeSet<u64>> {
    let mut ids: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for Seen { key, request, .. } in fleet.seen() {
        let key = String::from_utf8(key.to_vec()).unwrap();
        ids.entry(key).or_default().insert(request.unwrap().sequence);
    }
    ids
}

#[tokio::test]
async fn what_is_asked_at_once_travels_together() {
    let fleet = Fleet::start(1, |_| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    client.put("alone", "value").await.unwrap();
    assert_eq!(*fleet.sea.messages.lock().unwrap(), [1], "a lone put waits for nobody");

    let results = puts(&client, 1000).await;
    assert!(results.iter().all(Result::is_ok));
    let messages = fleet.sea.messages.lock().unwrap().clone();
    assert_eq!(messages.iter().sum::<usize>(), 1001);
    assert!(messages.len() < 50, "{} messages", messages.len());
    let versions: BTreeSet<u64> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(versions.len(), 1000, "each has its own answer");
}

#[tokio::test]
async fn a_lane_that_breaks_is_made_anew_and_every_write_keeps_its_id() {
    let mut count = 0;
    let script = move |_: &Seen| {
        count += 1;
        if [40, 90, 150].contains(&count) { Does::ExecuteThenBreak } else { Does::Answer }
    };
    let fleet = Fleet::start(1, script).await;
    let client = fleet.builder().build().await.unwrap();
    assert!(puts(&client, 200).await.iter().all(Result::is_ok));
    let ids = ids(&fleet);
    assert_eq!(ids.len(), 200);
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    assert!(fleet.seen().len() > 200, "some were sent again");
}

#[tokio::test]
async fn what_had_left_when_the_lane_broke_is_unknown() {
    let script = |seen: &Seen| if seen.key == "key7" { Does::Break } else { Does::Hang };
    let fleet = Fleet::start(1, script).await;
    let client = fleet.builder().deadline(SHORT).build().await.unwrap();
    for result in puts(&client, 10).await {
        assert!(matches!(result, Err(Error::Unknown { .. })), "{result:?}");
    }
}

/// Nothing leaves before the other side has answered at all, so a server that is silent from the first has executed nothing.
#[tokio::test]
async fn what_never_left_is_surely_not_executed() {
    let fleet = Fleet::start(1, |_| Does::Answer).await;
    *fleet.sea.manners.lock().unwrap() = Manners::Silent;
    let client = fleet.builder().deadline(SHORT).attempt_timeout(SHORT / 4).build().await.unwrap();
    for result in puts(&client, 10).await {
        assert!(matches!(result, Err(Error::NotExecuted { .. })), "{result:?}");
    }
    assert!(fleet.seen().is_empty());
}

#[tokio::test]
async fn a_failure_without_our_detail_is_ambiguous_in_a_pipeline_too() {
    let fleet = Fleet::start(1, |_| Does::Refuse(Status::unavailable("says who?"))).await;
    let client = fleet.builder().deadline(SHORT).build().await.unwrap();
    let error = client.put("ship", "Bounty").await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    let error = client.get("ship").await.unwrap_err();
    assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_concerns_only_the_operation_that_got_it() {
    let script = |seen: &Seen| match (seen.node, seen.key.as_ref()) {
        (1, b"key3") => Does::Redirect { leader: 2, term: 4 },
        _ => Does::Answer,
    };
    let fleet = Fleet::start(2, script).await;
    let client = fleet.builder().build().await.unwrap();
    assert!(puts(&client, 10).await.iter().all(Result::is_ok));
    let asked = |key: &str| -> Vec<u64> {
        fleet.seen().iter().filter(|seen| seen.key == key).map(|seen| seen.node).collect()
    };
    assert_eq!(asked("key3"), [1, 2]);
    assert!((0..10).filter(|key| *key != 3).all(|key| asked(&format!("key{key}")) == [1]));
}

#[tokio::test]
async fn a_server_without_pipelines_is_asked_one_by_one() {
    let fleet = Fleet::start(1, |_| Does::Answer).await;
    *fleet.sea.manners.lock().unwrap() = Manners::Unheard;
    let client = fleet.builder().build().await.unwrap();
    assert!(puts(&client, 10).await.iter().all(Result::is_ok));
    assert_eq!(client.get("key1").await.unwrap().unwrap().bytes, "value");
    assert_eq!(fleet.seen().len(), 11, "nothing was sent twice");
    assert!(fleet.sea.messages.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_finds_no_room_waits_and_is_surely_not_executed_when_time_is_up() {
    let script = |seen: &Seen| if seen.key == "slow" { Does::Hang } else { Does::Answer };
    let fleet = Fleet::start(1, script).await;
    let builder = fleet.builder().attempt_timeout(Duration::from_secs(9)).in_flight_bytes_max(600);
    let client = builder.deadline(SHORT).build().await.unwrap();
    // Two fit in, the others wait for them.
    assert!(puts(&client, 20).await.iter().all(Result::is_ok));

    let began = Instant::now();
    let slow = vec![client.put("slow", vec![0; 1000]), client.put("other", vec![1])];
    let results = join_all(slow).await;
    assert!(matches!(results[0], Err(Error::Unknown { .. })), "{results:?}");
    assert!(matches!(results[1], Err(Error::NotExecuted { .. })), "{results:?}");
    assert!(began.elapsed() >= SHORT);
    assert!(fleet.seen().iter().all(|seen| seen.key != "other"));
    client.put("other", "value").await.unwrap();
}

#[tokio::test]
async fn a_router_that_dies_in_the_middle_is_replaced_by_another_under_the_same_id() {
    let script = |seen: &Seen| if seen.node == 1 { Does::ExecuteThenBreak } else { Does::Answer };
    let mut fleet = Fleet::start(2, script).await;
    let client = fleet.builder().through_endpoints(true).build().await.unwrap();
    for _ in 0..5 {
        assert!(puts(&client, 20).await.iter().all(Result::is_ok));
    }
    let nodes: BTreeSet<u64> = fleet.seen().iter().map(|seen| seen.node).collect();
    assert_eq!(nodes, [1, 2].into(), "both were tried");
    let attempts = |key: &str| -> Vec<RequestId> {
        fleet.seen().iter().filter(|seen| seen.key == key).map(|seen| seen.request.unwrap()).collect()
    };
    let twice = (0..20).map(|key| attempts(&format!("key{key}"))).find(|ids| ids.len() > 5).unwrap();
    assert!(twice.windows(2).any(|pair| pair[0] == pair[1]), "{twice:?}");

    fleet.sink(1).await;
    assert!(puts(&client, 20).await.iter().all(Result::is_ok));
}

/// A large value shares the connection, but not the lane.
#[tokio::test]
async fn large_values_take_their_own_lane() {
    let fleet = Fleet::start(1, |_| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    client.put("small", "value").await.unwrap();
    let large = (0..8).map(|key| client.put(format!("large{key}"), vec![7; 1 << 20]));
    assert!(join_all(large).await.iter().all(Result::is_ok));
    let messages = fleet.sea.messages.lock().unwrap().clone();
    assert!(messages.iter().all(|operations| *operations == 1), "each fills a message: {messages:?}");
    assert_eq!(client.get("large7").await.unwrap().unwrap().bytes.len(), 1 << 20);
}

/// All operations of a lane share one alarm: it must be set anew for who joins last and is the first to be overdue.
#[tokio::test]
async fn who_waits_a_short_time_is_not_held_up_by_who_waits_a_long_one() {
    let script = |seen: &Seen| if seen.key == "answered" { Does::Answer } else { Does::Hang };
    let fleet = Fleet::start(1, script).await;
    let courier = Courier::new(&CourierOptions {
        connect_timeout: Duration::from_secs(10),
        opening_timeout: Duration::from_secs(10),
        under_way_bytes_max: 1 << 20,
        message_bytes_max: 1 << 20,
        tls: None,
    });
    let put = async |key: &'static str, patience| {
        let request = PutRequest { key: key.into(), ..PutRequest::default() };
        courier.carry(&fleet.sea.addresses[0], Operation::Put(request), key.len(), Some(patience)).await
    };
    let long = put("long", Duration::from_secs(60));
    let short = async {
        // Once this is answered, the lane stands and its alarm is set for the long one.
        put("answered", Duration::from_secs(60)).await.unwrap();
        put("short", Duration::from_millis(20)).await
    };
    let told = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::select! { biased; told = long => told, told = short => told }
    });
    let told = told.await.expect("the short one ends in time");
    assert!(matches!(told, Err(Undelivered::Failed(Failure { definite: false, .. }))), "{told:?}");
}
