//! Writers that never stop by themselves, and what they were promised.
//!
//! Every value is written once. So a read tells which write it saw, and the promises tell whether it may: the last
//! acknowledged write of the key, or one of which nobody knows whether it was executed (it may also be executed late). Never
//! a write that was definitely refused, never nothing where something was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flotilla_client::{Client, Error};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use crate::patience::until;

/// Each writer goes around so many keys, so that most writes overwrite an acknowledged one.
const KEYS: u64 = 100;

/// A writer reads its own last write after so many.
const READ_BACK: u64 = 16;

/// How many reads are under way when promises are checked.
const READS: usize = 32;

/// What is known of one key.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// The last acknowledged write, and its version.
    acknowledged: Option<(u64, u64)>,
    /// Writes that may have been executed, or may yet be.
    ambiguous: BTreeSet<u64>,
}

/// What the writers were promised, by key.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    keys: BTreeMap<String, Promise>,
    /// How many writes and reads were refused, or failed in another way.
    pub failed: u64,
}

/// Writers under way.
#[derive(Debug)]
pub struct Writers {
    tasks: Vec<JoinHandle<Promises>>,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    /// Lets `count` writers begin. `round` keeps their keys apart from those of earlier ones.
    pub fn start(client: &Client, round: &str, count: u64) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let begin = |writer| {
            let (client, acknowledged, stop) = (client.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
            tokio::spawn(write(client, format!("{round}-{writer}"), acknowledged, stop))
        };
        Self { tasks: (0..count).map(begin).collect(), acknowledged, stop }
    }

    /// Waits until so many more writes were acknowledged.
    pub async fn progress(&self, more: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        let reached = async || (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(());
        until(&format!("{more} more writes are acknowledged"), reached).await;
    }

    /// Lets them end their last write, and takes their promises.
    pub async fn stop(self) -> Promises {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Promises::default();
        for task in self.tasks {
            all = all.and(task.await.unwrap());
        }
        all
    }
}

async fn write(
    client: Client,
    writer: String,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Promises {
    let mut promises = Promises::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("{writer}-{:03}", number % KEYS);
        let promise = promises.keys.entry(key.clone()).or_default();
        match client.put(key.clone(), number.to_string()).await {
            Ok(version) => {
                let before = promise.acknowledged.replace((number, version));
                assert!(
                    before.is_none_or(|(_, before)| before < version),
                    "{key}: {before:?}, then {version}"
                );
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Unknown { .. }) => {
                promise.ambiguous.insert(number);
                promises.failed += 1;
            }
            Err(Error::NotExecuted { .. }) => promises.failed += 1,
            Err(error @ Error::Invalid { .. }) => panic!("{key}: {error}"),
        }
        if number % READ_BACK == 0 {
            match client.get(key.clone()).await {
                Ok(value) => promise.check(&key, value.map(|value| (value.bytes, value.version))),
                Err(_) => promises.failed += 1,
            }
        }
    }
    promises
}

impl Promise {
    fn check(&self, key: &str, found: Option<(bytes::Bytes, u64)>) {
        let Some((bytes, version)) = found else {
            assert!(self.acknowledged.is_none(), "{key}: nothing is there, promised {self:?}");
            return;
        };
        let number: u64 = std::str::from_utf8(&bytes).unwrap().parse().unwrap();
        if self.acknowledged.is_some_and(|(acknowledged, _)| acknowledged == number) {
            assert_eq!(self.acknowledged, Some((number, version)), "{key}: another version");
        } else {
            assert!(self.ambiguous.contains(&number), "{key}: holds {number}, promised {self:?}");
            // A write that was executed unnoticed, after the acknowledged one: its version is greater.
            assert!(
                self.acknowledged.is_none_or(|(_, before)| before < version),
                "{key}: {version}, {self:?}"
            );
        }
    }
}

impl Promises {
    /// Those of later writers too, of other keys.
    pub fn and(mut self, others: Self) -> Self {
        self.keys.extend(others.keys);
        self.failed += others.failed;
        self
    }

    /// How many keys have an acknowledged write.
    pub fn kept(&self) -> usize {
        self.keys.values().filter(|promise| promise.acknowledged.is_some()).count()
    }

    /// Reads every key, and holds it against its promise.
    ///
    /// # Panics
    /// A promise was broken, or a key cannot be read.
    pub async fn check(&self, client: &Client) {
        let reads = self.keys.iter().map(async |(key, promise)| {
            let found = client.get(key.clone()).await.unwrap_or_else(|error| panic!("{key}: {error}"));
            promise.check(key, found.map(|value| (value.bytes, value.version)));
        });
        futures_util::stream::iter(reads).buffer_unordered(READS).for_each(async |()| ()).await;
        assert!(self.kept() > 0, "nobody was promised anything");
    }
}

/// The judge is judged: a promise that cannot be broken proves nothing.
#[test]
fn a_broken_promise_is_noticed() {
    let promise = Promise { acknowledged: Some((7, 20)), ambiguous: BTreeSet::from([6, 8]) };
    let judged = |promise: &Promise, found: Option<(&'static str, u64)>| {
        let found = found.map(|(value, version)| (bytes::Bytes::from(value), version));
        std::panic::catch_unwind(|| promise.check("key", found)).is_ok()
    };
    assert!(judged(&promise, Some(("7", 20))), "the acknowledged write");
    assert!(judged(&promise, Some(("8", 21))), "a later one that may have been executed");
    assert!(judged(&promise, Some(("6", 21))), "an earlier one that was executed late");
    assert!(!judged(&promise, Some(("6", 19))), "the acknowledged write was lost, the one before it shows");
    assert!(!judged(&promise, Some(("9", 21))), "a write that was surely not executed");
    assert!(!judged(&promise, Some(("7", 21))), "it was executed twice");
    assert!(!judged(&promise, None), "it is gone");
    assert!(judged(&Promise::default(), None), "nothing was promised");
    assert!(!judged(&Promise::default(), Some(("1", 1))), "nothing was acknowledged, and yet it is there");
}
