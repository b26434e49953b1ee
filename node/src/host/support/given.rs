//! The supporter's side: what this node promised.

use std::collections::BTreeMap;
use std::time::Duration;

use flotilla_raft::{Life, SupportNumber, Time};
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
    /// When it was last heard in that life.
    heard: Time,
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
        let promise = self.promises.entry(from).or_insert_with(|| Promise {
            boot,
            number: Self::draw(newest),
            until,
            heard: now,
        });
        if boot < promise.boot {
            return None;
        }
        if boot > promise.boot {
            *promise = Promise { boot, number: Self::draw(newest), until, heard: now };
        }
        promise.until = promise.until.max(until);
        promise.heard = promise.heard.max(now);
        Some(promise.number)
    }

    pub(super) fn number(&self, to: NodeId) -> Option<(SupportNumber, Life)> {
        self.promises.get(&to).map(|promise| (promise.number, Life(promise.boot)))
    }

    /// In which life a node beats, and when it last did.
    pub(super) fn heard(&self, of: NodeId) -> Option<(Life, Time)> {
        self.promises.get(&of).map(|promise| (Life(promise.boot), promise.heard))
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
        // Where nothing is ever promised there is nothing to withdraw: the number names a life of this node, and no more.
        if self.support.is_zero() {
            return Time(0);
        }
        promise.number = Self::draw(&mut self.newest);
        Time(0)
    }
}
