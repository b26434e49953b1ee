//! Faults of the network.

use flotilla_topology::NodeId;

use super::{Ending, FaultKind};
use crate::event::Event;
use crate::network::{Block, Weather};
use crate::world::World;

impl World {
    pub(super) fn storm(&mut self) -> bool {
        let chance = &mut self.faults.chance;
        self.network.weather = Weather {
            lost_permille: chance.between(20, 300),
            doubled_permille: chance.below(100),
            delay_us_max: chance.between(1_000, 80_000),
            ..self.scenario.weather
        };
        let until_us = self.now_us + self.faults.chance.between(200_000, 2_000_000);
        self.events.push(until_us, Event::Ends(Ending::Storm));
        true
    }

    pub(super) fn isolate(&mut self) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        self.cut_off(&[node], until_us);
        true
    }

    /// Cuts all links between these nodes and all others, both ways. Some clients and routers are on their side: whom they take
    /// for the leader goes on hearing them, and nobody else does.
    pub(super) fn cut_off(&mut self, group: &[NodeId], until_us: u64) {
        // Some networks refuse what they do not carry, so that both ends notice at once. Some connections are given up in time,
        // some break on the first that gets through again, some outlive the cut.
        let later_us = self.faults.chance.between(self.now_us, until_us);
        let noticed_us =
            [Some(self.now_us), Some(later_us), Some(until_us), None][self.faults.chance.below(4) as usize];
        for other in self.node_ids().into_iter().filter(|other| !group.contains(other)) {
            for node in group {
                self.network.block(*node, other, Block::Cut, until_us);
                self.network.block(other, *node, Block::Cut, until_us);
                if let Some(noticed_us) = noticed_us {
                    self.break_connection(*node, other, noticed_us);
                    self.break_connection(other, *node, noticed_us);
                }
            }
        }
        for asker in self.askers() {
            if self.faults.strands() {
                self.network.strand(asker, group, until_us);
            }
        }
    }

    /// Who is cut off together goes on talking with each other.
    pub(super) fn split(&mut self) -> bool {
        let until_us = self.fault_until();
        let mut group: Vec<NodeId> = Vec::new();
        for _ in 0..self.faults.minority().max(1) {
            let next = self.victim(until_us).filter(|next| !group.contains(next));
            group.extend(next);
        }
        self.cut_off(&group, until_us);
        self.trace.line(self.now_us, || format!("split: {group:?} cut off"));
        !group.is_empty()
    }

    /// All links of a node in one direction.
    pub(super) fn silence(&mut self, kind: FaultKind) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        for other in self.node_ids() {
            let (from, to) = if kind == FaultKind::Mute { (node, other) } else { (other, node) };
            self.network.block(from, to, Block::Cut, until_us);
        }
        true
    }

    pub(super) fn block_one_way(&mut self, kind: FaultKind) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        let others: Vec<NodeId> = self.node_ids().into_iter().filter(|other| *other != node).collect();
        let Some(other) = self.faults.chance.pick(&others).copied() else { return false };
        let block = if kind == FaultKind::Clog { Block::Clogged } else { Block::Cut };
        let (from, to) = if self.faults.chance.permille(500) { (node, other) } else { (other, node) };
        self.network.block(from, to, block, until_us);
        true
    }

    /// The connections of a node break, to one other or to all, and stand again at once: both ends notice, each in its time.
    pub(super) fn reset(&mut self) -> bool {
        let nodes = self.running();
        let Some(node) = self.faults.chance.pick(&nodes).copied() else { return false };
        let all = self.faults.chance.permille(500);
        let other = self.faults.chance.pick(&nodes).copied();
        for peer in nodes.into_iter().filter(|peer| *peer != node && (all || Some(*peer) == other)) {
            self.break_connection(node, peer, self.now_us);
            self.break_connection(peer, node, self.now_us);
        }
        true
    }

    /// One node reaches all, the others only their half: a quorum exists for it alone.
    pub(super) fn bridge(&mut self) -> bool {
        let until_us = self.fault_until();
        if self.victim(until_us).is_none() {
            return false;
        }
        let mut nodes = self.node_ids();
        let bridge = nodes.remove(usize::try_from(self.faults.chance.below(nodes.len() as u64)).unwrap_or(0));
        let (left, right) = nodes.split_at(nodes.len() / 2);
        for (one, other) in left.iter().flat_map(|one| right.iter().map(move |other| (*one, *other))) {
            self.network.block(one, other, Block::Cut, until_us);
            self.network.block(other, one, Block::Cut, until_us);
        }
        self.trace.line(self.now_us, || format!("bridge: only {bridge} reaches all"));
        true
    }
}
