//! Stories about one move: what is written down while it goes on, and at which durable step of which node its process is to end.

use std::collections::BTreeMap;

use flotilla_topology::{ClusterMap, NodeId};

use crate::rounds::Order;
use crate::world::World;

/// See the module.
#[derive(Debug, Default)]
pub struct Script {
    /// Everything that controllers ordered, in this order.
    pub orders: Vec<Order>,
    /// The changes of members that were proposed.
    pub accepted: Vec<Order>,
    /// Every map that was written, and the version that it was to replace.
    pub swaps: Vec<(u64, ClusterMap)>,
    /// Whether steps are counted.
    pub counts: bool,
    /// What each node made durable since then.
    pub steps: BTreeMap<NodeId, Vec<String>>,
    /// Where it ends.
    pub crash: Option<Crash>,
    /// It ended there.
    pub crashed: bool,
}

/// The end of a process at a durable step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Which node.
    pub node: NodeId,
    /// At which of the steps that it made durable since they were counted, from 0.
    pub step: usize,
    /// After it, and before anybody hears of it; else while it is under way.
    pub after: bool,
    /// The power fails; else the process is killed.
    pub power: bool,
    /// So long it is down, in microseconds.
    pub down_us: u64,
}

impl World {
    /// A node is about to make something durable, or has. Whether it ends here.
    pub(crate) fn ends_at_step(&mut self, id: NodeId, after: bool, what: impl FnOnce() -> String) -> bool {
        let Some(script) = self.script.as_mut().filter(|script| script.counts) else { return false };
        let steps = script.steps.entry(id).or_default();
        if !after {
            steps.push(what());
        }
        let step = steps.len().saturating_sub(1);
        let is_there = |it: &Crash| it.node == id && it.step == step && it.after == after;
        let Some(crash) = script.crash.filter(|it| is_there(it) && !script.crashed) else { return false };
        script.crashed = true;
        self.trace.line(self.now_us, || format!("the story ends {id}: {crash:?}"));
        if crash.power {
            self.cut_power(id);
        } else {
            self.end_process(id);
        }
        self.start_at(self.now_us + crash.down_us, id);
        true
    }
}
