//! What the page says, read as text.

use flotilla_proto::v1;
use flotilla_topology::{ClusterMap, NodeId, NodeInfo, ShardId, plan_initial};

use super::super::report::Leader;
use super::*;

/// A fleet of two nodes and two shards; somebody gave node 2 an address to laugh about.
fn map() -> ClusterMap {
    let info = |client: &str| NodeInfo {
        client_addr: client.into(),
        peer_addr: "peer:1".into(),
        http_addr: "http:1".into(),
    };
    let nodes = [(NodeId(1), info("one:7501")), (NodeId(2), info("<b>&\":7502"))];
    plan_initial(0xF1, nodes.into(), 2, 2).unwrap()
}

/// The texts between the tags.
fn texts(html: &str) -> String {
    let body = html.split("</style>").nth(1).unwrap();
    let pieces = body.split('<').filter_map(|piece| piece.split_once('>'));
    let texts: Vec<&str> = pieces.map(|(_, text)| text.trim()).filter(|text| !text.is_empty()).collect();
    texts.join(" | ")
}

#[test]
fn a_node_shows_the_fleet_and_its_own_replicas() {
    let status = v1::StatusResponse {
        replicas: vec![v1::ReplicaStatus {
            shard: 1,
            role: v1::Role::Leader.into(),
            applied_index: 77,
            keys: 5,
            bytes: 600,
            slots: 8000,
            ..v1::ReplicaStatus::default()
        }],
        peers: vec![v1::PeerStatus { node: 2, connected: false }],
        ..v1::StatusResponse::default()
    };
    let leader = |shard| (shard == ShardId(1)).then_some(Leader { node: NodeId(1), term: 4 });
    let mut report = Report::of_node(NodeId(1), 9).with_map(&map(), leader).with_status(&status);
    report.set_missing(Some("shard 2 has no known leader".into()));
    let html = html(&report);
    let texts = texts(&html);
    for words in [
        "Flotilla: node 1",
        "not ready: shard 2 has no known leader",
        "cluster 000000000000000000000000000000f1, epoch 1",
        "1 | one:7501 | peer:1 | http:1 | this node",
        "2 | &lt;b&gt;&amp;&quot;:7502 | peer:1 | http:1 | no connection",
        "1 | node 1 | 4 | one:7501",
        "2 | not known | 0 | -",
        "1 | leader | 77 | 8000 | 5 | 600",
    ] {
        assert!(texts.contains(words), "the page does not say {words:?}: {texts}");
    }
    assert!(html.contains("prefers-color-scheme:dark") && html.contains("color-scheme:light dark"));
    for foreign in ["http://", "https://", "src=", "<script"] {
        assert!(!html.contains(foreign), "the page needs something else: {foreign}");
    }
}

#[test]
fn the_arcs_of_the_ring_cover_every_slot_once() {
    let report = Report::of_router(vec!["one:7501".into()], 9).with_map(&map(), |_| None);
    let page = html(&report);
    let arcs = page.split("stroke-dasharray=\"").skip(1);
    let lengths: u32 = arcs.filter_map(|arc| arc.split(' ').next()?.parse::<u32>().ok()).sum();
    assert_eq!(lengths, u32::from(SLOTS));
    assert!(!texts(&page).contains("Replicas here"), "a router has none");
}

#[test]
fn a_process_without_a_fleet_says_so() {
    let mut report = Report::of_router(vec![], 9);
    report.set_missing(Some("no node has answered yet".into()));
    let texts = texts(&html(&report));
    assert!(texts.contains("not ready: no node has answered yet"), "{texts}");
    assert!(texts.contains("cluster not known yet"), "{texts}");
}
