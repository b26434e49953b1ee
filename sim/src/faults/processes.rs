//! Faults of processes and machines.

use flotilla_topology::NodeId;

use super::FaultKind;
use crate::clients::RouterId;
use crate::event::Event;
use crate::world::World;

impl World {
    pub(super) fn kill(&mut self) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        self.end_process(node);
        self.start_at(until_us, node);
        true
    }

    /// They come back with what was durable, so a quorum is not spared and need not be. Often it happens again at once.
    pub(super) fn bounce(&mut self) -> bool {
        let nodes = self.running();
        let all = self.faults.chance.permille(300);
        let one = self.faults.chance.pick(&nodes).copied();
        for node in nodes.iter().copied().filter(|node| all || Some(*node) == one) {
            self.end_process(node);
            let back_us = self.now_us + self.faults.chance.between(1_000, 80_000);
            self.start_at(back_us, node);
        }
        if self.faults.chance.permille(600) {
            let again_us = self.now_us + self.faults.chance.between(20_000, 300_000);
            self.events.push(again_us, Event::Fault(FaultKind::Bounce));
        }
        !nodes.is_empty()
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

    /// Where power cuts are on, one may come within this time: at a delicate moment of this very node.
    pub(crate) fn ambush(&mut self, node: NodeId, within_us: u64) {
        let on = self.scenario.faults.contains(&FaultKind::PowerCut) && self.faults.chance.permille(500);
        if on && self.faults.may_suffer(node, self.now_us) {
            let at_us = self.now_us + self.faults.chance.between(1, within_us);
            self.faults.suffer(node, at_us);
            self.events.push(at_us, Event::Ambush(node));
        }
    }

    /// The power fails where an ambush was laid.
    pub(crate) fn spring(&mut self, node: NodeId) {
        if !self.is_peace() && self.faults.may_suffer(node, self.now_us) {
            let until_us = self.fault_until();
            self.cut_power(node);
            self.faults.suffer(node, until_us);
            self.start_at(until_us, node);
            self.coverage.count("power cuts at delicate moments");
        }
    }

    /// Some stand still for about an election timeout: long enough to be replaced, short enough not to notice it at once.
    fn nap_until(&mut self) -> u64 {
        let nap = self.faults.chance.permille(500);
        let nap_us = self.faults.chance.between(50_000, 450_000);
        let long_us = self.fault_until();
        if nap { self.now_us + nap_us } else { long_us }
    }

    pub(super) fn pause(&mut self) -> bool {
        let until_us = self.nap_until();
        let Some(node) = self.victim(until_us) else { return false };
        let terms_before = self.leading_terms(node);
        self.pause_until(node, until_us, terms_before);
        true
    }

    /// A machine sleeps. The clocks of the product count that time (`CLOCK_BOOTTIME`), so here they go on.
    pub(super) fn suspend(&mut self) -> bool {
        let until_us = self.nap_until();
        let Some(node) = self.victim(until_us) else { return false };
        let terms_before = self.leading_terms(node);
        self.pause_until(node, until_us, terms_before);
        self.cut_off(&[node], until_us);
        self.coverage.count("machines suspended");
        true
    }

    /// Routers keep nothing, so that no quorum suffers. A request can wait in one for longer than its client lives.
    pub(super) fn router_fault(&mut self, kind: FaultKind) -> bool {
        let routers: Vec<RouterId> = self.routers.keys().copied().collect();
        let Some(id) = self.faults.chance.pick(&routers).copied() else { return false };
        let until_us = self.now_us + self.faults.chance.between(20_000, 8_000_000);
        if kind == FaultKind::RouterKill {
            self.end_router(id, until_us);
        } else if let Some(router) = self.routers.get_mut(&id) {
            router.paused_until_us = until_us;
        }
        true
    }
}
