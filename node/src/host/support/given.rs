//! The supporter's side: what this node promised.

use std::collections::BTreeMap;
use std::time::Duration;

use flotilla_raft::{SupportNumber, Time};
use flotilla_topology::NodeId;

use super::SupportOptions;

/// How many series of promises fit one start of the process; then they would run into those of the next.
const SERIES_BITS: u32 = 40;

/// What this node promised to each other.
#[derive(Debug, Default)]
pub(super) struct Given {
    support: Duration,
    promises: BTreeMap<NodeId, Promise>,
    newest: u64,
}

#[derive(Debug)]
struct Promise {
    /// The newest life of the other that was heard.
    boot: u64,
    number: SupportNumber,
    until: Time,
}

impl Given {
    /// Numbers begin beyond all of earlier starts, so that what was acknowledged before a restart never stands after it.
    pub(super) fn new(options: SupportOptions) -> Self {
        let newest = options.boot << SERIES_BITS;
        Self { support: options.support, promises: BTreeMap::new(), newest }
    }

    fn draw(newest: &mut u64) -> SupportNumber {
        *newest += 1;
        SupportNumber(*newest)
    }

    /// A beat of another node arrived: the promise goes on, under the number that is returned.
    ///
    /// A beat of an earlier life counts for nothing: it may come late, when the new life holds a promise already. A beat of a *new*
    /// life begins a new series. What was promised to the old one is void: the new one proves that it is dead.
    pub(super) fn renew(&mut self, from: NodeId, boot: u64, now: Time) -> Option<SupportNumber> {
        let newest = &mut self.newest;
        let until = now + self.support;
        let promise =
            self.promises.entry(from).or_insert_with(|| Promise { boot, number: Self::draw(newest), until });
        if boot < promise.boot {
            return None;
        }
        if boot > promise.boot {
            *promise = Promise { boot, number: Self::draw(newest), until };
        }
        promise.until = promise.until.max(until);
        Some(promise.number)
    }

    pub(super) fn number(&self, to: NodeId) -> Option<SupportNumber> {
        self.promises.get(&to).map(|promise| promise.number)
    }

    /// See [`super::Supports::bound_until`]. A promise is never withdrawn before it ran out, whoever asks for it and why: its
    /// holder counts on it.
    pub(super) fn bound_until(&mut self, to: NodeId, number: SupportNumber, now: Time) -> Time {
        let Some(promise) = self.promises.get_mut(&to).filter(|promise| promise.number == number) else {
            return Time(0);
        };
        if now < promise.until {
            return promise.until;
        }
        promise.number = Self::draw(&mut self.newest);
        Time(0)
    }
}
