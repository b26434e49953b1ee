//! The disk of one node becomes full: the node ends, says why, and the others go on; with room again it comes back. What would fill
//! it is refused before.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::disk::SmallDisk;
use crate::ledger::Writers;
use crate::moves::values;
use crate::questions;
use crate::skips::skip;
use crate::stage::Plan;
use crate::tool::ended;

/// What a client of this fleet waits at most. Nothing may take so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// Room for one segment of the log, and for what the base makes of it; not for a second segment.
const SMALL_MIB: u64 = 112;

/// Room for all that comes later.
const LARGE_MIB: u64 = 1024;

/// Together more than a segment of the log.
const LARGE_WRITERS: usize = 8;
const LARGE_VALUES: usize = 150;
const LARGE_BYTES: usize = 64 << 10;

/// The node ended because going on could lose data.
const EXIT_FATAL: i32 = 74;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_full_disk_ends_and_comes_back_with_room() {
    let folder = tempfile::Builder::new().prefix("flotilla-disk-").tempdir().unwrap();
    let at = folder.path().join("disk");
    let disk = match SmallDisk::mount(&at, SMALL_MIB) {
        Ok(disk) => disk,
        Err(reason) => return skip("disk", &reason),
    };
    let mut fleet = Plan::new(3).shards(2).on_disk(1, &at).start().await;
    let client = fleet.client(DEADLINE).await;
    let writers = Writers::start(&client, "full", 4);
    writers.progress(20).await;
    let mut large = JoinSet::new();
    for writer in 0..LARGE_WRITERS {
        let client = client.clone();
        large.spawn(async move {
            for number in 0..LARGE_VALUES {
                client.put(format!("large-{writer}-{number}"), vec![b'v'; LARGE_BYTES]).await.unwrap();
            }
        });
    }
    large.join_all().await;

    let (ended, words) = fleet.end(1).await;
    let last = words.lines().last().unwrap_or_default();
    assert_eq!(ended.code(), Some(EXIT_FATAL), "{last}");
    for what in ["this node stops", "no room for a new segment", "No space left on device"] {
        assert!(last.contains(what), "{last} does not say {what}");
    }
    writers.progress(100).await;

    // Nothing has changed: it refuses to start, for the same reason.
    fleet.restart(1);
    let (ended, words) = fleet.end(1).await;
    let last = words.lines().last().unwrap_or_default();
    assert_eq!(ended.code(), Some(1), "{last}");
    assert!(last.starts_with("kvnode: cannot ") && last.contains("No space left on device"), "{last}");

    disk.resize(LARGE_MIB);
    fleet.restart(1);
    fleet.ready().await;
    writers.progress(100).await;
    let promises = writers.stop().await;
    assert_eq!(promises.failed, 0, "operations failed");
    promises.check(&client).await;
    fleet.converged().await;
}

/// Nearly all of a disk is taken by somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_to_a_disk_that_is_too_full() {
    let folder = tempfile::Builder::new().prefix("flotilla-disk-").tempdir().unwrap();
    let at = folder.path().join("disk");
    let disk = match SmallDisk::mount(&at, LARGE_MIB) {
        Ok(disk) => disk,
        Err(reason) => return skip("disk", &reason),
    };
    let mut fleet = Plan::new(3).shards(2).on_disk(4, &at).start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 100).await;
    fleet.join(4).await;
    let ballast = at.join("ballast");
    // Less than the twentieth part that shall stay free is left.
    disk.fill(&ballast, LARGE_MIB / 32);
    let start = ["shard", "move", "1", "--from", "1", "--to", "4"];
    for more in [&["--dry-run"][..], &["--detach"], &[]] {
        let refused = ended(&fleet.kvctl(&[&start, more].concat()).await, 3);
        assert!(refused.contains("shard 1: the disk of node 4 is too full: "), "{refused}");
        assert!(refused.contains(", and 51.1M shall stay free"), "{refused}");
    }
    let refused = ended(&fleet.kvctl(&["node", "drain", "1"]).await, 3);
    assert!(refused.contains("no node could take the replicas of s0, s1, s2: "), "{refused}");
    assert!(refused.contains("have room on its disk"), "{refused}");
    let status = String::from_utf8(fleet.kvctl(&["status"]).await.stdout).unwrap();
    assert!(status.contains("\n! the disk of node 4 is nearly full: "), "{status}");
    let metrics = questions::metrics(&fleet.ports(4).http_addr()).await.unwrap();
    let total = format!("\nkv_disk_total_bytes {}\n", LARGE_MIB << 20);
    assert!(metrics.contains(&total), "{metrics}");

    std::fs::remove_file(&ballast).unwrap();
    ended(&fleet.kvctl(&start).await, 0);
    ended(&fleet.kvctl(&["node", "drain", "1"]).await, 0);
    fleet.converged().await;
}
