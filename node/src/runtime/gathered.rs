//! What one message of a client asks, sorted by worker, so that each worker gets its part at once: under one lock, and
//! in one turn. All operations for one shard then become one log entry.

use std::sync::Arc;

use flotilla_topology::ShardId;

use super::inbox::Inbox;
use super::{INPUT_BYTES, Input, worker_of};
use crate::host::Token;

/// Questions on their way to their workers. Empty again after each offer; its memory is kept for the next.
#[derive(Debug, Default)]
pub struct Gathered {
    workers: Vec<Part>,
}

/// The part of one worker.
#[derive(Debug, Default)]
struct Part {
    names: Vec<(ShardId, Token)>,
    inputs: Vec<(usize, Input)>,
}

impl Gathered {
    /// Nothing gathered, for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Part::default()).collect() }
    }

    /// Adds a question to a shard, whose keys and values have so many bytes.
    pub fn add(&mut self, shard: ShardId, token: Token, bytes: usize, input: Input) {
        let worker = worker_of(shard, self.workers.len());
        self.workers[worker].names.push((shard, token));
        self.workers[worker].inputs.push((bytes.saturating_add(INPUT_BYTES), input));
    }

    /// Offers everything, and names what did not get in.
    pub(super) fn offer(&mut self, inboxes: &[Arc<Inbox>], refused: impl Fn(ShardId, Token)) {
        for (part, inbox) in self.workers.iter_mut().zip(inboxes) {
            if part.inputs.is_empty() {
                continue;
            }
            for position in inbox.offer_clients(part.inputs.drain(..)) {
                let (shard, token) = part.names[position];
                refused(shard, token);
            }
            part.names.clear();
        }
    }
}
