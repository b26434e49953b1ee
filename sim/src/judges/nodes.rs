//! The judge of nodes: who is a member of the fleet, and who was. That nobody needs a replica of who has left is asked of the judge of
//! members.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_topology::{ClusterMap, NodeId};

use super::violation::hold;

/// The nodes of a fleet, at all times.
#[derive(Debug, Default)]
pub struct Nodes {
    cluster: u128,
    /// Its members, and the directory with which each joined; none: it founded the fleet.
    members: BTreeMap<NodeId, Option<u128>>,
    /// Who was a member, and is none any more.
    gone: BTreeSet<NodeId>,
}

impl Nodes {
    /// Those of a fleet that was just founded.
    #[must_use]
    pub fn new(map: &ClusterMap) -> Self {
        let members = map.nodes.keys().map(|node| (*node, None)).collect();
        Self { cluster: map.cluster, members, gone: BTreeSet::new() }
    }

    /// A newer map is known. Who left the fleet since the one before.
    pub fn placed(&mut self, map: &ClusterMap) -> Vec<NodeId> {
        hold(map.cluster == self.cluster, "nodes", || {
            format!("the cluster was {:x}, and is {:x}", self.cluster, map.cluster)
        });
        for node in map.nodes.keys() {
            hold(!self.gone.contains(node), "nodes", || {
                format!("{node} left the fleet, and is a member again in map {}", map.epoch)
            });
            let directory = map.joined.get(node).copied();
            let known = *self.members.entry(*node).or_insert(directory);
            hold(known == directory, "nodes", || {
                format!("{node} was a member with directory {known:?}, and is one with {directory:?}")
            });
        }
        let left: Vec<NodeId> =
            self.members.keys().copied().filter(|node| !map.nodes.contains_key(node)).collect();
        for node in &left {
            self.members.remove(node);
            self.gone.insert(*node);
        }
        left
    }

    /// Who was a member once, and is none any more.
    #[must_use]
    pub const fn gone(&self) -> &BTreeSet<NodeId> {
        &self.gone
    }
}

#[cfg(test)]
mod tests {
    use super::super::statuses::first_map;
    use super::super::violation::thrown;
    use super::*;

    fn fleet() -> ClusterMap {
        first_map(3, 1)
    }

    /// What is wrong with these maps, one after the other.
    fn judged(maps: &[&ClusterMap]) -> Option<String> {
        let judge = || {
            let mut nodes = Nodes::new(&fleet());
            maps.iter().for_each(|map| drop(nodes.placed(map)));
        };
        thrown(judge).map(|violation| violation.what)
    }

    #[test]
    fn nobody_comes_back_and_nobody_changes_its_directory() {
        let (map, mut joined, mut without) = (fleet(), fleet(), fleet());
        joined.nodes.insert(NodeId(4), map.nodes[&NodeId(1)].clone());
        joined.joined.insert(NodeId(4), 44);
        without.nodes.remove(&NodeId(3));
        assert_eq!(judged(&[&map, &joined, &map]), None);
        assert_eq!(judged(&[&map, &without, &without]), None);
        let again = judged(&[&without, &map]).expect("a violation");
        assert!(again.starts_with("n3 left the fleet, and is a member again"), "{again}");
        let mut wiped = joined.clone();
        wiped.joined.insert(NodeId(4), 45);
        assert!(judged(&[&joined, &wiped]).is_some_and(|what| what.contains("directory")));
        wiped.joined.insert(NodeId(1), 11);
        assert!(judged(&[&wiped]).is_some_and(|what| what.starts_with("n1")), "it founded the fleet");
        assert!(judged(&[&ClusterMap { cluster: 8, ..map }]).is_some_and(|what| what.contains("cluster")));
    }
}
