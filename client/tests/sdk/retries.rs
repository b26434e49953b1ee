//! What the client does when nodes redirect, refuse, break off or stay silent; and what it then says of the write.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use flotilla_client::{Client, Error, Swap};
use flotilla_proto::status;
use tokio::net::TcpListener;

use crate::fake::{Does, Fleet};

const SHORT: Duration = Duration::from_millis(400);

/// A fleet whose leader of everything is this node.
async fn led_by(leader: u64) -> Fleet {
    let script = move |seen: &crate::fake::Seen| match seen.node == leader {
        true => Does::Answer,
        false => Does::Redirect { leader, term: 1 },
    };
    Fleet::start(3, script).await
}

#[tokio::test]
async fn the_verbs_do_what_they_say() {
    let fleet = led_by(1).await;
    let client = fleet.builder().build().await.unwrap();
    assert_eq!(client.get("ship").await.unwrap(), None);
    let version = client.put("ship", "Bounty").await.unwrap();
    let value = client.get("ship").await.unwrap().unwrap();
    assert_eq!((value.bytes.as_ref(), value.version), (b"Bounty".as_ref(), version));
    assert_eq!(client.get_stale("ship").await.unwrap().value, Some(value.clone()));

    let conflict = client.compare_and_swap("ship", 0, "Pinta").await.unwrap();
    assert_eq!(conflict, Swap::Conflict(Some(value)));
    let Swap::Swapped(newer) = client.compare_and_swap("ship", version, "Pinta").await.unwrap() else {
        panic!("the version was right");
    };
    assert!(newer > version);
    assert!(client.delete("ship").await.unwrap());
    assert!(!client.delete("ship").await.unwrap());
    assert_eq!(client.compare_and_swap("ship", 7, "x").await.unwrap(), Swap::Conflict(None));
}

#[tokio::test]
async fn a_redirect_is_followed_once_and_then_remembered() {
    let fleet = led_by(3).await;
    let client = fleet.builder().build().await.unwrap();
    client.put("ship", "Bounty").await.unwrap();
    client.put("ship", "Pinta").await.unwrap();
    client.get("ship").await.unwrap();
    assert_eq!(fleet.nodes_asked("put"), [1, 3, 3]);
    assert_eq!(fleet.nodes_asked("get"), [3]);
}

#[tokio::test]
async fn nodes_that_point_at_each_other_end_as_surely_not_executed() {
    let fleet = Fleet::start(2, |seen| Does::Redirect { leader: 3 - seen.node, term: 1 }).await;
    let client = fleet.builder().deadline(SHORT).build().await.unwrap();
    let error = client.put("ship", "Bounty").await.unwrap_err();
    assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
    let attempts = fleet.seen().len();
    assert!((4..100).contains(&attempts), "{attempts} attempts in {SHORT:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_a_write_unknown_and_a_read_not() {
    let fleet = Fleet::start(3, |_| Does::Break).await;
    let client = fleet.builder().deadline(SHORT).build().await.unwrap();
    let error = client.put("ship", "Bounty").await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    let error = client.get("ship").await.unwrap_err();
    assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
}

#[tokio::test]
async fn after_one_lost_attempt_refusals_do_not_make_it_surely_not_executed() {
    let mut first = true;
    let script = move |_: &crate::fake::Seen| match std::mem::take(&mut first) {
        true => Does::ExecuteThenBreak,
        false => Does::Refuse(status::unavailable(Some(1), 0, "no leader")),
    };
    let fleet = Fleet::start(3, script).await;
    let client = fleet.builder().deadline(SHORT).build().await.unwrap();
    let error = client.put("ship", "Bounty").await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert!(fleet.sea.records.lock().unwrap().contains_key("ship".as_bytes()), "it was executed indeed");
}

#[tokio::test]
async fn all_attempts_of_a_write_carry_one_id() {
    let mut attempts = 0;
    let script = move |_: &crate::fake::Seen| {
        attempts += 1;
        if attempts < 4 { Does::Break } else { Does::Answer }
    };
    let fleet = Fleet::start(3, script).await;
    let client = fleet.builder().build().await.unwrap();
    client.put("ship", "Bounty").await.unwrap();
    let ids: Vec<_> = fleet.seen().into_iter().map(|seen| seen.request.unwrap()).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    client.put("ship", "Pinta").await.unwrap();
    let last = fleet.seen().pop().unwrap().request.unwrap();
    assert_eq!((last.client, last.sequence), (ids[0].client, ids[0].sequence + 1));
}

#[tokio::test]
async fn refusals_of_all_attempts_end_as_not_executed_with_the_hint() {
    let fleet = Fleet::start(3, |_| Does::Refuse(status::exhausted(Some(1), 150, "full"))).await;
    let client = fleet.builder().deadline(SHORT).build().await.unwrap();
    let error = client.put("ship", "Bounty").await.unwrap_err();
    let hint = Some(Duration::from_millis(150));
    assert!(matches!(&error, Error::NotExecuted { retry_after, .. } if *retry_after == hint), "{error:?}");
    assert!((2..=4).contains(&fleet.seen().len()), "the hint was heeded: {} attempts", fleet.seen().len());
}

#[tokio::test]
async fn what_is_invalid_is_not_tried_again() {
    let fleet = Fleet::start(3, |_| Does::Refuse(status::invalid("value", "too long"))).await;
    let client = fleet.builder().build().await.unwrap();
    let error = client.put("ship", "Bounty").await.unwrap_err();
    assert_eq!(error, Error::Invalid { field: "value".into(), message: "too long".into() });
    assert_eq!(fleet.seen().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_sent_at_all_is_refused_here() {
    let fleet = led_by(1).await;
    let client = fleet.builder().build().await.unwrap();
    for (key, value_bytes) in [(vec![], 1), (b"key".to_vec(), 5 << 20), (vec![b'k'; 5 << 20], 0)] {
        let error = client.put(key, vec![0; value_bytes]).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    }
    assert!(fleet.seen().is_empty());
}

/// A suspended leader keeps its connections open and says nothing.
#[tokio::test]
async fn a_silent_leader_is_left_for_another() {
    let fleet = Fleet::start(3, |seen| if seen.node == 2 { Does::Answer } else { Does::Hang }).await;
    let patience = Duration::from_millis(200);
    let client = fleet.builder().attempt_timeout(patience).build().await.unwrap();
    let began = Instant::now();
    client.put("ship", "Bounty").await.unwrap();
    assert!(began.elapsed() >= patience);
    assert_eq!(fleet.nodes_asked("put"), [1, 2]);
    client.put("ship", "Pinta").await.unwrap();
    assert_eq!(fleet.nodes_asked("put"), [1, 2, 2], "who answered is asked first from then on");
}

/// An address where nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn one_endpoint_that_is_up_suffices() {
    let fleet = led_by(1).await;
    let mut endpoints = vec![fleet.sea.addresses[0].clone()];
    for _ in 0..4 {
        endpoints.push(nowhere().await);
    }
    for through in [false, true] {
        let builder = Client::builder(endpoints.clone()).through_endpoints(through);
        let client = builder.build().await.unwrap();
        for key in 0..20 {
            client.put(format!("key{key}"), "value").await.unwrap();
        }
    }
}

#[tokio::test]
async fn without_anyone_up_no_client_is_made() {
    let error = Client::builder([nowhere().await]).deadline(SHORT).build().await.unwrap_err();
    assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
    let error = Client::builder(Vec::<String>::new()).build().await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
}

/// Only a failure to connect is known to have executed nothing; hence connections are made before anything is sent.
#[tokio::test]
async fn a_leader_that_nobody_can_connect_to_is_surely_not_executed() {
    let gone = nowhere().await;
    let fleet = Fleet::start_with(1, vec![gone], |_| Does::Redirect { leader: 2, term: 1 }).await;
    let client = fleet.builder().deadline(SHORT).build().await.unwrap();
    let error = client.put("ship", "Bounty").await.unwrap_err();
    assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
}

/// A connection that worked before is no better than none once its node is gone: it must not be tried blindly, or the
/// refusal could not be told from a loss.
#[tokio::test]
async fn a_leader_that_ended_meanwhile_is_surely_not_executed() {
    let mut fleet = Fleet::start(1, |_| Does::Answer).await;
    let client = fleet.builder().deadline(SHORT).build().await.unwrap();
    client.put("ship", "Bounty").await.unwrap();
    fleet.sink(1).await;
    let _ = client.get("ship").await.unwrap_err();
    let error = client.put("ship", "Pinta").await.unwrap_err();
    assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
}

#[tokio::test]
async fn through_endpoints_everything_is_forwarded_by_them() {
    let fleet = Fleet::start(2, |_| Does::Answer).await;
    let endpoint = fleet.sea.addresses[1].clone();
    let client = Client::builder([endpoint]).through_endpoints(true).build().await.unwrap();
    for key in 0..20 {
        client.put(format!("key{key}"), "value").await.unwrap();
    }
    let asked: BTreeSet<u64> = fleet.nodes_asked("put").into_iter().collect();
    assert_eq!(asked, BTreeSet::from([2]), "never straight to the nodes of the map");
    let proxy = i32::from(flotilla_proto::v1::RouteMode::Proxy);
    assert!(fleet.seen().iter().all(|seen| seen.route_mode == proxy));
}
