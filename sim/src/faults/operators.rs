//! What operators do to a fleet: not faults, but at a bad moment as good.

use flotilla_node::host::Input;

use crate::world::{Waiter, World};

impl World {
    pub(super) fn transfer(&mut self) -> bool {
        let shards: Vec<_> = self.map.shards.keys().copied().collect();
        let Some(shard) = self.faults.chance.pick(&shards).copied() else { return false };
        let Some(leader) = self.leader(shard) else { return false };
        let homes: Vec<_> = self.map.preference(shard).collect();
        let to = self.faults.chance.pick(&homes).copied().filter(|_| self.faults.chance.permille(700));
        self.ask(leader, Waiter::Nobody, |token| Input::Transfer { shard, token, to });
        self.coverage.count("transfers started");
        true
    }

    pub(super) fn flush(&mut self) -> bool {
        let shards: Vec<_> = self.map.shards.keys().copied().collect();
        let Some(shard) = self.faults.chance.pick(&shards).copied() else { return false };
        let nodes = self.running();
        let Some(node) = self.faults.chance.pick(&nodes).copied() else { return false };
        self.ask(node, Waiter::Nobody, |token| Input::Flush { shard, token });
        true
    }
}
