//! Pipelines through a router.

use flotilla_proto::limits::PIPELINE_OPERATIONS_MAX;
use flotilla_proto::status;
use flotilla_proto::v1;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use tonic::Code;
use tonic_health::ServingStatus;

use crate::fake::Does;
use crate::stage::Stage;

fn put(key: &str, value: impl Into<bytes::Bytes>) -> Operation {
    let request =
        v1::PutRequest { key: key.to_owned().into(), value: value.into(), ..v1::PutRequest::default() };
    Operation::Put(request)
}

fn get(key: &str, route_mode: v1::RouteMode) -> Operation {
    let route_mode = route_mode.into();
    Operation::Get(v1::GetRequest { key: key.to_owned().into(), route_mode, ..v1::GetRequest::default() })
}

#[track_caller]
fn is_written(outcome: Outcome) {
    let Outcome::Put(v1::PutResponse { outcome: Some(v1::put_response::Outcome::Result(_)) }) = outcome
    else {
        panic!("not written: {outcome:?}")
    };
}

#[tokio::test]
async fn operations_of_all_shards_come_back_by_their_ids() {
    let stage = Stage::set().await;
    // Node 2 leads the upper half: what goes there meets a redirect first.
    stage.fleet.sea.leaders.lock().unwrap().insert(2, (2, 4));
    let mut pipeline = stage.pipeline().await;
    let key = |id: u64| format!("key{id}");
    pipeline.send((0..100).map(|id| (id, put(&key(id), key(id))))).await;
    for id in 0..100 {
        is_written(pipeline.outcome(id).await);
    }
    pipeline.send((0..100).map(|id| (id, get(&key(id), v1::RouteMode::Proxy)))).await;
    for id in 0..100 {
        let Outcome::Get(response) = pipeline.outcome(id).await else { panic!("a get is answered by a get") };
        let Some(v1::get_response::Outcome::Result(result)) = response.outcome else {
            panic!("{response:?}")
        };
        assert_eq!(result.record.map(|record| record.value), Some(key(id).into()));
    }
    pipeline.send([(7, get("key1", v1::RouteMode::Redirect))]).await;
    let Outcome::Get(response) = pipeline.outcome(7).await else { panic!("a get is answered by a get") };
    assert!(matches!(response.outcome, Some(v1::get_response::Outcome::Redirect(_))), "{response:?}");
    let metrics = stage.http("/metrics").await.1;
    for line in [
        "kv_router_requests_total{op=\"put\",outcome=\"ok\"} 100",
        "kv_router_requests_total{op=\"get\",outcome=\"redirected\"} 1",
        "kv_router_epoch 1",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}

#[tokio::test]
async fn failures_are_the_operations_own() {
    let stage = Stage::set().await;
    let full = Does::Refuse(status::exhausted(Some(1), 10_000, "full"));
    *stage.fleet.sea.script.lock().unwrap() = vec![full];
    let mut pipeline = stage.pipeline().await;
    pipeline.send([(1, put("ship", "Argo"))]).await;
    let refused = pipeline.failure(1).await;
    let detail = refused.detail.expect("errors of ours carry a detail");
    assert_eq!((refused.code, detail.definite), (Code::ResourceExhausted as i32, true));

    pipeline.send([(2, put("", "Argo")), (3, put("ship", "Fram"))]).await;
    let wrong = pipeline.failure(2).await;
    let detail = wrong.detail.expect("errors of ours carry a detail");
    assert_eq!((wrong.code, detail.field.as_str()), (Code::InvalidArgument as i32, "key"));
    is_written(pipeline.outcome(3).await);
    pipeline.send_batch(vec![v1::PipelineOperation { id: 4, timeout_ms: 0, operation: None }]).await;
    assert_eq!(pipeline.failure(4).await.code, Code::InvalidArgument as i32);

    // A leader that does not answer costs what the asker is ready to wait, not the router's own deadline.
    *stage.fleet.sea.script.lock().unwrap() = vec![Does::AnswerLater];
    let began = std::time::Instant::now();
    let operation = Some(put("ship", "Vega"));
    pipeline.send_batch(vec![v1::PipelineOperation { id: 5, timeout_ms: 300, operation }]).await;
    let silent = pipeline.failure(5).await;
    assert_eq!((silent.code, silent.detail.map(|it| it.definite)), (Code::Unknown as i32, Some(false)));
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_does_not_fit_into_the_router_is_refused_and_the_rest_goes_on() {
    let stage = Stage::set_with(&[("--inflight-bytes-max", "10MiB")]).await;
    const PUTS: u64 = 12;
    *stage.fleet.sea.script.lock().unwrap() = vec![Does::AnswerLater; PUTS as usize];
    let mut pipeline = stage.pipeline().await;
    for batch in 0..PUTS / 3 {
        let operations = (3 * batch..3 * batch + 3).map(|id| (id, put("ship", vec![0; 1 << 20])));
        pipeline.send(operations).await;
    }
    // The first answer is a refusal: nothing else is answered before the fleet goes on.
    let mut refused = 0;
    let batch = pipeline.results.message().await.unwrap().unwrap();
    for result in batch.results {
        let Some(Outcome::Failure(failure)) = result.outcome else { panic!("{result:?}") };
        let definite = failure.detail.expect("errors of ours carry a detail").definite;
        assert_eq!((failure.code, definite), (Code::ResourceExhausted as i32, true));
        refused += 1;
    }
    assert!(refused <= 3, "more was refused than had to be: {refused}");
}

#[tokio::test]
async fn a_pipeline_outlives_the_loss_of_all_nodes() {
    let mut stage = Stage::set().await;
    let mut pipeline = stage.pipeline().await;
    for id in 0..4 {
        pipeline.send([(2 * id, put("ship", "Argo"))]).await;
        is_written(pipeline.outcome(2 * id).await);
        stage.fleet.sink();
        stage.until(ServingStatus::NotServing).await;
        pipeline.send([(2 * id + 1, put("ship", "lost"))]).await;
        let lost = pipeline.failure(2 * id + 1).await;
        assert_eq!(lost.code, Code::Unavailable as i32, "{lost:?}");
        assert!(lost.detail.expect("errors of ours carry a detail").definite, "it was never sent");
        stage.fleet.sail().await;
        stage.until(ServingStatus::Serving).await;
    }
}

#[tokio::test]
async fn a_pipeline_ends_with_its_router_after_what_was_under_way() {
    let stage = Stage::set().await;
    *stage.fleet.sea.script.lock().unwrap() = vec![Does::AnswerLater];
    let mut pipeline = stage.pipeline().await;
    pipeline.send([(1, put("ship", "Argo"))]).await;
    stage.fleet.sea.arrived.notified().await;
    stage.shut.send(()).unwrap();
    stage.fleet.sea.go_on.notify_one();
    is_written(pipeline.outcome(1).await);
    let end = pipeline.results.message().await.unwrap_err();
    assert_eq!(
        (end.code(), status::definite(&end)),
        (Code::Unavailable, true),
        "what is unanswered was not read"
    );
    stage.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_is_refused_unread_ends_the_stream_after_what_was_under_way() {
    let stage = Stage::set().await;
    *stage.fleet.sea.script.lock().unwrap() = vec![Does::AnswerLater];
    let mut pipeline = stage.pipeline().await;
    pipeline.send([(1, put("ship", "Argo"))]).await;
    stage.fleet.sea.arrived.notified().await;
    let too_many = vec![v1::PipelineOperation::default(); PIPELINE_OPERATIONS_MAX + 1];
    pipeline.send_batch(too_many).await;
    stage.fleet.sea.go_on.notify_one();
    is_written(pipeline.outcome(1).await);
    let end = pipeline.results.message().await.unwrap_err();
    assert_eq!((end.code(), status::definite(&end)), (Code::InvalidArgument, true));
    assert!(end.message().contains("4096"), "{end:?}");
}
