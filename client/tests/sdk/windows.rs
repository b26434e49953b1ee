//! Many streams share one connection, and HTTP/2 bounds what of all of them together was sent and not yet read. Streams that
//! stand still must not use that up: the others would stand still too, and perhaps for ever.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use flotilla_client::ScanRange;
use flotilla_proto::v1::Record;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_stream::StreamExt;

use crate::fake::{Does, Fleet, Seen};

/// All led by one node, so that all are read over one connection.
const SHARDS: u64 = 8;

const VALUE_BYTES: usize = 128 << 10;

/// Far longer than anything here takes: whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// No page is longer in coming, while the client takes any.
const QUIET: Duration = Duration::from_millis(300);

fn key(number: usize) -> Bytes {
    format!("key{number:04}").into()
}

/// A node whose scans send all they have as soon as the client lets them.
async fn flowing(records: usize, script: impl FnMut(&Seen) -> Does + Send + 'static) -> Fleet {
    let fleet = Fleet::alone(SHARDS, script).await;
    fleet.sea.streams.store(true, Ordering::Relaxed);
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    for number in 0..records {
        let record = Record { value: value.clone(), version: 1, expires_ms: None };
        fleet.sea.records.lock().unwrap().insert(key(number), record);
    }
    fleet
}

/// Waits until something was given to be sent, and then nothing for a while: the client takes no more.
async fn at_rest(fleet: &Fleet) {
    let mut handed = fleet.sea.handed.subscribe();
    drop(timeout(PATIENCE, handed.wait_for(|handed| *handed > 0)).await.expect("nothing is sent").unwrap());
    while timeout(QUIET, handed.changed()).await.is_ok() {}
}

/// A fleet had been killed and started again, and one shard's first page came later than those of the others. The merge waits
/// for it, so nobody read what the others sent meanwhile; that was all that the connection had room for, and the page that was
/// waited for could not come any more, nor in any later attempt: 45 s later the scan was given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_answers_late_is_not_locked_out_by_the_others() {
    let (tell, told) = oneshot::channel();
    let mut told = Some(told);
    let script = move |seen: &Seen| match seen.method {
        "scan" => told.take().map_or(Does::Answer, Does::AnswerWhenTold),
        _ => Does::Answer,
    };
    let fleet = flowing(256, script).await;
    let client = fleet.builder().build().await.unwrap();
    let scan = tokio::spawn(client.scan(ScanRange::default()).collect::<Vec<_>>());
    at_rest(&fleet).await;
    tell.send(()).unwrap();
    let records = timeout(PATIENCE, scan).await.expect("the scan stands still").unwrap();
    let keys: Vec<Bytes> = records.into_iter().map(|record| record.unwrap().key).collect();
    assert_eq!(keys, (0..256).map(key).collect::<Vec<_>>());
}

/// Who reads a scan slowly, or not at all, goes on with everything else over the same connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_nobody_reads_holds_up_nothing_else() {
    let fleet = flowing(768, |_| Does::Answer).await;
    let client = fleet.builder().build().await.unwrap();
    let mut scan = client.scan(ScanRange::default());
    assert_eq!(scan.next().await.unwrap().unwrap().key, key(0));
    at_rest(&fleet).await;
    for number in 0..100 {
        let found = client.get(key(number)).await.expect("a get is answered").unwrap();
        assert_eq!(found.bytes.len(), VALUE_BYTES);
    }
    client.put("another", "value").await.expect("a put is answered");
    for number in 1..768 {
        assert_eq!(scan.next().await.unwrap().expect("the scan goes on").key, key(number));
    }
}
