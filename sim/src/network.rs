//! The network: every directed link between nodes loses, delays, doubles and holds up what it carries.
//!
//! Messages of one link overtake each other, which is worse than what a stream of the real transport does. Between clients
//! and nodes the same weather rules; what is lost there shows as a connection that says nothing more.

use std::collections::BTreeMap;

use flotilla_topology::NodeId;

use crate::chance::Chance;
use crate::clients::Asker;

/// What the network does to everything.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of 1000 messages, how many are lost.
    pub lost_permille: u64,
    /// Of 1000 messages, how many arrive twice.
    pub doubled_permille: u64,
    /// The longest delay in microseconds; each message draws its own.
    pub delay_us_max: u64,
    /// Of 1000 messages, how many are much later than all others: held up in a queue, or sent again and again.
    pub late_permille: u64,
    /// How late these are at most, in microseconds.
    pub late_us_max: u64,
}

impl Weather {
    /// Nothing is lost.
    pub const FAIR: Self =
        Self { lost_permille: 0, doubled_permille: 0, delay_us_max: 300, late_permille: 0, late_us_max: 0 };
}

/// What holds a directed link up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// What is sent is lost.
    Cut,
    /// What is sent waits until the link is free again.
    Clogged,
}

/// All links.
#[derive(Debug)]
pub struct Network {
    /// What it does at the moment.
    pub weather: Weather,
    chance: Chance,
    blocks: BTreeMap<(NodeId, NodeId), (Block, u64)>,
    /// Who reaches only these nodes, until when.
    stranded: BTreeMap<Asker, (Vec<NodeId>, u64)>,
}

impl Network {
    /// A network in which all links are free.
    #[must_use]
    pub fn new(weather: Weather, chance: Chance) -> Self {
        Self { weather, chance, blocks: BTreeMap::new(), stranded: BTreeMap::new() }
    }

    /// Blocks a directed link until a moment.
    pub fn block(&mut self, from: NodeId, to: NodeId, block: Block, until_us: u64) {
        self.blocks.insert((from, to), (block, until_us));
    }

    /// Frees all links.
    pub fn heal(&mut self) {
        self.blocks.clear();
        self.stranded.clear();
    }

    /// A client or a router reaches only these nodes until a moment.
    pub fn strand(&mut self, asker: Asker, with: &[NodeId], until_us: u64) {
        self.stranded.insert(asker, (with.to_vec(), until_us));
    }

    /// The nodes that a client or a router is cut off with now.
    #[must_use]
    pub fn stranded_with(&self, asker: Asker, now_us: u64) -> Option<&[NodeId]> {
        let (with, until_us) = self.stranded.get(&asker)?;
        (*until_us > now_us).then_some(with)
    }

    /// Whether a directed link carries anything now.
    #[must_use]
    pub fn carries(&self, from: NodeId, to: NodeId, now_us: u64) -> bool {
        self.blocks.get(&(from, to)).is_none_or(|(_, until_us)| *until_us <= now_us)
    }

    /// When what is sent now arrives: never, once, or twice.
    pub fn deliveries(&mut self, from: NodeId, to: NodeId, now_us: u64) -> Vec<u64> {
        let free_at = match self.blocks.get(&(from, to)) {
            Some((Block::Cut, until_us)) if *until_us > now_us => return Vec::new(),
            Some((Block::Clogged, until_us)) => now_us.max(*until_us),
            _ => now_us,
        };
        self.weathered().into_iter().map(|delay_us| free_at + delay_us).collect()
    }

    /// The delays of what a client sends or is sent, in microseconds: none, if it is lost.
    pub fn weathered(&mut self) -> Vec<u64> {
        let Weather { lost_permille, doubled_permille, .. } = self.weather;
        let copies = if self.chance.permille(doubled_permille) { 2 } else { 1 };
        let arrives: Vec<bool> = (0..copies).map(|_| !self.chance.permille(lost_permille)).collect();
        arrives.into_iter().filter(|arrives| *arrives).map(|_| self.delay_us() + self.late_us()).collect()
    }

    fn late_us(&mut self) -> u64 {
        let Weather { late_permille, late_us_max, .. } = self.weather;
        if late_permille > 0 && self.chance.permille(late_permille) {
            self.chance.below(late_us_max)
        } else {
            0
        }
    }

    /// How long something takes, in microseconds.
    pub fn delay_us(&mut self) -> u64 {
        self.chance.between(1, self.weather.delay_us_max)
    }
}
