//! Whether there is room to remember what a write will answer.
//!
//! Results are remembered until their client acknowledges them or their deadline passes, so a client that never
//! acknowledges fills memory for up to a minute. Two bounds hold it: one per client, beyond which that client alone is
//! refused, and one per shard. Beyond either, what takes no memory still gets in: a write without a request id, a repeated
//! attempt, and a write that acknowledges results which are there. The last is how a client comes back below its bound by
//! itself; it has at most one such write on its way, because many that acknowledge the same would free it only once.
//!
//! All of it is decided by the leader before it proposes. Apply knows nothing of these bounds: it must do the same on every
//! replica, whatever their options.

use std::collections::BTreeSet;

use flotilla_store::{Burden, Operation, RequestId};

use super::boundary::Refusal;
use super::options::Options;
use super::replica::Replica;

/// The clients of which a write is on its way that was let in only because it frees more than it takes.
#[derive(Debug, Default)]
pub(super) struct Freeing(BTreeSet<u128>);

impl Freeing {
    /// Such a write was let in.
    pub(super) fn insert(&mut self, client: u128) {
        self.0.insert(client);
    }

    /// The clients among those of these operations.
    pub(super) fn among(&self, operations: &[Operation]) -> Vec<u128> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let clients = operations.iter().filter_map(|operation| operation.request.as_ref());
        clients.map(|request| request.client).filter(|client| self.0.contains(client)).collect()
    }

    /// Their writes have ended, however.
    pub(super) fn forget(&mut self, clients: &[u128]) {
        for client in clients {
            self.0.remove(client);
        }
    }
}

/// How a write gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room, or it needs none.
    Enough,
    /// Only because it frees more than it takes.
    Freed,
}

impl Replica {
    /// Whether a write may be proposed, as far as the memory of results goes.
    pub(super) fn room_for_result(
        &self,
        freeing: &Freeing,
        options: &Options,
        request: Option<&RequestId>,
    ) -> Result<Room, Refusal> {
        let Some(request) = request else { return Ok(Room::Enough) };
        let what = if self.machine.remembered_bytes() > options.remembered_bytes_max {
            "the memory of results"
        } else if self.machine.remembered_bytes_of(request.client) > options.remembered_client_bytes_max {
            "the memory of this client's results, which it does not acknowledge,"
        } else {
            return Ok(Room::Enough);
        };
        match self.machine.burden(request) {
            Burden::Keeps => Ok(Room::Enough),
            Burden::Frees if !freeing.0.contains(&request.client) => Ok(Room::Freed),
            Burden::Frees | Burden::Adds => Err(Refusal::Overloaded { shard: self.shard, what }),
        }
    }
}
