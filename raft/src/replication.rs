//! The leader's half of replication: what it sends, what the answers mean, and when an entry is committed
//! (Raft paper, §5.3 and §5.4.2).

use crate::core::Core;
use crate::entry::Entry;
use crate::id::{Index, LogId, ReplicaId};
use crate::leader::Leader;
use crate::message::Rpc;
use crate::quorum;
use crate::raft::{Raft, Role};

impl Leader {
    /// Sends what has come together since the last `Ready`: appends, then the round of the reads that wait.
    pub(crate) fn send_due(&mut self, core: &mut Core) {
        if self.unsent {
            if self.rest.is_asleep() {
                self.stir(core); // Whatever is sent wakes its receiver.
            }
            self.leave_joint(core);
            self.unsent = false;
            self.replicate(core);
            self.start_reads(core);
        }
    }

    /// Sends to each follower what its progress allows. A leader's appends leave before its own write of the
    /// same entries is durable: its disk and the followers' work at the same time (thesis, §10.2.1).
    fn replicate(&mut self, core: &mut Core) {
        let last = core.log.last().index;
        for (id, progress) in &mut self.progress {
            while progress.may_send(last, &core.options) {
                let previous = progress.next.previous();
                let Some(term) = core.log.term(previous) else {
                    progress.needs_snapshot();
                    core.ready.snapshots.push(*id);
                    break;
                };
                let (entries, bytes) = core.log.batch(progress.next, core.options.append_bytes_max);
                progress.on_sent(entries.last().map_or(previous, Entry::index), bytes);
                let (previous, commit) = (LogId::new(previous, term), core.commit());
                core.send(*id, Rpc::Append { previous, entries, commit });
            }
        }
    }

    /// A follower holds everything up to `matched` durably.
    pub(crate) fn on_matched(&mut self, core: &mut Core, from: ReplicaId, matched: Index) {
        let Some(progress) = self.progress.get_mut(&from) else { return };
        let last = core.log.last();
        // Others were dropped at the door (`impossible.rs`).
        assert!(
            matched <= last.index,
            "{from} acknowledges {matched} to {}, whose log ends at {last}",
            core.id
        );
        let before = progress.matched;
        progress.on_matched(matched, core.log.compacted().index);
        self.unsent |= progress.may_send(last.index, &core.options);
        if matched > before {
            self.advance_commit(core);
            self.continue_transfer(core);
        }
    }

    fn on_rejected(&mut self, core: &Core, from: ReplicaId, previous: Index, hint: LogId) {
        let Some(progress) = self.progress.get_mut(&from) else { return };
        // The follower skipped its entries of later terms; skip the leader's of later terms than the hint.
        // Where they lie in the compacted part, the follower needs a snapshot: then nothing after the
        // compaction point is worth a probe.
        let compacted = core.log.compacted().index;
        let candidate = core.log.last_within(hint).map_or(compacted.previous(), |id| id.index);
        self.unsent |= progress.on_rejected(previous, candidate);
    }

    /// Commits what a quorum holds durably, this leader among it.
    ///
    /// Two rules, each with its counterexample. *Only an entry of the own term is committed by counting*: an
    /// entry of an earlier term can be on a majority and still be replaced by a later leader that never saw
    /// it (paper, figure 8). *The leader's own disk counts like any other, and must hold it in any case*: a
    /// leader that commits ahead of its disk could forget, in a crash, what it told a client.
    pub(crate) fn advance_commit(&mut self, core: &mut Core) {
        let stable = core.persistence.stable();
        let matched = |id| match self.progress.get(&id) {
            Some(progress) => progress.matched,
            None if id == core.id => stable,
            None => Index(0),
        };
        let Some(reached) = quorum::reached(&core.configuration, matched) else { return };
        let (before, index) = (core.commit(), reached.min(stable));
        if index <= before || core.log.term(index) != Some(core.term()) {
            return;
        }
        self.uncommitted_bytes -= core.log.range(before.next(), index).map(Entry::bytes).sum::<u64>();
        core.commit_to(index);
        self.unsent |= before < self.noop; // Reads may have waited for this.
    }
}

impl Raft {
    pub(crate) fn on_append_reply(&mut self, from: ReplicaId, matched: Index) {
        if let Role::Leader(leader) = &mut self.role {
            leader.on_matched(&mut self.core, from, matched);
        }
    }

    pub(crate) fn on_append_rejected(&mut self, from: ReplicaId, previous: Index, hint: LogId) {
        if let Role::Leader(leader) = &mut self.role {
            leader.on_rejected(&self.core, from, previous, hint);
        }
    }
}
