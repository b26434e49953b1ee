//! The judge of request ids: all attempts of one write carry the same deadline, whoever passes them on. With a new one an attempt that
//! comes late is executed a second time, after the result of the first was forgotten.

use std::collections::BTreeMap;

use flotilla_proto::v1::RequestId;

use super::violation::hold;

/// The writes of all clients.
#[derive(Debug, Default)]
pub struct Requests {
    /// The deadline of each, by client and sequence.
    deadlines: BTreeMap<(u128, u64), u64>,
}

impl Requests {
    /// An attempt leaves a client or a router.
    pub fn sent(&mut self, request: &RequestId) {
        let Some(client) = &request.client else { return };
        let client = u128::from(client.high) << 64 | u128::from(client.low);
        let deadline_ms = request.deadline_ms;
        let first_ms = *self.deadlines.entry((client, request.sequence)).or_insert(deadline_ms);
        hold(first_ms == deadline_ms, "one deadline a write", || {
            let sequence = request.sequence;
            format!(
                "write {sequence} of client {client:x} had the deadline {first_ms} ms and now has {deadline_ms} ms"
            )
        });
    }
}
