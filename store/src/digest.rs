//! Digests: whether two replicas hold the same, without comparing what they hold.
//!
//! The digest of a set is the sum of the hashes of its members, so that it is kept while members come and go,
//! in any order. It guards against bugs and rot, not against an adversary who chooses values.

use std::fmt;

use flotilla_raft::LogId;
use xxhash_rust::xxh3::xxh3_128;

/// A sum of hashes, modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub u128);

impl Digest {
    /// The hash of one key with one value.
    pub(crate) fn of(key: &[u8], value: &[u8]) -> Self {
        // Both are hashed apart first: otherwise ("ab", "c") and ("a", "bc") would be the same member.
        let mut pair = [0; 32];
        pair[..16].copy_from_slice(&xxh3_128(key).to_be_bytes());
        pair[16..].copy_from_slice(&xxh3_128(value).to_be_bytes());
        Self(xxh3_128(&pair))
    }

    pub(crate) fn add(&mut self, member: Self) {
        self.0 = self.0.wrapping_add(member.0);
    }

    pub(crate) fn remove(&mut self, member: Self) {
        self.0 = self.0.wrapping_sub(member.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Some records, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Over key, version, expiry and value of each.
    pub digest: Digest,
    /// How many.
    pub keys: u64,
    /// Keys and values together, in bytes.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, member: Member) {
        self.digest.add(member.digest);
        self.keys = self.keys.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(member.bytes);
    }

    pub(crate) fn remove(&mut self, member: Member) {
        // Wrapping: a damaged index entry shows as a digest that differs, it does not stop the node.
        self.digest.remove(member.digest);
        self.keys = self.keys.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(member.bytes);
    }
}

/// One record's share of a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// What the base holds of a shard, as of `applied`. A pure function of the entries up to there: equal for all
/// replicas of the shard, however often each of them flushed, restarted or installed a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The last entry that is in it.
    pub applied: LogId,
    /// Shard time then, in milliseconds.
    pub time_ms: u64,
    /// The version counter then.
    pub version: u64,
    /// The keys that had not expired at `time_ms`.
    pub keys: Tally,
    /// Over everything: keys, remembered results, floors, shard time, version counter, slots, configuration,
    /// position.
    pub state: Digest,
}
