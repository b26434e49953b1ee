//! Which replica wants to be woken when. A replica without a deadline costs nothing here.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_raft::Time;
use flotilla_topology::ShardId;

/// The deadlines of a worker's replicas, earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Time, ShardId)>,
    by_shard: BTreeMap<ShardId, Time>,
}

impl Timers {
    /// The earliest deadline.
    pub(super) fn earliest(&self) -> Option<Time> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Replaces the deadline of a shard.
    pub(super) fn set(&mut self, shard: ShardId, deadline: Option<Time>) {
        let old = match deadline {
            Some(time) => self.by_shard.insert(shard, time),
            None => self.by_shard.remove(&shard),
        };
        if old == deadline {
            return;
        }
        if let Some(time) = old {
            self.by_time.remove(&(time, shard));
        }
        if let Some(time) = deadline {
            self.by_time.insert((time, shard));
        }
    }

    /// Takes the shards whose deadline has come.
    pub(super) fn due(&mut self, now: Time) -> Vec<ShardId> {
        let mut shards = Vec::new();
        while let Some((time, shard)) = self.by_time.first().copied() {
            if time > now {
                break;
            }
            self.by_time.pop_first();
            self.by_shard.remove(&shard);
            shards.push(shard);
        }
        shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_due_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(ShardId(1), Some(Time(30)));
        timers.set(ShardId(2), Some(Time(10)));
        timers.set(ShardId(3), Some(Time(20)));
        assert_eq!(timers.due(Time(20)), [ShardId(2), ShardId(3)]);
        assert_eq!(timers.due(Time(20)), []);
        assert_eq!(timers.earliest(), Some(Time(30)));
    }

    #[test]
    fn a_new_deadline_replaces_the_old_one() {
        let mut timers = Timers::default();
        timers.set(ShardId(1), Some(Time(10)));
        timers.set(ShardId(1), Some(Time(50)));
        assert_eq!(timers.due(Time(40)), []);
        timers.set(ShardId(1), None);
        assert_eq!(timers.earliest(), None);
    }
}
