//! Requests of others, passed on.

use std::time::Duration;

use flotilla_client::Error;
use flotilla_client::dispatch::Target;
use flotilla_proto::{status, v1};
use flotilla_topology::{ShardId, Slot};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::fake::{Does, Fleet, Seen};

const WITHIN: Duration = Duration::from_secs(2);

fn put(key: &'static str, request: Option<v1::RequestId>) -> v1::PutRequest {
    v1::PutRequest { key: key.into(), value: "1".into(), ttl_ms: Some(9), request, route_mode: 0 }
}

#[tokio::test]
async fn an_id_stays_in_all_attempts_and_a_missing_one_is_filled_in() {
    let script =
        |seen: &Seen| if seen.before.is_multiple_of(2) { Does::ExecuteThenBreak } else { Does::Answer };
    let fleet = Fleet::start(1, script).await;
    let forwarder = fleet.builder().build().await.unwrap().forwarder(WITHIN);
    let id = v1::RequestId { client: Some(9.into()), sequence: 4, acknowledged: 1, deadline_ms: 5_000 };
    forwarder.put(put("a", Some(id))).await.unwrap();
    forwarder.put(put("b", None)).await.unwrap();
    let ids: Vec<_> = fleet.seen().into_iter().map(|seen| seen.request).collect();
    let [first, second, third, fourth] = ids[..] else { panic!("two attempts each: {ids:?}") };
    assert_eq!([first, second], [Some(id), Some(id)]);
    assert!(third.is_some() && third == fourth, "{third:?} and {fourth:?}");
    assert_ne!(third.unwrap().client, id.client);
    let redirect: i32 = v1::RouteMode::Redirect.into();
    assert!(fleet.seen().iter().all(|seen| seen.route_mode == redirect), "nobody forwards it twice");
}

#[tokio::test]
async fn a_refusal_keeps_its_code_until_another_attempt_ends_otherwise() {
    let script = |seen: &Seen| match seen.key.as_ref() {
        b"full" => Does::Refuse(status::exhausted(Some(1), 5_000, "full")),
        _ => Does::Redirect { leader: 0, term: 3 },
    };
    let fleet = Fleet::start(1, script).await;
    let client = fleet.builder().build().await.unwrap();
    let forwarder = client.forwarder(Duration::from_millis(200));
    let full = forwarder.put(put("full", None)).await.unwrap_err();
    assert_eq!(full.last.and_then(|last| last.code), Some(Code::ResourceExhausted));
    assert!(matches!(full.error, Error::NotExecuted { retry_after: Some(_), .. }), "{:?}", full.error);
    let leaderless = forwarder.put(put("ship", None)).await.unwrap_err();
    assert_eq!((leaderless.last, leaderless.shard.is_some()), (None, true));
}

#[tokio::test]
async fn the_way_is_known_to_who_has_been_there() {
    let script = |seen: &Seen| match seen.node {
        1 => Does::Redirect { leader: 2, term: 6 },
        _ => Does::Answer,
    };
    let fleet = Fleet::start(2, script).await;
    let client = fleet.builder().build().await.unwrap();
    let target = Target::Slot(Slot::of(b"ship"));
    let before = client.route(target).unwrap();
    assert_eq!((before.leader, before.slot), (None, Slot::of(b"ship")));
    // The first node asked may be the leader already; then the term is the one of its answer.
    client.forwarder(WITHIN).put(put("ship", None)).await.unwrap();
    let after = client.route(target).unwrap();
    assert_eq!(after.leader.map(|(node, _)| node.0), Some(2));
    assert_eq!(client.route(Target::Anyone), None);
}

#[tokio::test]
async fn a_scan_passes_page_by_page() {
    let fleet = Fleet::start(1, |_: &Seen| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    for key in ["a", "b", "c", "d"] {
        client.put(key, "").await.unwrap();
    }
    let forwarder = client.forwarder(WITHIN);
    let pages: Vec<_> = forwarder.scan(v1::ScanRequest::default()).map(Result::unwrap).collect().await;
    let sizes: Vec<usize> = pages.iter().map(|page| page.records.len()).collect();
    assert_eq!(sizes, [3, 1]);
    assert_eq!((pages[0].next.as_ref(), pages[1].next.as_ref()), (&b"c\0"[..], &b""[..]));
    let nothing = v1::ScanRequest { from: "b".into(), to: "a".into(), ..v1::ScanRequest::default() };
    let pages: Vec<_> = forwarder.scan(nothing).map(Result::unwrap).collect().await;
    assert_eq!(pages, [v1::ScanPage::default()], "who reads it must see an end");
}

/// The fake nodes do not say of which fleet they are.
#[tokio::test]
async fn nodes_of_no_known_fleet_are_not_believed() {
    let fleet = Fleet::start(1, |_: &Seen| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    let leaderless: Vec<u64> = client.find_leaders().await.into_iter().map(|ShardId(shard)| shard).collect();
    assert_eq!(leaderless, [0, 1, 2]);
}
