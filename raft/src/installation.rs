//! The follower's half of snapshots (Raft paper, §7): what becomes of the log when a snapshot is at the door.
//!
//! The data travels outside of Raft and is staged by the host before [`crate::Rpc::InstallSnapshot`] is
//! injected. If the log can go on without it, the snapshot is not needed and the host discards it. Else it
//! replaces the whole log: entries beyond it are not known to agree with the leader's.
//!
//! While the host makes the snapshot current, the replica takes no appends, hands out no entries, and does
//! not campaign; it still votes (by its old log, which promises less than the snapshot will).

use crate::id::ReplicaId;
use crate::raft::{Raft, Role};
use crate::snapshot::SnapshotMeta;

impl Raft {
    /// A snapshot is staged.
    pub(crate) fn on_install_snapshot(&mut self, from: ReplicaId, meta: SnapshotMeta) {
        let core = &mut self.core;
        let follower = self.role.follow(core, from);
        let last = meta.last;
        if core.installing.is_some() {
            return;
        }
        if last.index > core.commit() && !core.log.contains(last) {
            core.installing = Some(meta.clone());
            core.ready.install = Some(meta);
            return;
        }
        // An entry that both logs hold makes them equal up to it, and a snapshot holds only what is
        // committed.
        follower.accepted = follower.accepted.max(last.index);
        core.commit_to(last.index.max(core.commit()));
        follower.acknowledge(core, Some(last.index));
    }

    /// The snapshot is current and durable, and the host's log was reset to it.
    pub(crate) fn on_installed(&mut self, meta: &SnapshotMeta) {
        let core = &mut self.core;
        let expected = core.installing.take();
        assert!(expected.as_ref() == Some(meta), "{} installed {meta}, but asked for {expected:?}", core.id);
        let last = meta.last;
        core.log.reset(last);
        core.persistence.reset(last.index);
        core.commit_to(last.index);
        core.applied = last.index;
        core.handed_to_apply = last.index;
        core.configuration = meta.configuration.clone();
        core.configuration_index = meta.configuration_index;
        let Role::Follower(follower) = &mut self.role else {
            unreachable!("{} installed {meta} without being a follower", core.id)
        };
        follower.timer.restart(core);
        follower.accepted = follower.accepted.max(last.index);
        follower.acknowledge(core, None);
    }
}
