//! What a router does with requests, over a fleet of fake nodes.

use std::sync::Arc;

use flotilla_proto::{status, v1};
use tonic::Code;
use tonic_health::ServingStatus;

use crate::fake::{Does, FakeFleet};
use crate::stage::{Stage, written};

fn id(sequence: u64) -> v1::RequestId {
    v1::RequestId { client: Some(77.into()), sequence, acknowledged: 2, deadline_ms: 61_000 }
}

#[tokio::test]
async fn a_write_keeps_its_id_over_a_lost_attempt_and_gets_one_if_it_has_none() {
    let mut stage = Stage::set().await;
    *stage.fleet.sea.script.lock().unwrap() = vec![Does::ExecuteThenBreak];
    let request = v1::PutRequest {
        key: "ship".into(),
        value: "Bounty".into(),
        ttl_ms: Some(5),
        route_mode: v1::RouteMode::Proxy.into(),
        request: Some(id(3)),
    };
    let result = written(stage.kv.put(request.clone()).await.unwrap().into_inner());
    let stamp = result.stamp.expect("the answer comes as the node made it");
    assert_eq!((stamp.version, stamp.shard_time_ms), (result.version, 1_000));
    let forwarded = v1::PutRequest { route_mode: v1::RouteMode::Redirect.into(), ..request };
    assert_eq!(*stage.fleet.sea.writes.lock().unwrap(), [forwarded.clone(), forwarded]);

    *stage.fleet.sea.script.lock().unwrap() = vec![Does::ExecuteThenBreak];
    written(stage.put("boat", "Zora").await.unwrap());
    let writes = stage.fleet.sea.writes.lock().unwrap();
    let [.., first, second] = &writes[..] else { panic!("two attempts: {writes:?}") };
    assert!(first.request.is_some_and(|id| id.client != Some(77.into())), "{first:?}");
    assert_eq!(first.request, second.request, "all attempts are one write");
}

#[tokio::test]
async fn reads_pass_with_their_consistency_and_scans_survive_a_break() {
    let mut stage = Stage::set().await;
    for key in ["a", "b", "c"] {
        written(stage.put(key, "1").await.unwrap());
    }
    let consistency = v1::Consistency::Stale.into();
    let request = v1::GetRequest { key: "b".into(), consistency, ..v1::GetRequest::default() };
    let answer = stage.kv.get(request).await.unwrap().into_inner().outcome;
    let Some(v1::get_response::Outcome::Result(result)) = answer else { panic!("{answer:?}") };
    assert_eq!(result.record.map(|record| record.value), Some("1".into()));
    assert_eq!(result.lag, Some(v1::Lag { entries: 3, silence_ms: 4 }));
    assert_eq!(stage.fleet.sea.reads.lock().unwrap()[0].consistency, consistency);

    let mut pages = stage.kv.scan(v1::ScanRequest::default()).await.unwrap().into_inner();
    let mut keys = Vec::new();
    while let Some(response) = pages.message().await.unwrap() {
        let Some(v1::scan_response::Outcome::Result(page)) = response.outcome else { panic!("a redirect") };
        keys.extend(page.records.into_iter().map(|record| record.key));
    }
    assert_eq!(keys, ["a", "b", "c"]);
}

#[tokio::test]
async fn who_asks_the_way_is_told_the_newest_leader_without_any_request_before() {
    let mut stage = Stage::set().await;
    let ask = || v1::GetRequest {
        key: "ship".into(),
        route_mode: v1::RouteMode::Redirect.into(),
        ..v1::GetRequest::default()
    };
    let way = |outcome| match outcome {
        Some(v1::get_response::Outcome::Redirect(to)) => (to.term, to.leader_node, to.leader_addr),
        other => panic!("not the way: {other:?}"),
    };
    let first = way(stage.kv.get(ask()).await.unwrap().into_inner().outcome);
    assert_eq!(first, (1, 1, stage.fleet.sea.addresses[0].clone()));

    for leader in stage.fleet.sea.leaders.lock().unwrap().values_mut() {
        *leader = (2, 5);
    }
    // A forwarded request finds the new leader, and what it learned is told.
    written(stage.put("ship", "Endeavour").await.unwrap());
    let second = way(stage.kv.get(ask()).await.unwrap().into_inner().outcome);
    assert_eq!(second, (5, 2, stage.fleet.sea.addresses[1].clone()));
    assert!(stage.fleet.sea.reads.lock().unwrap().is_empty(), "who asks the way is not forwarded");
}

#[tokio::test]
async fn errors_say_truthfully_what_may_have_happened() {
    let mut stage = Stage::set().await;
    let full = || Does::Refuse(status::exhausted(Some(1), 10_000, "full"));
    *stage.fleet.sea.script.lock().unwrap() = vec![full()];
    let refused = stage.put("ship", "1").await.unwrap_err();
    let detail = status::detail(&refused).expect("errors of ours carry a detail");
    assert_eq!(
        (refused.code(), detail.definite, detail.retry_after_ms),
        (Code::ResourceExhausted, true, 10_000)
    );

    // The first attempt is lost and may have been executed; that the second was refused changes nothing.
    *stage.fleet.sea.script.lock().unwrap() = vec![Does::ExecuteThenBreak, full()];
    let lost = stage.put("ship", "2").await.unwrap_err();
    assert_eq!((lost.code(), status::detail(&lost).map(|it| it.definite)), (Code::Unknown, Some(false)));

    let wrong = Does::Refuse(status::invalid("value", "too long"));
    *stage.fleet.sea.script.lock().unwrap() = vec![wrong];
    let invalid = stage.put("ship", "3").await.unwrap_err();
    let detail = status::detail(&invalid).unwrap();
    assert_eq!((invalid.code(), detail.field.as_str()), (Code::InvalidArgument, "value"));
    let empty = stage.put("", "4").await.unwrap_err();
    assert_eq!(status::detail(&empty).unwrap().field, "key");
}

#[tokio::test]
async fn without_nodes_nothing_happens_and_with_them_all_goes_on() {
    let mut stage = Stage::before(FakeFleet::anchored().await).await;
    for _ in 0..2 {
        stage.until(ServingStatus::NotServing).await;
        assert_eq!(stage.http("/healthz").await.0, "HTTP/1.1 200 OK");
        assert_eq!(stage.http("/readyz").await.0, "HTTP/1.1 503 Service Unavailable");
        let refused = stage.put("ship", "lost").await.unwrap_err();
        assert_eq!((refused.code(), status::definite(&refused)), (Code::Unavailable, true), "{refused:?}");

        stage.fleet.sail().await;
        stage.until(ServingStatus::Serving).await;
        assert_eq!(stage.http("/readyz").await.0, "HTTP/1.1 200 OK");
        written(stage.put("ship", "found").await.unwrap());
        stage.fleet.sink();
    }
    let values: Vec<_> =
        stage.fleet.sea.writes.lock().unwrap().iter().map(|write| write.value.clone()).collect();
    assert_eq!(values, ["found", "found"]);
}

#[tokio::test]
async fn a_request_under_way_ends_before_the_router_does() {
    let mut stage = Stage::set().await;
    *stage.fleet.sea.script.lock().unwrap() = vec![Does::AnswerLater];
    let sea = Arc::clone(&stage.fleet.sea);
    let mut kv = stage.kv.clone();
    let request = v1::PutRequest { key: "ship".into(), value: "1".into(), ..v1::PutRequest::default() };
    let under_way = tokio::spawn(async move { kv.put(request).await });
    sea.arrived.notified().await;
    stage.shut.send(()).unwrap();
    stage.health.message().await.ok();
    sea.go_on.notify_one();
    written(under_way.await.unwrap().unwrap().into_inner());
    // The watch of health is a request under way too.
    drop((stage.health, stage.kv));
    stage.ended.await.unwrap().unwrap();
}
