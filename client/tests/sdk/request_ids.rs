//! Request ids: what is acknowledged when, and the shard time of deadlines.

use std::time::{Duration, SystemTime};

use flotilla_client::{Client, Error};
use flotilla_proto::status;
use flotilla_proto::v1::{ErrorDetail, RequestId};
use tokio::sync::watch;
use tonic::Code;

use crate::fake::{Does, Fleet, Seen};

const DEADLINE: Duration = Duration::from_secs(5);

fn id_of(fleet: &Fleet, key: &str) -> RequestId {
    let seen = fleet.seen().into_iter().find(|seen| seen.key == key.as_bytes());
    seen.unwrap().request.unwrap()
}

/// Waits until the fleet has seen a request for this key.
async fn seen(mut count: watch::Receiver<usize>, fleet: &Fleet, key: &str) {
    while !fleet.seen().iter().any(|seen| seen.key == key.as_bytes()) {
        count.changed().await.unwrap();
    }
}

/// A fleet that never answers keys that begin with "slow", and tells when it has seen one.
async fn fleet() -> (Fleet, watch::Receiver<usize>) {
    let (sender, count) = watch::channel(0);
    let script = move |seen: &Seen| {
        sender.send_modify(|count| *count += 1);
        if seen.key.starts_with(b"slow") { Does::Hang } else { Does::Answer }
    };
    (Fleet::start(1, script).await, count)
}

#[tokio::test]
async fn a_write_under_way_holds_back_what_is_acknowledged() {
    let (fleet, count) = fleet().await;
    let client = fleet.builder().attempt_timeout(DEADLINE).build().await.unwrap();
    client.put("a", "").await.unwrap();
    let slow = {
        let client = client.clone();
        tokio::spawn(async move { client.put("slow", "").await })
    };
    seen(count, &fleet, "slow").await;
    client.put("b", "").await.unwrap();
    client.put("c", "").await.unwrap();
    let pair = |key| {
        let id = id_of(&fleet, key);
        (id.sequence, id.acknowledged)
    };
    assert_eq!([pair("a"), pair("slow"), pair("b"), pair("c")], [(1, 0), (2, 1), (3, 1), (4, 1)]);

    // Nobody waits for the slow one any more, so nobody will try it again: it holds nothing back.
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    client.put("d", "").await.unwrap();
    assert_eq!(pair("d"), (5, 4));
}

#[tokio::test]
async fn a_write_that_failed_is_acknowledged_too() {
    let refuse = |seen: &Seen| match seen.before {
        0 => Does::Refuse(status::invalid("key", "odd")),
        _ => Does::Answer,
    };
    let fleet = Fleet::start(1, refuse).await;
    let client = fleet.builder().build().await.unwrap();
    assert!(matches!(client.put("a", "").await, Err(Error::Invalid { .. })));
    client.put("b", "").await.unwrap();
    assert_eq!(id_of(&fleet, "b").acknowledged, 1);
}

#[tokio::test]
async fn reads_have_no_id_and_two_clients_never_share_one() {
    let (fleet, _count) = fleet().await;
    let (one, two) = (fleet.builder().build().await.unwrap(), fleet.builder().build().await.unwrap());
    one.put("a", "").await.unwrap();
    two.put("b", "").await.unwrap();
    one.get("c").await.unwrap();
    assert_ne!(id_of(&fleet, "a").client, id_of(&fleet, "b").client);
    assert!(fleet.seen().iter().any(|seen| seen.method == "get" && seen.request.is_none()));
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The deadline of a write of this key, less the shard's time, in ms.
async fn good_for_ms(client: &Client, fleet: &Fleet, key: &str, shard_time_ms: u64) -> u64 {
    client.put(key.to_owned(), "").await.unwrap();
    id_of(fleet, key).deadline_ms - shard_time_ms
}

/// A little more than the operation may take, and far less than what a shard is asked to remember at most.
const GOOD_FOR_MS: std::ops::Range<u64> = 5_000..30_000;

#[tokio::test]
async fn deadlines_are_in_the_time_of_the_shard() {
    let (fleet, _count) = fleet().await;
    let client = fleet.builder().deadline(DEADLINE).build().await.unwrap();
    let unknown = good_for_ms(&client, &fleet, "{x}1", wall_ms()).await;
    assert!(GOOD_FOR_MS.contains(&unknown), "a shard never heard of is taken to have our time: {unknown}");

    // Its first answer said that it is still the first second of the epoch there.
    let early = good_for_ms(&client, &fleet, "{x}2", crate::fake::SHARD_TIME_MS).await;
    assert!(GOOD_FOR_MS.contains(&early), "{early}");

    let ahead = wall_ms() + 3_600_000;
    *fleet.sea.shard_time_ms.lock().unwrap() = ahead;
    client.get("{x}").await.unwrap();
    let late = good_for_ms(&client, &fleet, "{x}3", ahead).await;
    assert!(GOOD_FOR_MS.contains(&late), "{late}");
}

#[tokio::test]
async fn a_refused_deadline_is_unknown_but_corrects_the_clock() {
    let ahead = wall_ms() + 3_600_000;
    let script = move |seen: &Seen| match seen.before {
        0 => {
            let detail = ErrorDetail { shard_time_ms: ahead, ..ErrorDetail::default() };
            Does::Refuse(status::with_detail(Code::DeadlineExceeded, "the deadline has passed", &detail))
        }
        _ => Does::Answer,
    };
    let fleet = Fleet::start(1, script).await;
    let client = fleet.builder().deadline(DEADLINE).build().await.unwrap();
    let error = client.put("{x}1", "").await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert_eq!(fleet.seen().len(), 1, "the id would be refused for ever");
    let good_for = good_for_ms(&client, &fleet, "{x}2", ahead).await;
    assert!(GOOD_FOR_MS.contains(&good_for), "{good_for}");
}
