//! Which move has the wanted part killed and no other. Pure: it looks at what `kvctl shard list` said.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::{DRAINED, JOINING, NODES};

/// Whose node dies beside a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Source,
    Destination,
    Controller,
}

impl Victim {
    pub(super) const ALL: [Self; 3] = [Self::Source, Self::Destination, Self::Controller];
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Controller => "controller",
        })
    }
}

/// A move, and the node that dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) shard: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) victim: u64,
}

/// Where the replicas are, and who leads the meta shard: there the controller works.
#[derive(Debug)]
pub(super) struct FleetView {
    controller: u64,
    shards: Vec<(u64, BTreeSet<u64>)>,
}

impl FleetView {
    pub(super) fn of(list: &Value) -> Result<Self, String> {
        let odd = || format!("an odd list of shards: {list}");
        let mut shards = Vec::new();
        let mut controller = None;
        for shard in list["shards"].as_array().ok_or_else(odd)? {
            let id = shard["shard"].as_u64().ok_or_else(odd)?;
            if id == 0 {
                controller = shard["leader"].as_u64();
            }
            let replicas = shard["replicas"].as_array().ok_or_else(odd)?;
            shards.push((id, replicas.iter().filter_map(|it| it["node"].as_u64()).collect()));
        }
        Ok(Self { controller: controller.ok_or("the meta shard has no leader just now")?, shards })
    }

    /// A move in which one node has the part that dies, and others have the others. Not to the node that is drained later.
    pub(super) fn choose(&self, victim: Victim) -> Option<Choice> {
        let nodes = (1..=u64::from(NODES)).chain(JOINING).filter(|node| *node != DRAINED);
        let nodes: Vec<u64> = nodes.collect();
        let moves = self.shards.iter().filter(|(shard, _)| *shard > 0).flat_map(|(shard, hosts)| {
            let homes = hosts.iter().filter(|from| **from != self.controller);
            homes.flat_map(|from| {
                let free = nodes.iter().filter(|to| !hosts.contains(to) && **to != self.controller);
                free.map(|to| (*shard, *from, *to))
            })
        });
        let (shard, from, to) = moves.into_iter().next()?;
        let victim = match victim {
            Victim::Source => from,
            Victim::Destination => to,
            Victim::Controller => self.controller,
        };
        Some(Choice { shard, from, to, victim })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(leader: u64) -> Value {
        let replicas = |nodes: [u64; 3]| nodes.map(|node| json!({ "node": node }));
        json!({ "shards": [
            { "shard": 0, "leader": leader, "replicas": replicas([1, 2, 3]) },
            { "shard": 1, "leader": 4, "replicas": replicas([2, 3, 4]) },
            { "shard": 2, "leader": 1, "replicas": replicas([1, 3, 5]) },
        ] })
    }

    #[test]
    fn whoever_dies_has_one_part_only() {
        for leader in 1..=5 {
            let view = FleetView::of(&list(leader)).unwrap();
            for victim in Victim::ALL {
                let choice = view.choose(victim).unwrap();
                assert!(choice.from != leader && choice.to != leader, "{choice:?}");
                assert_eq!(choice.victim == leader, victim == Victim::Controller);
                assert!(choice.shard > 0 && choice.to != DRAINED, "{choice:?}");
            }
        }
    }

    #[test]
    fn a_meta_shard_without_a_leader_is_told() {
        let mut list = list(1);
        list["shards"][0]["leader"] = Value::Null;
        assert!(FleetView::of(&list).unwrap_err().contains("no leader"));
    }
}
