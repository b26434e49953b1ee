//! Bytes rot in the log of a node while it is down: only whom they concern is out of service, says so, and is replaced by itself.

use std::path::Path;
use std::time::Duration;

use flotilla_proto::v1;

use crate::ledger::Writers;
use crate::moves::values;
use crate::patience::until;
use crate::questions;
use crate::stage::{Fleet, Plan};

/// What a client of this fleet waits at most. Nothing may take so long.
const DEADLINE: Duration = Duration::from_secs(10);

const BLOCK: usize = 4096;

/// A frame that names one data shard alone, and is followed by others: what it says had been durable.
#[derive(Clone, Copy, Debug)]
struct Frame {
    segment: u64,
    offset: u64,
    shard: u64,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Flips a bit in the body of such a frame. Reads as `docs/formats/log.md` says, and believes no checksum.
fn rot(data: &Path) -> Frame {
    let mut files: Vec<_> =
        std::fs::read_dir(data.join("wal")).unwrap().map(|it| it.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("segment-"));
    files.sort();
    for path in files {
        let mut bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let segment: u64 = name["segment-".len()..name.len() - ".log".len()].parse().unwrap();
        let is_head = |block: &usize| bytes[block * BLOCK..].starts_with(b"flFR");
        let heads: Vec<usize> = (1..bytes.len() / BLOCK).filter(is_head).collect();
        let alone = |block: &&usize| {
            let at = **block * BLOCK;
            let shards = u32::from_le_bytes(bytes[at + 12..at + 16].try_into().unwrap());
            shards == 1 && u64_at(&bytes, at + 72) != 0
        };
        // The last ones may be torn, as far as anybody could know.
        let Some(block) = heads.iter().rev().skip(3).find(alone) else { continue };
        let at = block * BLOCK;
        bytes[at + 72 + 8 + 20] ^= 1;
        let shard = u64_at(&bytes, at + 72);
        std::fs::write(&path, &bytes).unwrap();
        return Frame { segment, offset: at as u64, shard };
    }
    panic!("no frame in {} names one shard alone", data.display());
}

async fn status(fleet: &Fleet, id: u64) -> Option<v1::StatusResponse> {
    questions::status(&fleet.address(id)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rot_takes_one_shard_of_one_node_out_of_service_and_it_is_replaced_there() {
    let mut fleet = Plan::new(3).shards(4).start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 200).await;
    fleet.kill(3);
    let it = rot(&fleet.data(3));
    println!("rotten: {it:?}");
    // A majority of the shard would need it: so it is not replaced yet, and what is told of it can be read at leisure.
    fleet.kill(2);
    fleet.restart(3);
    let spent = until("node 3 says what is out of service", async || {
        let found = status(&fleet, 3).await?.quarantined;
        let found = found.first().filter(|_| found.len() == 1)?;
        assert_eq!((found.shard, found.segment, found.offset), (it.shard, it.segment, it.offset));
        Some(found.replica)
    })
    .await;
    let words = fleet.words(3);
    let told = words.lines().find(|line| line.contains("rot in the log")).expect("a line of it").to_owned();
    for what in [format!("segment={}", it.segment), format!("offset={}", it.offset), format!("s{}", it.shard)]
    {
        assert!(told.contains(&what), "{told} does not say {what}");
    }
    let metrics = questions::metrics(&fleet.ports(3).http_addr()).await.unwrap();
    let series = format!(
        "kv_shard_quarantined{{shard=\"{}\",segment=\"{}\",offset=\"{}\"}} 1",
        it.shard, it.segment, it.offset
    );
    assert!(metrics.contains(&series), "{metrics}");
    // The others are led by one of the two; it has one voter that votes, of three.
    let others: Vec<u64> = fleet.shards().filter(|shard| *shard != it.shard).collect();
    for shard in others {
        fleet.leader(shard).await;
    }
    // Who led it before does so until it has missed a majority for a while. With the answers of who is out of service it would go on.
    let nobody = async || fleet.leader_now(it.shard).await.is_none().then_some(());
    until("nobody leads what has no majority", nobody).await;
    let mut asked = 0;
    until("the one that is left has asked for votes, again and again", async || {
        assert_eq!(fleet.leader_now(it.shard).await, None, "who is out of service voted");
        asked += u32::from(fleet.replica(1, it.shard).await?.role() == v1::Role::PreCandidate);
        (asked >= 20).then_some(())
    })
    .await;
    assert_eq!(fleet.replica(3, it.shard).await, None);
    let shown = fleet.kvctl(&["status"]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    let told = format!(
        "shard {} is out of service on node 3: its log is rotten (segment {}, byte {})",
        it.shard, it.segment, it.offset
    );
    assert!(shown.contains(&told), "{shown}");

    // A second start does not forget it.
    fleet.kill(3);
    fleet.restart(3);
    until("node 3 still says so", async || (status(&fleet, 3).await?.quarantined.len() == 1).then_some(()))
        .await;

    fleet.restart(2);
    let writers = Writers::start(&client, "rot", 4);
    until("it is replaced", async || {
        let status = status(&fleet, 3).await?;
        let new = status.replicas.iter().find(|replica| replica.shard == it.shard)?;
        (status.quarantined.is_empty() && new.replica > spent).then_some(())
    })
    .await;
    writers.progress(200).await;
    let promises = writers.stop().await;
    promises.check(&client).await;
    for number in 0..200 {
        let value = client.get(format!("early-{number}")).await.unwrap().expect("it was acknowledged");
        assert_eq!(value.bytes, format!("{number:->1000}"));
    }
    until("the old replica has left", async || {
        let shown = fleet.kvctl(&["shard", "show", &it.shard.to_string(), "--output", "json"]).await;
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).ok()?;
        (shown["replicas"].as_array()?.len() == 3).then_some(())
    })
    .await;
    fleet.converged().await;
    let metrics = questions::metrics(&fleet.ports(3).http_addr()).await.unwrap();
    assert!(!metrics.contains("kv_shard_quarantined{"), "{metrics}");
    fleet.kill(3);
    fleet.restart(3);
    fleet.converged().await;
    assert_eq!(status(&fleet, 3).await.unwrap().quarantined, []);
}

/// Where another node has room, the disk that rotted is not trusted with a new replica.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_service_moves_to_a_node_that_has_room() {
    let mut fleet = Plan::new(3).shards(4).start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 200).await;
    fleet.join(4).await;
    let writers = Writers::start(&client, "room", 4);
    writers.progress(100).await;
    fleet.kill(3);
    let it = rot(&fleet.data(3));
    println!("rotten: {it:?}");
    fleet.restart(3);
    until("the new replica is on node 4", async || {
        let (there, here) = (status(&fleet, 4).await?, status(&fleet, 3).await?);
        let has = |status: &v1::StatusResponse| status.replicas.iter().any(|it_| it_.shard == it.shard);
        (has(&there) && !has(&here) && here.quarantined.is_empty()).then_some(())
    })
    .await;
    writers.progress(200).await;
    let promises = writers.stop().await;
    assert_eq!(promises.failed, 0, "operations failed");
    promises.check(&client).await;
    fleet.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rot_in_the_only_replica_is_refused_and_nothing_is_changed() {
    let mut fleet = Plan::new(1).shards(2).start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 100).await;
    fleet.kill(1);
    let it = rot(&fleet.data(1));
    let before = std::fs::read_dir(fleet.data(1).join("wal")).unwrap().count();
    for _ in 0..2 {
        fleet.restart(1);
        let (ended, words) = fleet.end(1).await;
        assert!(ended.code().is_some_and(|code| code != 0), "{ended}: {words}");
        let last = words.lines().last().unwrap_or_default();
        let place = format!("segment {}: rot at byte {}", it.segment, it.offset);
        assert!(last.contains(&place) && last.contains(&format!("s{}", it.shard)), "{words}");
        assert!(last.contains("the only replica") && last.contains("kvnode wal inspect"), "{words}");
    }
    assert_eq!(std::fs::read_dir(fleet.data(1).join("wal")).unwrap().count(), before);
}
