//! What all sailors asked and were answered, on one clock; and the judges' verdict on it.
//!
//! The judges take at most 1,000 operations per key. So keys have generations: when one is used up, the next operation on that
//! place of the sea finds a new key there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use flotilla_client::Client;
use flotilla_history::{
    Answer, Call, Client as Who, Done, History, Moment, OPERATIONS_MAX, OperationId, Outcome, RequestId,
    Seen, Shard, Version,
};
use flotilla_topology::{ClusterMap, Slot};
use futures_util::StreamExt;

/// Operations per key; the rest is for the reads at the end.
const USES_MAX: usize = OPERATIONS_MAX - 10;

/// How many keys are read at a time at the end.
const READS: usize = 8;

/// Keys that are judged together.
#[derive(Clone, Debug)]
pub struct Place {
    /// All of one slot.
    pub keys: Vec<Bytes>,
}

/// The record.
#[derive(Debug)]
pub struct Logbook {
    begun: Instant,
    map: Arc<ClusterMap>,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    history: History,
    /// The generation of each place, and how often it was used.
    uses: BTreeMap<usize, (usize, usize)>,
    keys: Vec<Bytes>,
    answered: usize,
}

impl Logbook {
    /// An empty one; the client knows which shard owns which key.
    pub fn new(client: &Client) -> Self {
        Self { begun: Instant::now(), map: client.map(), pages: Mutex::default() }
    }

    /// The present keys of a place, which is used once more; `count` of them.
    pub fn visit(&self, place: usize, count: usize) -> Place {
        let mut pages = self.pages();
        let (generation, uses) = pages.uses.entry(place).or_insert((0, 0));
        let new = *uses == 0 || *uses == USES_MAX;
        if *uses == USES_MAX {
            (*generation, *uses) = (*generation + 1, 0);
        }
        *uses += 1;
        let keys = (0..count).map(|key| format!("{{sea{place}.{generation}}}{key}").into());
        let place = Place { keys: keys.collect() };
        if new {
            pages.keys.extend(place.keys.iter().cloned());
        }
        place
    }

    /// The shard that owns a key.
    pub fn shard(&self, key: &Bytes) -> u64 {
        self.map.shard_of(Slot::of(key)).0
    }

    /// Somebody asks; with a request id where attempts are the recorder's own.
    pub fn ask(&self, who: u64, key: &Bytes, call: Call, request: Option<RequestId>) -> OperationId {
        let (who, shard) = (Who(who), Shard(self.shard(key)));
        let mut pages = self.pages();
        let now = self.now();
        match request {
            Some(request) => pages.history.attempt(request, now, who, shard, call),
            None => pages.history.invoke(now, who, shard, call),
        }
    }

    /// And this came of it.
    pub fn answer(&self, id: OperationId, outcome: Outcome) {
        let mut pages = self.pages();
        pages.answered += usize::from(matches!(outcome, Outcome::Done(_)));
        let now = self.now();
        pages.history.complete(id, now, outcome);
    }

    /// How many attempts were answered.
    pub fn answered(&self) -> usize {
        self.pages().answered
    }

    /// Reads every key once more, and writes that down too.
    pub async fn read_all(&self, client: &Client) {
        let keys = self.pages().keys.clone();
        let reads = keys.iter().map(async |key| {
            let id = self.ask(0, key, Call::Get { key: key.clone() }, None);
            let found = client.get(key.clone()).await;
            let found = found.unwrap_or_else(|error| panic!("{key:?} cannot be read: {error}"));
            let seen =
                found.map(|found| Seen { value: Some(found.bytes), version: Some(Version(found.version)) });
            self.answer(id, Outcome::Done(Done::of(Answer::Got(seen))));
        });
        futures_util::stream::iter(reads).buffer_unordered(READS).for_each(async |()| ()).await;
    }

    /// Asks the judges.
    ///
    /// # Panics
    /// It is not linearizable, or undecided. The history is kept beside the build.
    pub fn judge(&self, seed: u64) {
        let pages = self.pages();
        let (done, refused, unknown) = pages.history.outcomes();
        let begun = Instant::now();
        let judgement = pages.history.judge();
        println!(
            "{} operations of {} keys: {done} answered, {refused} surely not executed, {unknown} unknown; judged in {:?}",
            pages.history.len(),
            pages.keys.len(),
            begun.elapsed(),
        );
        if !judgement.passes() {
            let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{seed}.txt"));
            std::fs::write(&path, pages.history.to_string()).unwrap();
            panic!("seed {seed}, the history is in {}:\n{judgement}", path.display());
        }
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.begun.elapsed().as_nanos()).unwrap())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
