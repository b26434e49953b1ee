//! Real data: the index of all Debian packages that this machine's apt knows.
//!
//! A key is a package's name, its value the whole stanza; of a name that occurs twice the last stanza counts. Everything is
//! written through the SDK while the leader of a shard is killed with SIGKILL and comes back; then read back byte for byte;
//! then all nodes are killed with SIGKILL, started again, and everything is read back once more.
//!
//! There is no substitute for the input: a machine without apt, or with an empty index, says so and proves nothing.
//! `FLOTILLA_PACKAGES_MAX` bounds how many packages are written (the first ones by name).

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flotilla_client::Client;
use futures_util::StreamExt;

use crate::patience::until;
use crate::stage::Plan;

/// How many operations are under way.
const TOGETHER: usize = 128;

/// A write is tried again for longer than an election and a restart.
const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_debian_package_index_survives_kills_byte_for_byte() {
    let Some(index) = dump() else { return };
    let mut packages = stanzas(&index);
    let all = packages.len();
    if let Some(most) = std::env::var("FLOTILLA_PACKAGES_MAX").ok().map(|text| text.parse().unwrap()) {
        packages = packages.into_iter().take(most).collect();
    }
    let count = packages.len();
    println!("{} bytes, {all} packages, {count} written", index.len());
    let mut fleet = Plan::new(3).shards(8).start().await;
    let client = fleet.client(PATIENT).await;
    let begun = Instant::now();
    let written = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn(write(client.clone(), packages.clone(), Arc::clone(&written)));
    let reached = async |part: usize| {
        let goal = part * count / 4;
        let enough = async || (written.load(Ordering::Relaxed) >= goal).then_some(());
        until(&format!("{goal} packages are written"), enough).await;
    };
    reached(1).await;
    let old = fleet.leader(1).await;
    fleet.kill(old.node);
    let new = fleet.led_by_another(1, old.node).await;
    println!(
        "SIGKILL of node {} in term {}; node {} leads in term {}",
        old.node, old.term, new.node, new.term
    );
    reached(2).await;
    fleet.restart(old.node);
    fleet.ready().await;
    let before_end = written.load(Ordering::Relaxed);
    writing.await.unwrap();
    println!("written in {:?}; the killed node was back after {before_end}", begun.elapsed());
    read_back(&client, &packages).await;
    fleet.kill_all();
    fleet.ids().into_iter().for_each(|id| fleet.restart(id));
    fleet.ready().await;
    read_back(&fleet.client(PATIENT).await, &packages).await;
}

/// What apt knows; `None`, with the reason on stdout, where it knows nothing.
fn dump() -> Option<Bytes> {
    let output = match Command::new("apt-cache").arg("dumpavail").output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: apt-cache cannot be run here: {error}");
            return None;
        }
    };
    if !output.status.success() || output.stdout.is_empty() {
        println!("SKIPPED: apt-cache dumpavail prints nothing ({}): run apt-get update once", output.status);
        return None;
    }
    Some(output.stdout.into())
}

/// Stanzas by package name. They are divided by empty lines.
fn stanzas(index: &Bytes) -> BTreeMap<Bytes, Bytes> {
    let mut packages = BTreeMap::new();
    let mut begin = 0;
    while begin < index.len() {
        let end =
            index[begin..].windows(2).position(|two| two == b"\n\n").map_or(index.len(), |at| begin + at + 1);
        let stanza = index.slice(begin..end);
        let name = stanza.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Package: "));
        if let Some(name) = name {
            packages.insert(stanza.slice_ref(name), stanza.clone());
        }
        begin = end + 1;
    }
    packages
}

async fn write(client: Client, packages: BTreeMap<Bytes, Bytes>, written: Arc<AtomicUsize>) {
    let writes = packages.into_iter().map(async |(name, stanza)| {
        client.put(name.clone(), stanza).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        written.fetch_add(1, Ordering::Relaxed);
    });
    futures_util::stream::iter(writes).buffer_unordered(TOGETHER).for_each(async |()| ()).await;
}

/// Every package, one by one, and then all of them in one scan.
async fn read_back(client: &Client, packages: &BTreeMap<Bytes, Bytes>) {
    let begun = Instant::now();
    let reads = packages.iter().map(async |(name, stanza)| {
        let found = client.get(name.clone()).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let found = found.unwrap_or_else(|| panic!("{name:?} is gone"));
        assert!(found.bytes == *stanza, "{name:?}: other bytes");
    });
    futures_util::stream::iter(reads).buffer_unordered(TOGETHER).for_each(async |()| ()).await;
    let got = begun.elapsed();
    let records = client.scan(flotilla_client::ScanRange::default()).map(|record| record.unwrap());
    let records: Vec<_> = records.map(|record| (record.key, record.value.bytes)).collect().await;
    assert!(records.iter().map(|(name, stanza)| (name, stanza)).eq(packages), "the scan differs");
    println!("read back equal: {} gets in {got:?}, scanned in {:?}", packages.len(), begun.elapsed() - got);
}

#[test]
fn of_a_name_that_occurs_twice_the_last_stanza_counts() {
    let index =
        Bytes::from_static(b"Package: a\nVersion: 1\n\nPackage: b\nDepends: a\n\nPackage: a\nVersion: 2\n");
    let expected = [("a", "Package: a\nVersion: 2\n"), ("b", "Package: b\nDepends: a\n")];
    let expected = expected.map(|(name, stanza)| (Bytes::from(name), Bytes::from(stanza)));
    assert_eq!(stanzas(&index), BTreeMap::from(expected));
}
