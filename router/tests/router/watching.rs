//! What a router knows of its fleet, and tells.

use std::sync::atomic::Ordering;

use flotilla_proto::v1;
use flotilla_proto::v1::cluster_client::ClusterClient;
use tonic::Code;

use crate::stage::Stage;

#[tokio::test]
async fn newer_maps_reach_who_watches() {
    let stage = Stage::set().await;
    let mut cluster = ClusterClient::new(stage.channel.clone());
    let mut maps = cluster.watch_map(v1::WatchMapRequest { known_epoch: 0 }).await.unwrap().into_inner();
    let first = maps.message().await.unwrap().unwrap().map.unwrap();
    assert_eq!((first.epoch, first.nodes.len(), first.shards.len()), (1, 3, 3));
    let mut newer = cluster.watch_map(v1::WatchMapRequest { known_epoch: 1 }).await.unwrap().into_inner();
    stage.fleet.sea.epoch.store(2, Ordering::Relaxed);
    for maps in [&mut maps, &mut newer] {
        assert_eq!(maps.message().await.unwrap().unwrap().map.unwrap().epoch, 2);
    }
    stage.shut.send(()).unwrap();
    assert!(maps.message().await.unwrap().is_none(), "who watches is let go at the end");
    drop(newer);
    stage.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_only_a_node_knows_is_asked_of_nodes() {
    let stage = Stage::set().await;
    let mut cluster = ClusterClient::new(stage.channel.clone());
    let refused = cluster.status(v1::StatusRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("ask a node"), "{refused:?}");
}

#[tokio::test]
async fn keys_and_the_status_are_there_over_http() {
    let stage = Stage::set().await;
    let (line, body) = stage.http_with("PUT", "/v1/kv/ship", "Argo").await;
    assert_eq!((line.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "{\"version\":1}\n"));
    assert_eq!(stage.http("/v1/kv/ship").await.1, "Argo");
    assert_eq!(stage.http("/v1/kv/boat").await.0, "HTTP/1.1 404 Not Found");
    let status = stage.http("/v1/status").await.1;
    for words in ["\"process\":\"router\"", "\"ready\":true", "\"epoch\":1", "\"leader\":1"] {
        assert!(status.contains(words), "no {words} in {status}");
    }
    assert!(stage.http("/").await.1.contains("Flotilla: router"));
}
