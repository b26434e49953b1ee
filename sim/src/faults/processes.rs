//! Faults of processes and machines.

use super::FaultKind;
use crate::world::World;

impl World {
    pub(super) fn kill(&mut self) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        self.end_process(node);
        self.start_at(until_us, node);
        true
    }

    pub(super) fn power_cut(&mut self, kind: FaultKind) -> bool {
        let until_us = self.fault_until();
        let nodes = if kind == FaultKind::PowerCutAll {
            // They come back with what was durable, so a quorum is not spared and need not be.
            self.running()
        } else {
            self.victim(until_us).into_iter().collect()
        };
        for node in &nodes {
            self.cut_power(*node);
            let later_us = self.faults.chance.below(300_000);
            self.faults.suffer(*node, until_us + later_us);
            self.start_at(until_us + later_us, *node);
        }
        !nodes.is_empty()
    }

    pub(super) fn pause(&mut self) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        let terms_before = self.leading_terms(node);
        self.pause_until(node, until_us, terms_before);
        true
    }
}
