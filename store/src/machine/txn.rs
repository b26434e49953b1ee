//! Applying a transaction: its compares, then one of its lists, as one step of the version counter.
//!
//! Nothing can fail half-way: all that the operations must know was loaded before, and an operation always takes
//! place. So there is nothing to undo, and an entry is applied whole or not at all.

use bytes::Bytes;

use super::Machine;
use crate::command::{Action, Txn, TxnOperation};
use crate::outcome::{Outcome, TxnOutcome, TxnResult};
use crate::slots::Misplaced;

impl Machine {
    /// Whether the shard serves every key of the action.
    ///
    /// # Errors
    ///
    /// The outcome that says why it does not.
    pub(super) fn serves(&self, action: &Action) -> Result<(), Outcome> {
        let served = match action {
            Action::Put { key, .. } | Action::Delete { key } | Action::CompareAndSwap { key, .. } => {
                self.slots.check(key).map_err(Misplaced::Foreign)
            }
            Action::Txn(txn) => self.slots.check_together(txn.keys().map(Bytes::as_ref)),
        };
        served.map_err(|misplaced| match misplaced {
            Misplaced::Foreign(slot) => Outcome::WrongSlot { slot },
            Misplaced::Several { first, other } => Outcome::SeveralSlots { first, other },
        })
    }

    pub(super) fn transact(&mut self, txn: &Txn) -> TxnOutcome {
        let succeeded =
            txn.compares.iter().all(|compare| compare.condition.holds(self.present(&compare.key)));
        let operations = if succeeded { &txn.then } else { &txn.otherwise };
        self.version += 1;
        let results = operations.iter().map(|operation| self.take_part(operation)).collect();
        TxnOutcome { succeeded, version: self.version, results, values_forgotten: false }
    }

    fn take_part(&mut self, operation: &TxnOperation) -> TxnResult {
        match operation {
            TxnOperation::Get { key } => TxnResult::Got(self.present(key).cloned()),
            TxnOperation::Put { key, value, ttl_ms } => {
                self.set(key, value, *ttl_ms);
                TxnResult::Put
            }
            TxnOperation::Delete { key } => TxnResult::Deleted { existed: self.remove(key) },
        }
    }
}
