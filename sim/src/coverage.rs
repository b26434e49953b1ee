//! What a world has seen: a fault that never happened and a path that was never taken prove nothing.

use std::collections::BTreeMap;

/// How often what happened. The names are for people, and public: the summary shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

/// What must have happened somewhere in a large run, or the run says too little.
pub const WANTED: &[&str] = &[
    "appends rejected",
    "changes of members proposed",
    "changes of members refused: stale",
    "changes of the map that met another",
    "attempts given up",
    "client answers redirected",
    "connections broken",
    "elections won",
    "full disks waited out",
    "joins under an id that is known",
    "keys loaded from the base",
    "leaders paused past their term",
    "leaders stepped down",
    "leases broken by clocks beyond the bound",
    "log segments tidied up",
    "log truncated",
    "long tails cut",
    "longest promises shortened",
    "lost machines that came back",
    "lost machines that came back, removed",
    "machines suspended",
    "moves begun by a rebalance",
    "moves finished",
    "moves rolled back",
    "nodes drained",
    "nodes healed of rot",
    "nodes joined",
    "nodes removed",
    "nodes removed by force",
    "operations not executed",
    "operations unknown",
    "power cuts at delicate moments",
    "learners that began with a snapshot",
    "reads by lease",
    "reads refused",
    "reads that failed at a start",
    "reads served from the base",
    "rebalances carried out",
    "requests through a router",
    "replicas fell asleep",
    "replicas ended",
    "retried writes answered",
    "rot found at start",
    "second looks of the controller",
    "shards quarantined",
    "sleepers woken by a broken connection",
    "sleepers woken by a node's new sign",
    "sleepers woken by a silent node",
    "sleepers woken by another replica",
    "sleepers woken by being asked",
    "sleepers woken by the fall of their leader",
    "snapshot streams broken",
    "snapshots installed",
    "syncs failed",
    "torn tails cut",
    "transfers started",
    "turns shared",
    "unsynced base batches lost",
    "writes in flight survived a power cut",
    "writes refused: overload",
];

impl Coverage {
    /// Counts.
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Counts several.
    pub fn add(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// All that happened, by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, times)| (*what, *times))
    }

    /// Adds what another world has seen.
    pub fn merge(&mut self, other: &Self) {
        other.all().for_each(|(what, times)| self.add(what, times));
    }

    /// What of [`WANTED`] never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        WANTED.iter().copied().filter(|what| self.of(what) == 0).collect()
    }
}
