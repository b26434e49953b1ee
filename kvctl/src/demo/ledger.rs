//! What the fleet has acknowledged, and whether it still has it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flotilla_client::Client;
use futures_util::StreamExt;
use futures_util::stream;

use crate::demo::keys;
use crate::failure::{Effect, Failure};
use crate::session;

/// Reads under way at once while the ledger is checked.
const READS_MAX: usize = 64;

/// Lost keys that are kept for the report.
const NAMED_MAX: usize = 10;

/// Every acknowledged key, and how many writes ended otherwise.
#[derive(Debug, Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    acknowledged: Vec<Bytes>,
    refused: u64,
    unknown: u64,
}

/// How the writes ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged: must be readable.
    pub acknowledged: u64,
    /// Surely not executed.
    pub refused: u64,
    /// May have been executed: says nothing about what must be readable.
    pub unknown: u64,
}

/// The result of reading everything back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Keys read.
    pub read: u64,
    /// Acknowledged keys that are missing or have another value.
    pub lost: u64,
    /// The first of them.
    pub named: Vec<Bytes>,
}

impl Ledger {
    /// The fleet has answered: it is written.
    pub fn acknowledge(&self, key: Bytes) {
        self.inner().acknowledged.push(key);
    }

    /// The write was surely not executed.
    pub fn refuse(&self) {
        self.inner().refused += 1;
    }

    /// Nobody knows whether the write was executed.
    pub fn wonder(&self) {
        self.inner().unknown += 1;
    }

    /// How the writes ended so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let inner = self.inner();
        let Inner { acknowledged, refused, unknown } = &*inner;
        Counts { acknowledged: acknowledged.len() as u64, refused: *refused, unknown: *unknown }
    }

    /// Reads every acknowledged key and compares its value.
    ///
    /// # Errors
    /// A read that the fleet did not answer: then nothing is proved.
    pub async fn check(&self, client: &Client) -> Result<Verdict, Failure> {
        let keys = self.inner().acknowledged.clone();
        let reads = stream::iter(keys).map(|key| async move {
            let found = client.get(key.clone()).await;
            let found = found.map_err(|error| session::failure(Effect::Read, &error))?;
            Ok((found.is_some_and(|found| found.bytes == keys::value(&key)), key))
        });
        let mut reads = reads.buffer_unordered(READS_MAX);
        let mut verdict = Verdict::default();
        while let Some(read) = reads.next().await {
            let (is_there, key) = read?;
            verdict.read += 1;
            if !is_there {
                verdict.lost += 1;
                if verdict.named.len() < NAMED_MAX {
                    verdict.named.push(key);
                }
            }
        }
        Ok(verdict)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held left at worst one write uncounted; the process is ending anyway.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_acknowledged_writes_must_be_readable() {
        let ledger = Ledger::default();
        ledger.acknowledge(Bytes::from("a"));
        ledger.refuse();
        ledger.wonder();
        ledger.wonder();
        assert_eq!(ledger.counts(), Counts { acknowledged: 1, refused: 1, unknown: 2 });
    }
}
