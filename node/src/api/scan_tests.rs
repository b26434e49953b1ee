//! Scans of clients that go away.

use std::time::Duration;

use flotilla_store::disk;
use flotilla_topology::{NodeId, NodeInfo, plan_initial};
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_stream::StreamExt;

use super::*;
use crate::config::{Bytes as Size, Limits};
use crate::runtime::{Inbox, NodeBase, Runtime};

/// Longer than anything here takes: whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);

const SHARDS: u64 = 4;

/// A node whose worker never comes to answer.
fn front(base: NodeBase, inbox: &Arc<Inbox>) -> Arc<Front> {
    let node = NodeId(1);
    let address = |port: u16| format!("host:{port}");
    let info = NodeInfo { client_addr: address(1), peer_addr: address(2), http_addr: address(3) };
    let map = plan_initial(7, [(node, info)].into(), SHARDS, 1).expect("a plan");
    let limits = Limits {
        key_bytes_max: Size(1 << 10),
        value_bytes_max: Size(1 << 20),
        batch_bytes_max: Size(1 << 20),
        deadline_max_ms: 60_000,
    };
    let runtime = Arc::new(Runtime::without_threads(base, &[Arc::clone(inbox)]));
    let (_, maps) = watch::channel(Some(Arc::new(map)));
    Arc::new(Front::new(node, runtime, limits, maps, 1 << 20, None))
}

async fn waiting(front: &Front, count: usize) {
    let reached = async {
        while front.runtime.waiting() != count {
            tokio::task::yield_now().await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "{} wait instead of {count}", front.runtime.waiting());
}

/// Each abandoned scan once went on to wait for its page, and had it read, for nobody.
#[tokio::test]
async fn a_scan_whose_client_is_gone_waits_for_nothing_any_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = NodeBase::open(directory.path(), disk::Options::default()).expect("a new base");
    let inbox = Arc::new(Inbox::new(1 << 20, 1));
    let front = front(base, &inbox);
    let all = ScanRequest::default();
    let one = |route_mode: v1::RouteMode| ScanRequest {
        shard: Some(1),
        route_mode: route_mode.into(),
        ..ScanRequest::default()
    };
    for (request, questions) in
        [(one(v1::RouteMode::Redirect), 1), (one(v1::RouteMode::Proxy), 1), (all, SHARDS as usize)]
    {
        let mut pages = scan(&front, request).await.expect("a stream").into_inner();
        assert!(pages.next().now_or_never().is_none(), "nobody can have answered");
        waiting(&front, questions).await;
        drop(pages);
        waiting(&front, 0).await;
    }
}
