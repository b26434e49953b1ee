//! A small world of nodes that crash, are wiped, and whose messages come late, explored in full.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::storage::FoundingNode;
use crate::transport::Addresses;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const FOUNDER: NodeId = NodeId(1);

/// The nodes that are wiped, and whose requests come late. The third is like the second, and only makes more states.
const UNLUCKY: [NodeId; 2] = [FOUNDER, NodeId(2)];

/// What is durable of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Disk {
    directory: DirectoryId,
    membership: Membership,
    genesis: Option<Bytes>,
}

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    disks: BTreeMap<NodeId, Disk>,
    /// The nodes that run.
    running: BTreeMap<NodeId, Machine>,
    /// Requests that were sent and may arrive at any time, as long as the process lives that they were sent to.
    late: BTreeSet<Adoption>,
    crashes_left: u8,
    wipes_left: u8,
    clusters_drawn: u8,
    /// Every cluster of which any directory ever said that it is founded.
    founded: BTreeSet<ClusterId>,
    /// Every directory that was ever founded: the nodes that may have voted.
    voters: BTreeSet<(NodeId, DirectoryId)>,
}

fn founding() -> Founding {
    let node = |id: NodeId| (id, FoundingNode { peer_addr: format!("host{}:7600", id.0) });
    Founding { nodes: NODES.into_iter().map(node).collect(), shards: 2, replicas: 3 }
}

/// Real maps, because a map is decoded before it is believed; remembered, because many states ask for the same.
fn genesis_of(cluster: ClusterId) -> Bytes {
    static MADE: Mutex<BTreeMap<u128, Bytes>> = Mutex::new(BTreeMap::new());
    MADE.lock().unwrap().entry(cluster.0).or_insert_with(|| make_genesis(cluster)).clone()
}

fn make_genesis(cluster: ClusterId) -> Bytes {
    let info = |id: NodeId| flotilla_topology::NodeInfo {
        client_addr: format!("host{}:7500", id.0),
        peer_addr: format!("host{}:7600", id.0),
        http_addr: format!("host{}:7700", id.0),
    };
    let nodes = NODES.into_iter().map(|id| (id, info(id))).collect();
    flotilla_topology::plan_initial(cluster.0, nodes, 1, 3).unwrap().encode().into()
}

impl World {
    fn new(crashes_left: u8, wipes_left: u8) -> Self {
        let disk = |id: NodeId| {
            (
                id,
                Disk {
                    directory: DirectoryId(u128::from(id.0) * 100),
                    membership: Membership::Blank,
                    genesis: None,
                },
            )
        };
        let mut world = Self {
            disks: NODES.into_iter().map(disk).collect(),
            running: BTreeMap::new(),
            late: BTreeSet::new(),
            crashes_left,
            wipes_left,
            clusters_drawn: 0,
            founded: BTreeSet::new(),
            voters: BTreeSet::new(),
        };
        NODES.into_iter().for_each(|node| world.start(node));
        world
    }

    /// Starts a node with the flags that never change.
    fn start(&mut self, node: NodeId) {
        let disk = &self.disks[&node];
        let genesis = disk.genesis.clone().map(|map| (map, NODES.into()));
        let machine = Machine::new(node, disk.directory, disk.membership.clone(), genesis, Some(founding()));
        self.running.insert(node, machine);
    }

    fn stop(&mut self, node: NodeId) {
        self.running.remove(&node);
        // A connection belongs to the process that accepted it.
        self.late.retain(|adoption| adoption.to != node);
    }

    /// The disk, the genesis first; then the machine is told.
    fn write(&mut self, node: NodeId, membership: Membership, map: Option<Bytes>) {
        let disk = self.disks.get_mut(&node).unwrap();
        if let (Some(old), Some(new)) = (disk.membership.cluster(), membership.cluster()) {
            assert_eq!(old, new, "{node} went to another cluster");
        }
        if let Some(map) = &map {
            disk.genesis = Some(map.clone());
        }
        disk.membership = membership.clone();
        if let Membership::Founded { cluster, .. } = &membership {
            let directory = disk.directory;
            self.founded.insert(*cluster);
            self.voters.insert((node, directory));
        }
        let machine = self.running.get_mut(&node).unwrap();
        machine.written(membership, map.map(|map| (map, NODES.into())));
    }

    /// What must hold in every state.
    fn check(&self) {
        assert!(self.founded.len() <= 1, "two clusters of one command: {:?}", self.founded);
        for node in NODES {
            let directories = self.voters.iter().filter(|(voter, _)| *voter == node).count();
            assert!(directories <= 1, "{node} may have voted, was wiped, and may vote again");
        }
        for (node, disk) in &self.disks {
            assert!(
                !disk.membership.is_founded() || disk.genesis.is_some(),
                "{node} is founded without a map"
            );
        }
    }

    /// A request for an adoption arrives; the confirmation is what the sender would get.
    fn deliver(&mut self, adoption: &Adoption) -> Option<Confirmation> {
        let to = adoption.to;
        match self.running.get(&to)?.asked(adoption, &founding()) {
            Decision::Refuse(_) => return None,
            Decision::Confirm => {}
            Decision::Write(membership, map) => self.write(to, membership, map),
        }
        Some(self.running[&to].confirmation(Addresses::default()))
    }

    /// All states that one step leads to.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for node in NODES {
            match self.running.get(&node) {
                Some(_) => {
                    self.faults(node, &mut next);
                    self.work(node, &mut next);
                }
                None => next.push(self.after(|world| world.start(node))),
            }
        }
        for adoption in &self.late {
            next.push(self.after(|world| {
                world.late.remove(adoption);
                // Too late for an answer.
                world.deliver(adoption);
            }));
        }
        next
    }

    fn after(&self, step: impl FnOnce(&mut Self)) -> Self {
        let mut world = self.clone();
        step(&mut world);
        world
    }

    fn faults(&self, node: NodeId, next: &mut Vec<Self>) {
        if self.crashes_left > 0 {
            next.push(self.after(|world| {
                world.crashes_left -= 1;
                world.stop(node);
            }));
        }
        let wiped = UNLUCKY.contains(&node) && self.disks[&node].membership != Membership::Blank;
        if self.wipes_left > 0 && wiped {
            next.push(self.after(|world| {
                world.wipes_left -= 1;
                world.stop(node);
                let disk = world.disks.get_mut(&node).unwrap();
                let directory = DirectoryId(disk.directory.0 + 1);
                *disk = Disk { directory, membership: Membership::Blank, genesis: None };
            }));
        }
    }

    /// The steps of a running node's errand, one per peer and outcome.
    fn work(&self, node: NodeId, next: &mut Vec<Self>) {
        match self.running[&node].errand() {
            Errand::Run => {}
            Errand::Draw => next.push(self.after(|world| {
                world.clusters_drawn += 1;
                let cluster = ClusterId(u128::from(world.clusters_drawn));
                let membership = world.running[&node].draw(cluster);
                world.write(node, membership, None);
            })),
            Errand::Found(cluster, _) => {
                next.push(self.after(|world| {
                    // The map may become durable without the stamp.
                    world.disks.get_mut(&node).unwrap().genesis = Some(genesis_of(cluster));
                    world.stop(node);
                }));
                next.push(self.after(|world| {
                    let membership = world.running[&node].founding_done();
                    world.write(node, membership, Some(genesis_of(cluster)));
                }));
            }
            Errand::Probe(peers) => {
                for peer in peers.into_iter().filter(|peer| self.running.contains_key(peer)) {
                    next.push(self.after(|world| world.probe(node, peer)));
                }
            }
            Errand::Adopt(cluster, peers) => {
                for peer in peers.into_iter().filter(|peer| self.running.contains_key(peer)) {
                    let adoption = Adoption { cluster, from: node, to: peer, map: None };
                    next.push(self.after(|world| {
                        if let Some(it) = world.deliver(&adoption)
                            && world.running.get_mut(&node).unwrap().confirmed(peer, it).is_err()
                        {
                            world.stop(node);
                        }
                    }));
                    if UNLUCKY.contains(&peer) {
                        // The sender's patience ended; the request did not.
                        next.push(self.after(|world| _ = world.late.insert(adoption.clone())));
                    }
                }
            }
        }
    }

    /// A node asks another who it is. A founded one hands it the map, some time.
    fn probe(&mut self, node: NodeId, peer: NodeId) {
        let introduction = self.running[&peer].introduce(node);
        if self.running[&peer].hands_map_to(node) {
            let cluster = self.running[&peer].membership().cluster().unwrap();
            let map = self.running[&peer].genesis().cloned();
            self.late.insert(Adoption { cluster, from: peer, to: node, map });
        }
        if self.running.get_mut(&node).unwrap().introduced(peer, &introduction).is_err() {
            self.stop(node);
        }
    }

    /// No more faults: every node is started again whenever it stopped, and does what it can.
    fn settle(mut self) -> Self {
        (self.crashes_left, self.wipes_left) = (0, 0);
        for _ in 0..12 {
            for node in NODES {
                if !self.running.contains_key(&node) {
                    self.start(node);
                }
                while let Some(adoption) = self.late.pop_first() {
                    self.deliver(&adoption);
                }
                if let Errand::Probe(peers) = self.running[&node].errand() {
                    let there = |peer: &NodeId| self.running.contains_key(peer);
                    for peer in peers.into_iter().filter(there).collect::<Vec<_>>() {
                        if self.running.contains_key(&node) && self.running.contains_key(&peer) {
                            self.probe(node, peer);
                        }
                    }
                    continue;
                }
                let mut steps = Vec::new();
                self.work(node, &mut steps);
                // The first step of an adoption is the one that is answered, the last of a founding the one without a crash.
                self = match self.running[&node].errand() {
                    Errand::Adopt(..) => steps.into_iter().next().unwrap_or(self),
                    _ => steps.pop().unwrap_or(self),
                };
            }
        }
        self
    }
}

/// Visits every state that can be reached.
fn explore(world: World, mut visit: impl FnMut(&World)) -> usize {
    let mut seen = std::collections::HashSet::new();
    let mut queue = VecDeque::from([world]);
    while let Some(world) = queue.pop_front() {
        if seen.contains(&world) {
            continue;
        }
        world.check();
        visit(&world);
        queue.extend(world.next());
        seen.insert(world);
    }
    seen.len()
}

#[test]
fn whatever_crashes_one_cluster_is_founded_and_all_nodes_end_up_in_it() {
    let mut founded_somewhere = false;
    let states = explore(World::new(1, 0), |world| {
        founded_somewhere |= !world.founded.is_empty();
        let end = world.clone().settle();
        end.check();
        for node in NODES {
            assert_eq!(end.running.get(&node).map(Machine::errand), Some(Errand::Run), "{node} of {end:#?}");
        }
    });

    assert!(founded_somewhere && states > 100, "only {states} states were reached");
}

#[test]
fn whoever_is_wiped_no_node_votes_twice_and_no_second_cluster_comes() {
    let mut wiped_voters = 0;
    let states = explore(World::new(0, 2), |world| {
        let wiped = |(node, directory): &(NodeId, DirectoryId)| world.disks[node].directory != *directory;
        wiped_voters += usize::from(world.voters.iter().any(wiped));
    });

    assert!(wiped_voters > 0 && states > 100, "{states} states, {wiped_voters} with a wiped voter");
}

/// A machine of the given node, blank, with the flags.
fn blank(node: NodeId) -> Machine {
    Machine::new(node, DirectoryId(1), Membership::Blank, None, Some(founding()))
}

fn promised(node: NodeId, cluster: u128) -> Machine {
    let membership = Membership::Promised { cluster: ClusterId(cluster), founding: founding() };
    Machine::new(node, DirectoryId(1), membership, None, None)
}

fn founded(node: NodeId, cluster: u128) -> Machine {
    let cluster = ClusterId(cluster);
    let membership = Membership::Founded { cluster, founding: founding() };
    Machine::new(node, DirectoryId(1), membership, Some((genesis_of(cluster), NODES.into())), None)
}

#[test]
fn a_wiped_member_of_a_founded_fleet_is_told_so() {
    for node in NODES {
        let peer = if node == FOUNDER { NodeId(2) } else { FOUNDER };
        let error = blank(node).introduced(peer, &founded(peer, 9).introduce(node)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "node {} is already a member of this fleet, but this directory is empty: it forgot its votes. \
                 Wiped? Rejoin with a new --id and --join",
                node.0
            )
        );
    }
}

#[test]
fn a_founder_that_was_wiped_before_the_fleet_was_founded_does_not_draw_again() {
    let error = blank(FOUNDER).introduced(NodeId(2), &promised(NodeId(2), 9).introduce(FOUNDER)).unwrap_err();
    assert!(matches!(error, BootstrapError::Interrupted { peer: NodeId(2), .. }), "{error}");
}

#[test]
fn other_flags_are_refused_by_who_asks_and_by_who_is_asked() {
    let mut theirs = founding();
    theirs.shards = 5;
    let other = Machine::new(NodeId(2), DirectoryId(2), Membership::Blank, None, Some(theirs.clone()));
    let error = blank(FOUNDER).introduced(NodeId(2), &other.introduce(FOUNDER)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node 2 was started with other flags: --shards is 5 there and 2 here",
        "the line names the flag"
    );
    let adoption = Adoption { cluster: ClusterId(9), from: FOUNDER, to: NodeId(2), map: None };
    let Decision::Refuse(why) = other.asked(&adoption, &founding()) else { panic!("adopted") };
    assert!(why.contains("--shards is 2 there and 5 here"), "{why}");
}

#[test]
fn a_fleet_on_the_ports_of_another_is_refused() {
    let mut machine = promised(FOUNDER, 9);
    let error = machine.introduced(NodeId(2), &promised(NodeId(2), 8).introduce(FOUNDER)).unwrap_err();
    assert!(matches!(error, BootstrapError::OtherFleet { cluster: ClusterId(8), .. }), "{error}");
    let other = promised(NodeId(2), 8).confirmation(Addresses::default());
    let error = machine.confirmed(NodeId(2), other).unwrap_err();
    assert!(matches!(error, BootstrapError::OtherFleet { .. }), "{error}");
    let wrong = promised(NodeId(3), 9).confirmation(Addresses::default());
    let error = machine.confirmed(NodeId(2), wrong).unwrap_err();
    assert!(matches!(error, BootstrapError::WrongNode { found: NodeId(3), .. }), "{error}");
}

#[test]
fn only_the_lowest_id_founds_and_only_whom_it_means() {
    let ask = |from, to, map| Adoption { cluster: ClusterId(9), from, to, map };
    let node = blank(NodeId(2));
    let refused = |adoption: &Adoption| matches!(node.asked(adoption, &founding()), Decision::Refuse(_));
    assert!(refused(&ask(NodeId(3), NodeId(2), None)), "n3 is not the lowest");
    assert!(refused(&ask(FOUNDER, NodeId(3), None)), "not for n2");
    assert!(refused(&ask(FOUNDER, NodeId(2), Some(genesis_of(ClusterId(9))))), "n2 has promised nothing");
    assert!(!refused(&ask(FOUNDER, NodeId(2), None)));
    let joiner = Machine::new(NodeId(2), DirectoryId(1), Membership::Blank, None, None);
    let decision = joiner.asked(&ask(FOUNDER, NodeId(2), None), &founding());
    assert!(matches!(decision, Decision::Refuse(_)), "it was not started with --init");
}

#[test]
fn a_map_that_is_damaged_or_of_another_cluster_founds_nothing() {
    let node = promised(NodeId(2), 9);
    for map in [Bytes::from_static(b"nonsense"), genesis_of(ClusterId(8))] {
        let adoption = Adoption { cluster: ClusterId(9), from: FOUNDER, to: NodeId(2), map: Some(map) };
        assert!(matches!(node.asked(&adoption, &founding()), Decision::Refuse(_)));
    }
    let adoption = Adoption {
        cluster: ClusterId(9),
        from: NodeId(3),
        to: NodeId(2),
        map: Some(genesis_of(ClusterId(9))),
    };
    let Decision::Write(membership, Some(_)) = node.asked(&adoption, &founding()) else {
        panic!("refused a right map from a founded node")
    };
    assert!(membership.is_founded());
}

#[test]
fn a_fleet_of_one_founds_itself() {
    let nodes = [(FOUNDER, FoundingNode { peer_addr: "a:1".into() })].into();
    let flags = Founding { nodes, shards: 1, replicas: 1 };
    let mut machine = Machine::new(FOUNDER, DirectoryId(1), Membership::Blank, None, Some(flags));
    assert_eq!(machine.errand(), Errand::Draw);
    machine.written(machine.draw(ClusterId(4)), None);
    assert_eq!(machine.errand(), Errand::Found(ClusterId(4), BTreeMap::new()));
    machine.written(machine.founding_done(), Some((genesis_of(ClusterId(4)), [FOUNDER].into())));
    assert_eq!(machine.errand(), Errand::Run);
}
