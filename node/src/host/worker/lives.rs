//! How replicas are born and end on a worker, as the cluster map says. What an end leaves behind, and what a birth waits for:
//! `members.rs`; of what is out of service: `quarantine.rs`.

use std::time::Duration;

use flotilla_raft::ReplicaId;
use flotilla_store::Base;
use flotilla_topology::ShardId;
use flotilla_wal::Record;

use super::super::birth::Birth;
use super::super::boundary::{BaseJob, Effects, Now};
use super::super::log_queue::Completion;
use super::super::recovery::RecoveredReplica;
use super::super::replica::Replica;
use super::Worker;

impl<B: Base> Worker<B> {
    /// A node creates replicas only from the map, and only above every id that it ever hosted.
    pub(super) fn create(&mut self, now: Now, shard: ShardId, birth: Birth, out: &mut Effects<B>) {
        let spent = self.greatest.get(&shard).copied().filter(|greatest| birth.replica <= *greatest);
        if self.replicas.contains_key(&shard) {
            return;
        }
        if let Some(greatest) = spent {
            self.quarantine.lost(shard, greatest);
            return;
        }
        if self.ending.give_up(shard) {
            // It replaces one that is out of service, which the log says: nothing else has to be stable first.
            out.base_jobs.push(BaseJob::Forget { shard });
        }
        if let Some((birth, generation)) = self.ending.make_room(shard, birth) {
            self.bear(now, shard, birth, generation);
        }
    }

    pub(super) fn bear(&mut self, now: Now, shard: ShardId, birth: Birth, generation: u64) {
        self.log.push(shard, Record::Birth { replica: birth.replica, genesis: birth.encode() });
        self.quarantine.end(shard);
        let meant_to_lead = birth.genesis.configuration.voters.first() == Some(&birth.replica);
        self.adopt(now, RecoveredReplica::newborn(shard, birth, generation));
        // The planner gives the lowest id to the node that it means to lead. Whoever asks first is likely to be elected, so a
        // new fleet starts with its leaders spread.
        if let Some(replica) = self.replicas.get_mut(&shard).filter(|_| meant_to_lead) {
            replica.bind(now, &self.supports);
            replica.raft.campaign(now.time);
        }
    }

    /// A replica ends: see `members.rs` for what follows.
    pub(super) fn retire(&mut self, now: Now, shard: ShardId, replica: ReplicaId, out: &mut Effects<B>) {
        if !self.replicas.get(&shard).is_some_and(|here| here.is(replica)) {
            // It may be that it still waits to be born.
            self.ending.call_off(shard, replica);
            self.retire_quarantined(shard, replica);
            return;
        }
        self.with(now, shard, out, Replica::end);
        let Some(ended) = self.replicas.remove(&shard) else { return };
        self.log.push(shard, Record::Tombstone { replica });
        self.log.expect(shard, Completion::Tombstone);
        self.ending.begin(shard, ended.install.newest_generation());
        self.timers.set(shard, None);
        self.sleepers.set(shard, Vec::new(), &self.supports, Duration::ZERO);
        self.told.remove(&shard);
        out.leaders.push((shard, ended.raft.term(), None));
        let freed = self.memory.remove(&shard).unwrap_or_default();
        self.memory_total.dirty -= freed.dirty;
        self.memory_total.clean -= freed.clean;
    }

    /// One that is out of service is removed: as any other, but for the replica.
    fn retire_quarantined(&mut self, shard: ShardId, replica: ReplicaId) {
        if self.quarantine.of(shard).is_none_or(|out| out.replica != replica) {
            return;
        }
        self.log.push(shard, Record::Tombstone { replica });
        if self.ending.give_up(shard) {
            self.log.expect(shard, Completion::Tombstone);
        }
        self.quarantine.end(shard);
    }
}
