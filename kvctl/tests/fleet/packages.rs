//! Real data: the index of all Debian packages that this machine's apt knows.
//!
//! A key is a package's name, its value the whole stanza; of a name that occurs twice the last stanza counts. `kvctl load`
//! writes everything through a router while the leader of a shard is killed with SIGKILL and comes back; then it is read back byte
//! for byte, by gets and by `kvctl dump`; then all nodes are killed with SIGKILL, started again, and everything is read back once
//! more.
//!
//! There is no substitute for the input: a machine without apt, or with an empty index, says so and proves nothing.
//! `FLOTILLA_PACKAGES_MAX` bounds how many stanzas are written (the first ones of the index).

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flotilla_client::Client;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::patience::until;
use crate::router::Router;
use crate::stage::Plan;
use crate::tool::{Running, dumped, ended, kvctl};

/// How many reads are under way.
const TOGETHER: usize = 128;

/// A read is tried again for longer than an election and a restart.
const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_debian_package_index_survives_kills_byte_for_byte() {
    let Some(index) = dump() else { return };
    let mut stanzas = stanzas(&index);
    let all = stanzas.len();
    if let Some(most) = std::env::var("FLOTILLA_PACKAGES_MAX").ok().map(|text| text.parse().unwrap()) {
        stanzas.truncate(most);
    }
    let packages: BTreeMap<Bytes, Bytes> = stanzas.iter().cloned().collect();
    println!(
        "{} bytes, {all} stanzas, {} written, of {} packages",
        index.len(),
        stanzas.len(),
        packages.len()
    );
    let mut fleet = Plan::new(3).shards(8).start().await;
    let router = Router::start(&fleet).await;
    let begun = Instant::now();
    let mut command = kvctl(&router.address(), &["load", "-", "--output", "json"]);
    command.stdin(Stdio::piped());
    let mut load = Running::start(command);
    let mut feeder = Feeder::start(load.child().stdin.take().unwrap(), stanzas.clone());
    feeder.passes(0).await;
    let old = fleet.leader(1).await;
    fleet.kill(old.node);
    let new = fleet.led_by_another(1, old.node).await;
    println!(
        "SIGKILL of node {} in term {}; node {} leads in term {}",
        old.node, old.term, new.node, new.term
    );
    feeder.passes(1).await;
    fleet.restart(old.node);
    fleet.ready().await;
    // The last quarter waits for this: the load is under way while a node is dead, and when it is back.
    feeder.passes(2).await;
    let loaded = load.end().await;
    assert_eq!(ended(&loaded, 0), "");
    let summary: Value = serde_json::from_slice(&loaded.stdout).unwrap();
    assert_eq!(summary["records"], json!(stanzas.len()), "{summary}");
    println!("loaded in {:?}: {summary}", begun.elapsed());
    read_back(&fleet.client(PATIENT).await, &router.address(), &packages).await;
    fleet.kill_all();
    fleet.ids().into_iter().for_each(|id| fleet.restart(id));
    fleet.ready().await;
    read_back(&fleet.client(PATIENT).await, &router.address(), &packages).await;
}

/// Feeds the load a quarter of the lines after the other. Each waits until the story lets it pass.
struct Feeder {
    passed: Receiver<usize>,
    gate: Sender<()>,
}

impl Feeder {
    fn start(mut input: ChildStdin, stanzas: Vec<(Bytes, Bytes)>) -> Self {
        let ((tell, passed), (gate, opened)) = (channel(), channel());
        std::thread::spawn(move || {
            let quarter = stanzas.len().div_ceil(4).max(1);
            for (number, part) in stanzas.chunks(quarter).enumerate() {
                for (name, stanza) in part {
                    let (name, stanza) = (str::from_utf8(name).unwrap(), str::from_utf8(stanza).unwrap());
                    let mut line = json!({ "key": name, "value": stanza }).to_string();
                    line.push('\n');
                    // An error says that the load has ended: the story sees how.
                    if input.write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
                // The story may be over already.
                let _ = tell.send(number);
                if number < 3 && opened.recv().is_err() {
                    return;
                }
            }
        });
        Self { passed, gate }
    }

    /// Waits until a quarter was fed, and lets the next one pass.
    async fn passes(&mut self, quarter: usize) {
        let fed = async || self.passed.try_recv().ok();
        let number = until(&format!("quarter {quarter} is fed"), fed).await;
        assert_eq!(number, quarter);
        self.gate.send(()).unwrap();
    }
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

/// Package names and stanzas, in the order of the index. They are divided by empty lines.
fn stanzas(index: &Bytes) -> Vec<(Bytes, Bytes)> {
    let mut packages = Vec::new();
    let mut begin = 0;
    while begin < index.len() {
        let end =
            index[begin..].windows(2).position(|two| two == b"\n\n").map_or(index.len(), |at| begin + at + 1);
        let stanza = index.slice(begin..end);
        let name = stanza.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Package: "));
        if let Some(name) = name {
            packages.push((stanza.slice_ref(name), stanza.clone()));
        }
        begin = end + 1;
    }
    packages
}

/// Every package, one by one, and then all of them in one dump through the router.
async fn read_back(client: &Client, router: &str, packages: &BTreeMap<Bytes, Bytes>) {
    let begun = Instant::now();
    let reads = packages.iter().map(async |(name, stanza)| {
        let found = client.get(name.clone()).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let found = found.unwrap_or_else(|| panic!("{name:?} is gone"));
        assert!(found.bytes == *stanza, "{name:?}: other bytes");
    });
    futures_util::stream::iter(reads).buffer_unordered(TOGETHER).for_each(async |()| ()).await;
    let got = begun.elapsed();
    assert!(dumped(router, &[]).await == *packages, "the dump differs");
    println!("read back equal: {} gets in {got:?}, dumped in {:?}", packages.len(), begun.elapsed() - got);
}

#[test]
fn stanzas_are_divided_by_empty_lines_and_named_by_their_package() {
    let index =
        Bytes::from_static(b"Package: a\nVersion: 1\n\nPackage: b\nDepends: a\n\nPackage: a\nVersion: 2\n");
    let expected = [
        ("a", "Package: a\nVersion: 1\n"),
        ("b", "Package: b\nDepends: a\n"),
        ("a", "Package: a\nVersion: 2\n"),
    ];
    assert_eq!(stanzas(&index), expected.map(|(name, stanza)| (Bytes::from(name), Bytes::from(stanza))));
}
