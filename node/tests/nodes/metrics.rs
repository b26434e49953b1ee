//! What three whole nodes show under `/metrics` after clients wrote and read: every name of the contract, and numbers that
//! agree with what was done.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_proto::v1::cluster_client::ClusterClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fleet::{Fleet, PATIENCE, SHARDS};

const SLOTS: f64 = 16_384.0;

/// The metrics that users rely on: names and labels, the suffixes of histograms aside.
const CONTRACT: &[(&str, &[&str])] = &[
    ("kv_shard_leader", &["shard"]),
    ("kv_shard_term", &["shard"]),
    ("kv_shard_commit_index", &["shard"]),
    ("kv_shard_applied_index", &["shard"]),
    ("kv_shard_ops_total", &["op", "outcome", "shard"]),
    ("kv_shard_proposals_total", &["shard"]),
    ("kv_shard_commit_seconds_bucket", &["le", "shard"]),
    ("kv_shard_commit_seconds_sum", &["shard"]),
    ("kv_shard_commit_seconds_count", &["shard"]),
    ("kv_shard_elections_total", &["shard"]),
    ("kv_shard_replica_lag_entries", &["replica", "shard"]),
    ("kv_shard_snapshots_total", &["direction", "shard"]),
    ("kv_shard_keys", &["shard"]),
    ("kv_shard_bytes", &["shard"]),
    ("kv_shard_slots", &["shard"]),
    ("kv_wal_fsync_seconds_bucket", &["le"]),
    ("kv_wal_fsync_seconds_count", &[]),
    ("kv_wal_batch_bytes_bucket", &["le"]),
    ("kv_wal_batch_bytes_sum", &[]),
    ("kv_wal_batch_shards_bucket", &["le"]),
    ("kv_wal_batch_shards_count", &[]),
    ("kv_wal_segments", &[]),
    ("kv_wal_bytes", &[]),
    ("kv_disk_free_bytes", &[]),
    ("kv_disk_total_bytes", &[]),
    ("kv_peer_bytes_total", &["direction", "peer"]),
    ("kv_peer_frames_total", &["direction", "peer"]),
    ("kv_inbox_bytes", &[]),
    ("kv_overlay_bytes", &[]),
];

/// One line of a scrape.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    /// `name{label="value",…} number`, with values that need no escapes.
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?} has no value"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end")),
            None => (series, ""),
        };
        let label = |pair: &str| {
            let (label, value) = pair.split_once('=').unwrap_or_else(|| panic!("{line:?}: {pair:?}"));
            (label.to_string(), value.trim_matches('"').to_string())
        };
        let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(label).collect();
        let value = value.parse().unwrap_or_else(|_| panic!("{line:?}: {value:?} is no number"));
        Self { name: name.to_string(), labels, value }
    }

    fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(label, value)| self.labels.get(*label).is_some_and(|found| found == value))
    }
}

/// What all nodes show, one after the other.
struct Scrapes(Vec<Vec<Sample>>);

impl Scrapes {
    fn all(&self) -> impl Iterator<Item = &Sample> {
        self.0.iter().flatten()
    }

    /// The sum over all nodes.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all().filter(|sample| sample.name == name && sample.has(labels)).map(|sample| sample.value).sum()
    }

    fn ops(&self, op: &str, outcome: &str) -> f64 {
        self.sum("kv_shard_ops_total", &[("op", op), ("outcome", outcome)])
    }

    /// Whether each shard, the meta shard too, has exactly one leader.
    fn each_has_one_leader(&self) -> bool {
        (0..=SHARDS).all(|shard| self.sum("kv_shard_leader", &[("shard", &shard.to_string())]) == 1.0)
    }
}

/// What nodes show.
trait Scraped {
    /// One of them.
    async fn scrape(&self, number: usize) -> Vec<Sample>;

    /// All three.
    async fn scrape_all(&self) -> Scrapes;
}

impl Scraped for Fleet {
    async fn scrape(&self, number: usize) -> Vec<Sample> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[number][2])).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
        let types: Vec<&str> = body.lines().filter(|line| line.starts_with("# TYPE ")).collect();
        assert_eq!(
            types.iter().collect::<BTreeSet<_>>().len(),
            types.len(),
            "a family comes twice: {types:?}"
        );
        body.lines().filter(|line| !line.starts_with('#')).map(Sample::parse).collect()
    }

    async fn scrape_all(&self) -> Scrapes {
        Scrapes(vec![self.scrape(0).await, self.scrape(1).await, self.scrape(2).await])
    }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("key-{number:03}"))
}

fn put(key: Bytes) -> v1::PutRequest {
    v1::PutRequest { key, value: Bytes::from_static(b"value"), ..v1::PutRequest::default() }
}

fn get(key: Bytes, route_mode: v1::RouteMode) -> v1::GetRequest {
    v1::GetRequest { key, route_mode: route_mode.into(), ..v1::GetRequest::default() }
}

/// 60 puts, 60 gets that find, 5 that do not, two deletes, two swaps: through all nodes in turn.
async fn work(fleet: &Fleet) {
    for number in 0..60 {
        fleet.kv(number as usize % 3).await.put(put(key(number))).await.unwrap();
    }
    for number in 0..65 {
        fleet.kv(number as usize % 3).await.get(get(key(number), v1::RouteMode::Proxy)).await.unwrap();
    }
    let mut node = fleet.kv(0).await;
    for number in [7, 100] {
        let request = v1::DeleteRequest { key: key(number), ..v1::DeleteRequest::default() };
        node.delete(request).await.unwrap();
    }
    for _ in 0..2 {
        let request = v1::CompareAndSwapRequest {
            key: Bytes::from_static(b"lock"),
            value: Bytes::from_static(b"mine"),
            ..v1::CompareAndSwapRequest::default()
        };
        node.compare_and_swap(request).await.unwrap();
    }
}

/// How many keys the shards have. A follower may hear of the last commits after its flush: the fullest base counts.
fn keys_of_leaders(scrapes: &Scrapes) -> f64 {
    let mut keys: BTreeMap<&str, f64> = BTreeMap::new();
    let meta = [("shard", "0")];
    for sample in scrapes.all().filter(|sample| sample.name == "kv_shard_keys" && !sample.has(&meta)) {
        let most = keys.entry(&sample.labels["shard"]).or_default();
        *most = most.max(sample.value);
    }
    keys.values().sum()
}

fn check_names(scrapes: &Scrapes) {
    for (number, samples) in scrapes.0.iter().enumerate() {
        for (name, labels) in CONTRACT {
            // Only a leader knows how far the others are, and three nodes lead five shards.
            let found = if *name == "kv_shard_replica_lag_entries" {
                scrapes.all().find(|sample| sample.name == *name)
            } else {
                samples.iter().find(|sample| sample.name == *name)
            };
            let sample = found.unwrap_or_else(|| panic!("node {} does not show {name}", number + 1));
            assert_eq!(sample.labels.keys().map(String::as_str).collect::<Vec<_>>(), *labels, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_says_what_was_done_and_how_the_fleet_stands() {
    let fleet = Fleet::found().await;
    work(&fleet).await;
    let scrapes = tokio::time::timeout(PATIENCE, async {
        loop {
            let scrapes = fleet.scrape_all().await;
            // Between two nodes' scrapes a shard may have changed its leader: then they are asked again.
            if scrapes.each_has_one_leader() {
                return scrapes;
            }
        }
    });
    let scrapes = scrapes.await.expect("every shard has one leader");
    check_names(&scrapes);
    let served = ["put", "get", "delete", "cas"].map(|op| scrapes.ops(op, "ok"));
    assert_eq!(served, [60.0, 60.0, 1.0, 1.0]);
    assert_eq!((scrapes.ops("get", "not_found"), scrapes.ops("delete", "not_found")), (5.0, 1.0));
    assert_eq!(scrapes.ops("cas", "conflict"), 1.0);
    assert!(scrapes.ops("put", "forwarded") > 0.0, "no node leads all shards");
    for shard in 0..=SHARDS {
        let shard = shard.to_string();
        let label = [("shard", shard.as_str())];
        assert!(scrapes.sum("kv_shard_elections_total", &label) >= 1.0, "who elected the leader of {shard}?");
        assert!(
            scrapes.sum("kv_shard_commit_index", &label) >= scrapes.sum("kv_shard_applied_index", &label)
        );
        let followers = scrapes.all().filter(|sample| sample.name == "kv_shard_replica_lag_entries");
        assert_eq!(followers.filter(|sample| sample.has(&label)).count(), 2, "followers of {shard}");
    }
    let proposals = scrapes.sum("kv_shard_proposals_total", &[]);
    let applied = scrapes.sum("kv_shard_commit_seconds_count", &[]);
    assert!(applied > 0.0 && applied <= proposals, "{applied} of {proposals} proposals were applied");
    assert!(scrapes.sum("kv_shard_commit_seconds_sum", &[]) > 0.0, "replication takes time");
    for samples in scrapes.0 {
        let one = Scrapes(vec![samples]);
        assert_eq!(one.sum("kv_shard_slots", &[]), SLOTS);
        assert!(one.sum("kv_wal_fsync_seconds_count", &[]) >= one.sum("kv_wal_batch_shards_count", &[]));
        assert!(one.sum("kv_wal_batch_shards_sum", &[]) >= one.sum("kv_wal_batch_shards_count", &[]));
        assert!(one.sum("kv_wal_bytes", &[]) >= one.sum("kv_wal_batch_bytes_sum", &[]));
        assert_eq!(one.sum("kv_peer_connected", &[]), 2.0);
        assert!(one.sum("kv_peer_bytes_total", &[("direction", "sent")]) > 0.0);
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_elsewhere_or_not_let_in_is_counted_as_that_and_keys_are_after_a_flush() {
    let fleet = Fleet::found().await;
    for number in 0..20 {
        fleet.kv(0).await.put(put(key(number))).await.unwrap();
    }
    for number in 0..3 {
        fleet.kv(number).await.get(get(key(1), v1::RouteMode::Redirect)).await.unwrap();
    }
    fleet.kv(0).await.put(put(Bytes::new())).await.expect_err("an empty key");
    let mut pages = fleet.kv(1).await.scan(v1::ScanRequest::default()).await.unwrap().into_inner();
    while pages.message().await.unwrap().is_some() {}
    for number in 0..3 {
        let address = format!("http://127.0.0.1:{}", fleet.ports[number][0]);
        let mut cluster = ClusterClient::connect(address).await.unwrap();
        for shard in 0..=SHARDS {
            cluster.shard_status(v1::ShardStatusRequest { shard, flush: true }).await.unwrap();
        }
    }
    let scrapes = fleet.scrape_all().await;
    assert_eq!((scrapes.ops("get", "ok"), scrapes.ops("get", "redirected")), (1.0, 2.0));
    let invalid = scrapes.sum("kv_unplaced_ops_total", &[("op", "put"), ("outcome", "invalid")]);
    assert_eq!(invalid, 1.0);
    assert!(scrapes.ops("scan", "ok") >= SHARDS as f64, "a page of each shard at least");
    assert!(scrapes.sum("kv_flush_seconds_count", &[]) > 0.0);
    // A base that is slow to answer a scrape leaves its numbers old: then it is asked again.
    let complete = async { while keys_of_leaders(&fleet.scrape_all().await) != 20.0 {} };
    tokio::time::timeout(PATIENCE, complete).await.expect("the bases hold what was flushed");
    fleet.stop().await;
}
