//! Transactions: what is asked arrives as it was meant, and all attempts are one write.

use std::time::Duration;

use flotilla_client::{Error, Txn, TxnAnswer};
use flotilla_proto::v1;

use crate::fake::{Does, Fleet, Seen};

#[tokio::test]
async fn one_of_two_lists_is_executed() {
    let fleet = Fleet::start(1, |_| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    let version = client.put("{a}1", "old").await.unwrap();
    let txn = Txn::new()
        .when_version("{a}1", version)
        .when_value("{a}1", "old")
        .when_exists("{a}1")
        .when_absent("{a}2")
        .put_with_ttl("{a}2", "new", Some(Duration::from_millis(70)))
        .get("{a}2")
        .delete("{a}1")
        .otherwise_get("{a}1")
        .otherwise_delete("{a}2")
        .otherwise_put("{a}3", "x");

    let first = client.txn(txn.clone()).await.unwrap();
    assert!(first.succeeded && !first.values_forgotten && first.version > version);
    let [TxnAnswer::Put(put), TxnAnswer::Got(Some(got)), TxnAnswer::Deleted(true)] = &first.results[..]
    else {
        panic!("{:?}", first.results);
    };
    assert_eq!((*put, got.version, got.bytes.as_ref()), (first.version, first.version, b"new".as_ref()));
    assert_eq!(got.expires, Some(70));

    let second = client.txn(txn).await.unwrap();
    assert!(!second.succeeded);
    let expected = [TxnAnswer::Got(None), TxnAnswer::Deleted(true), TxnAnswer::Put(second.version)];
    assert_eq!(second.results, expected);
}

#[tokio::test]
async fn a_lost_attempt_is_repeated_under_its_id() {
    let script = |seen: &Seen| if seen.before == 0 { Does::Break } else { Does::Answer };
    let fleet = Fleet::start(1, script).await;
    let client = fleet.builder().build().await.unwrap();
    client.txn(Txn::new().when_absent("a").put("a", "")).await.unwrap();
    let ids: Vec<_> = fleet.seen().into_iter().map(|seen| (seen.method, seen.request)).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids[0].1.is_some() && ids[0] == ids[1], "{ids:?}");
}

#[tokio::test]
async fn what_can_never_work_is_not_sent() {
    let fleet = Fleet::start(1, |_| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    let error = client.txn(Txn::new().get("a").get("b")).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "key"), "{error:?}");
    let forwarder = client.forwarder(Duration::from_secs(1));
    let refused = forwarder.txn(v1::TxnRequest::default()).await.unwrap_err();
    assert!(matches!(refused.error, Error::Invalid { .. }), "{refused:?}");
    assert!(fleet.seen().is_empty());
}

#[tokio::test]
async fn a_forwarded_transaction_keeps_its_id() {
    let fleet = Fleet::start(1, |_| Does::Answer).await;
    let forwarder = fleet.builder().build().await.unwrap().forwarder(Duration::from_secs(1));
    let id = v1::RequestId { client: Some(9.into()), sequence: 4, acknowledged: 1, deadline_ms: 5_000 };
    let compare = v1::Compare { key: "a".into(), condition: Some(v1::compare::Condition::Exists(false)) };
    let request = v1::TxnRequest { compares: vec![compare], request: Some(id), ..v1::TxnRequest::default() };
    let result = forwarder.txn(request.clone()).await.unwrap();
    assert!(result.succeeded);
    forwarder.txn(v1::TxnRequest { request: None, ..request }).await.unwrap();
    let ids: Vec<_> = fleet.seen().into_iter().map(|seen| seen.request).collect();
    assert_eq!(ids[0], Some(id));
    assert!(ids[1].is_some() && ids[1] != ids[0]);
}
