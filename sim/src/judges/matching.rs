//! The judge of log matching (Raft paper, figure 3): two logs that hold an entry of the same index and term hold the same entry
//! there, and the same ones before it.

use std::collections::BTreeMap;

use flotilla_raft::{Index, Term};
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::{Batch, Record};

use super::log_model::{LogModel, Stamp};
use super::violation::hold;

/// Every entry that any log ever held. If each has one content and one predecessor wherever it stands, then by induction all
/// that lies before it is the same too.
#[derive(Debug, Default)]
pub struct Matching {
    placed: BTreeMap<(ShardId, Index, Term), Placed>,
}

/// What an entry says, and the term of the entry before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    stamp: Stamp,
    after: Term,
}

impl Matching {
    /// A worker handed out a batch, which `model` holds already.
    pub fn check(&mut self, node: NodeId, batch: &Batch, model: &LogModel) {
        for (shard, record) in batch.records() {
            let (Record::Entries(entries), Some(log)) = (record, model.get(shard)) else { continue };
            for index in entries.iter().map(flotilla_raft::Entry::index) {
                // A later record of the same batch may have replaced it: then that one is looked at.
                let (Some(stamp), Some(after)) = (log.at(index), log.term_at(index.previous())) else {
                    continue;
                };
                let here = Placed { stamp, after };
                let known = *self.placed.entry((*shard, index, stamp.term)).or_insert(here);
                hold(known == here, "log matching", || {
                    format!("{node} holds {index} of {shard} as {here:?}, elsewhere it is {known:?}")
                });
            }
        }
    }
}
