//! Keys over HTTP, in front of a `Kv` in memory.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use flotilla_proto::status;
use flotilla_proto::v1::ErrorDetail;
use tonic::{Code, Status};

use crate::fake::{Stage, VALUE_BYTES_MAX};

mod encrypted;
mod fake;

#[tokio::test]
async fn a_key_is_written_read_and_deleted() {
    let stage = Stage::set().await;
    let put = stage.ask("PUT", "/v1/kv/ship?ttl=30s", "", b"Argo").await;
    assert_eq!((put.status, put.body.as_slice()), (200, &b"{\"version\":10}\n"[..]));
    assert_eq!((put.header("flotilla-version"), put.header("etag")), ("10", "\"10\""));
    let get = stage.ask("GET", "/v1/kv/ship", "", b"").await;
    assert_eq!((get.status, get.body.as_slice()), (200, &b"Argo"[..]));
    assert_eq!(get.header("content-type"), "application/octet-stream");
    assert_eq!(get.header("flotilla-version"), "10");
    assert_eq!(get.header("flotilla-expires-ms"), "31000");
    assert_eq!(get.header("flotilla-shard"), "3");
    assert_eq!(get.header("flotilla-lag-entries"), "", "only a stale answer lags");
    let stale = stage.ask("GET", "/v1/kv/ship?consistency=stale", "", b"").await;
    assert_eq!(stale.header("flotilla-lag-entries"), "2");
    let head = stage.ask("HEAD", "/v1/kv/ship", "", b"").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "4", 0));
    let known = stage.ask("GET", "/v1/kv/ship", "if-none-match: \"10\"\r\n", b"").await;
    assert_eq!((known.status, known.body.len()), (304, 0));

    for existed in [true, false] {
        let deleted = stage.ask("DELETE", "/v1/kv/ship", "", b"").await;
        assert_eq!(
            (deleted.status, deleted.body),
            (200, format!("{{\"existed\":{existed}}}\n").into_bytes())
        );
    }
    let missing = stage.ask("GET", "/v1/kv/ship", "", b"").await;
    assert_eq!((missing.status, &missing.error()["code"]), (404, &"NOT_FOUND".into()));
    stage.strike().await;
}

#[tokio::test]
async fn keys_and_values_are_bytes() {
    let stage = Stage::set().await;
    let value: Vec<u8> = (0..64).map(|byte| byte * 4).collect();
    assert_eq!(stage.ask("PUT", "/v1/kv/%00%FF%2f%25", "", &value).await.status, 200);
    assert!(stage.kv.records.lock().unwrap().contains_key(&Bytes::from_static(b"\0\xFF/%")));
    assert_eq!(stage.ask("GET", "/v1/kv/%00%ff%2F%25", "", b"").await.body, value);
    assert_eq!(stage.ask("PUT", "/v1/kv/empty", "", b"").await.status, 200);
    assert_eq!(stage.ask("GET", "/v1/kv/empty", "", b"").await.body, b"");
    for path in ["/v1/kv/", "/v1/kv", "/v1/kv/%", "/v1/kv/k?verison=1"] {
        let refused = stage.ask("PUT", path, "", b"x").await;
        assert_eq!((refused.status, &refused.error()["definite"]), (400, &true.into()), "{path}");
    }
    let verb = stage.ask("POST", "/v1/kv/k", "", b"x").await;
    assert_eq!((verb.status, verb.header("allow")), (405, "GET, HEAD, PUT, DELETE"));
    assert_eq!(stage.ask("GET", "/v2/kv/k", "", b"").await.status, 404);
    assert_eq!(stage.kv.records.lock().unwrap().len(), 2, "what was refused was not written");
}

#[tokio::test]
async fn a_comparison_that_fails_tells_the_version_it_met() {
    let stage = Stage::set().await;
    assert_eq!(stage.ask("PUT", "/v1/kv/ship?version=0", "", b"Argo").await.status, 200);
    let conflict = stage.ask("PUT", "/v1/kv/ship?version=0", "", b"Fram").await;
    assert_eq!((conflict.status, conflict.header("flotilla-version")), (409, "10"));
    assert_eq!(conflict.error()["version"], 10);
    let header = stage.ask("PUT", "/v1/kv/ship", "if-none-match: *\r\n", b"Fram").await;
    assert_eq!(header.status, 412, "a header's comparison fails as HTTP has it");
    let absent = stage.ask("PUT", "/v1/kv/boat?version=7", "", b"Fram").await;
    assert_eq!((absent.status, absent.error()["version"].clone()), (409, 0.into()));
    let swapped = stage.ask("PUT", "/v1/kv/ship", "if-match: \"10\"\r\n", b"Fram").await;
    assert_eq!((swapped.status, swapped.header("flotilla-version")), (200, "20"));

    let kept = stage.ask("DELETE", "/v1/kv/ship?version=10", "", b"").await;
    assert_eq!((kept.status, kept.error()["version"].clone()), (409, 20.into()));
    let gone = stage.ask("DELETE", "/v1/kv/ship?version=20", "", b"").await;
    assert_eq!((gone.status, gone.body.as_slice()), (200, &b"{\"existed\":true}\n"[..]));
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_before_it_is_read() {
    let stage = Stage::set().await;
    // The body never comes: who waited for it would wait for ever.
    let head = "PUT /v1/kv/k HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\n";
    let stated = stage.raw(head.as_bytes()).await;
    assert_eq!((stated.status, &stated.error()["definite"]), (413, &true.into()));
    let chunk = "a".repeat(VALUE_BYTES_MAX + 1);
    let unstated = format!(
        "PUT /v1/kv/k HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
        chunk.len()
    );
    assert_eq!(stage.raw(unstated.as_bytes()).await.status, 413);
    stage.break_off("/v1/kv/k").await;
    // What comes after the end of the server cannot come before: every request has ended then.
    let kv = stage.kv.clone();
    stage.strike().await;
    assert_eq!(kv.records.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn errors_keep_their_meaning() {
    let stage = Stage::set().await;
    let late = status::with_detail(Code::DeadlineExceeded, "late", &ErrorDetail::default());
    let told = [
        (status::invalid("key", "too long"), 400, true, ""),
        (status::invalid("value", "too long"), 413, true, ""),
        (status::exhausted(Some(1), 40, "full"), 429, true, "1"),
        (status::unavailable(Some(1), 2_500, "no leader"), 503, true, "3"),
        (status::unknown(Some(1), "lost office"), 504, false, ""),
        (late, 504, false, ""),
        // Made by the gRPC layer: nobody knows.
        (Status::unavailable("connection reset"), 503, false, ""),
    ];
    for (failure, code, definite, retry_after) in told {
        *stage.kv.failure.lock().unwrap() = Some(failure.clone());
        let answer = stage.ask("PUT", "/v1/kv/k", "", b"x").await;
        assert_eq!(answer.status, code, "{failure:?}");
        assert_eq!(answer.error()["definite"], definite, "{failure:?}");
        assert_eq!(answer.header("retry-after"), retry_after, "{failure:?}");
    }
    assert_eq!(stage.ask("GET", "/v1/kv/k", "", b"").await.error()["retry_after_ms"], 0);
    *stage.kv.silent.lock().unwrap() = true;
    for (method, definite) in [("PUT", false), ("GET", true)] {
        let silent = stage.ask(method, "/v1/kv/k", "", b"").await;
        assert_eq!((silent.status, &silent.error()["definite"]), (504, &definite.into()), "{method}");
    }
}

#[tokio::test]
async fn a_process_without_a_fleet_answers_what_it_can() {
    let stage = Stage::set().await;
    *stage.process.open.lock().unwrap() = false;
    assert_eq!(stage.ask("GET", "/healthz", "", b"").await.status, 200);
    let unready = stage.ask("GET", "/readyz", "", b"").await;
    assert_eq!((unready.status, unready.body.as_slice()), (503, &b"no fleet\n"[..]));
    let refused = stage.ask("PUT", "/v1/kv/k", "", b"x").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    let report = stage.ask("GET", "/v1/status", "", b"").await;
    let report: serde_json::Value = serde_json::from_slice(&report.body).unwrap();
    assert_eq!((&report["process"], &report["missing"]), (&"router".into(), &"no fleet".into()));
    let page = String::from_utf8(stage.ask("GET", "/", "", b"").await.body).unwrap();
    assert!(page.contains("not ready: no fleet"), "{page}");

    *stage.process.open.lock().unwrap() = true;
    assert_eq!(stage.ask("GET", "/readyz", "", b"").await.status, 200);
    let metrics = stage.ask("GET", "/metrics", "", b"").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(metrics.body, b"kv_process_uptime_seconds 5\n");
}
