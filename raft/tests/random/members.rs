//! Operators change the members: sensibly, by mistake, and too late. Replicas that were removed stay around and
//! believe what they like, until their disks are dropped.

use std::collections::BTreeSet;

use flotilla_raft::{Change, Configuration, ConfigurationError, Index, Leave, ReplicaId};
use rand_core::Rng;
use rand_pcg::Pcg64;

use super::cluster::replica::{Disk, Replica, State};
use super::{World, draw};

/// Ids are never reused, so they run out.
const REPLICAS_MAX: usize = 14;

impl World {
    pub fn change_members(&mut self) {
        for id in self.alive() {
            if self.chance(self.faults.change) && !self.purged.contains(&id) {
                self.propose_change(id);
                self.purge_somebody(id);
            }
        }
    }

    /// Asks `leader`, which may be none, for a change derived from what it has in effect, or had.
    fn propose_change(&mut self, leader: ReplicaId) {
        let now = self.now;
        let raft = self.replicas.get_mut(&leader).unwrap().raft();
        let (configuration, current) = (raft.configuration().0.clone(), raft.configuration().1);
        let Some(change) = self.draw_change(&configuration) else { return };
        let derived_from = if self.chance(50) { Index(current.0.wrapping_sub(1)) } else { current };
        let raft = self.replicas.get_mut(&leader).unwrap().raft();
        let proposed = raft.propose_configuration(now, &change, derived_from);
        if derived_from != current {
            assert!(proposed.is_err(), "{leader} took a change derived from {derived_from}, not {current}");
        }
        assert!(
            !matches!(proposed, Err(ConfigurationError::Impossible(_))) || configuration.is_joint(),
            "{change:?} of {configuration}: {proposed:?}"
        );
        if let (Ok(_), Change::AddLearners(added)) = (&proposed, &change) {
            self.found(added.first().copied().unwrap());
        }
    }

    /// A replica that starts from the genesis of the shard, and is no member yet.
    fn found(&mut self, id: ReplicaId) {
        let base = State { configuration: self.genesis.clone(), ..State::default() };
        let disk = Disk { base, ..Disk::default() };
        let replica = Replica::new(id, self.options.clone(), self.random.next_u64(), self.now, disk);
        assert!(self.replicas.insert(id, replica).is_none(), "{id} is reused");
    }

    fn draw_change(&mut self, configuration: &Configuration) -> Option<Change> {
        let room = self.replicas.len() < REPLICAS_MAX && configuration.members().count() < 6;
        let random = &mut self.random;
        if configuration.is_joint() && draw(random, 10) > 0 {
            return Some(Change::Leave);
        }
        match draw(random, 3) {
            0 if room => {
                let greatest = self.replicas.keys().copied().max()?;
                Some(Change::AddLearners([ReplicaId(greatest.0 + 1)].into()))
            }
            1 => Some(Change::RemoveLearners([any(random, &configuration.learners)?].into())),
            _ => draw_enter(random, configuration),
        }
    }

    /// The disk of a removed replica is dropped, as soon as a leader says that nobody needs it.
    fn purge_somebody(&mut self, leader: ReplicaId) {
        let status = self.replicas.get_mut(&leader).unwrap().raft().status();
        if !status.configuration_settled {
            return;
        }
        // Who was never a member may be about to become one; and a leader that is none any more does not know who
        // did. (Members come once, and go once.)
        let was_member =
            |id: &ReplicaId| self.judge.last_member_at(*id).is_some_and(|at| at < status.configuration_index);
        let strangers = self.replicas.keys().filter(|id| !status.configuration.is_member(**id));
        let removed = strangers.copied().filter(|id| was_member(id) && !self.purged.contains(id));
        let removed: Vec<_> = removed.collect();
        for id in removed {
            self.replicas.get_mut(&id).unwrap().crash(0);
            self.purged.insert(id);
        }
    }
}

/// Up to two learners are promoted, up to two voters demoted or removed, but never all.
fn draw_enter(random: &mut Pcg64, configuration: &Configuration) -> Option<Change> {
    let (mut promote, mut demote, mut remove) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..1 + draw(random, 2) {
        promote.extend(any(random, &configuration.learners));
    }
    for _ in 0..draw(random, 3) {
        let voters = &(&configuration.voters - &demote) - &remove;
        if voters.len() > 1 {
            let set = if draw(random, 2) == 0 { &mut demote } else { &mut remove };
            set.extend(any(random, &voters));
        }
    }
    let leave = if draw(random, 3) == 0 { Leave::Explicit } else { Leave::Auto };
    let somebody = !(promote.is_empty() && demote.is_empty() && remove.is_empty());
    somebody.then_some(Change::Enter { promote, demote, remove, leave })
}

fn any(random: &mut Pcg64, replicas: &BTreeSet<ReplicaId>) -> Option<ReplicaId> {
    let count = replicas.len() as u64;
    if count == 0 { None } else { replicas.iter().copied().nth(draw(random, count) as usize) }
}
